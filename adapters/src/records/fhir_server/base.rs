//! Where the server is, and which URLs are its own.

use ehi_core::ports::SourceError;
use url::{Host, Url};

use super::config::wrong;

/// The service base URL of a FHIR server.
///
/// Source: FHIR R4, 3.1.0.1.2, "Service Base URL".
#[derive(Debug, Clone)]
pub(super) struct Base(Url);

impl Base {
    /// Takes an http or https URL without anything that does not belong into a base.
    pub(super) fn new(url: &Url) -> Result<Self, SourceError> {
        let plain = matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !plain {
            // The URL itself is not shown: there may be a password in it.
            return Err(wrong(
                "base_url has to be a plain http or https URL without user, query and fragment, like https://fhir.example.org/r4",
            ));
        }
        Ok(Self(url.clone()))
    }

    /// The URL as it was given.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// A URL below the base.
    pub(super) fn join(&self, path: &[&str]) -> Url {
        let mut url = self.0.clone();
        // http and https URLs always have segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Whether a URL is the base itself or below it: the same scheme, host and port, and its path
    /// begins with the base's.
    pub(super) fn contains(&self, url: &Url) -> bool {
        let base = self.0.path().trim_end_matches('/');
        let rest = url.path().strip_prefix(base);
        url.origin() == self.0.origin()
            && url.username().is_empty()
            && url.password().is_none()
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Whether what is sent there cannot be read on the way.
pub(super) fn is_safe(url: &Url, allow_http: bool) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => true,
        "http" => is_loopback || allow_http,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn only_what_is_below_the_base_is_the_servers_own() {
        for base in ["https://a.example/fhir/r4", "https://a.example/fhir/r4/"] {
            let base = Base::new(&url(base)).unwrap();
            for own in [
                "https://a.example/fhir/r4?_getpages=1",
                "https://a.example/fhir/r4/",
                "https://A.example:443/fhir/r4/Patient/1/$everything?page=2",
            ] {
                assert!(base.contains(&url(own)), "{own}");
            }
            for foreign in [
                "http://a.example/fhir/r4/x",
                "https://a.example:8443/fhir/r4/x",
                "https://b.example/fhir/r4/x",
                "https://a.example.evil.example/fhir/r4/x",
                "https://a.example@evil.example/fhir/r4/x",
                "https://user@a.example/fhir/r4/x",
                "https://a.example/fhir/r4evil",
                "https://a.example/fhir/r4/../../admin",
                "https://a.example/fhir/r4/%2e%2e/%2E./admin",
                "https://a.example/",
                "file:///fhir/r4/x",
            ] {
                assert!(!base.contains(&url(foreign)), "{foreign}");
            }
        }
        assert!(
            Base::new(&url("http://a.example"))
                .unwrap()
                .contains(&url("http://a.example/x"))
        );
    }

    #[test]
    fn a_path_is_put_below_the_base() {
        for base in ["https://a.example/r4", "https://a.example/r4/"] {
            let base = Base::new(&url(base)).unwrap();
            let joined = base.join(&["Patient", "a.b-c", "$everything"]);
            assert_eq!(
                joined.as_str(),
                "https://a.example/r4/Patient/a.b-c/$everything"
            );
            assert!(base.contains(&joined));
        }
    }

    #[test]
    fn a_base_is_a_plain_url() {
        for bad in [
            "ftp://a.example/",
            "https://u:secret@a.example/",
            "https://a.example/?x",
            "https://a.example/#x",
            "data:x",
        ] {
            let error = Base::new(&url(bad)).unwrap_err().to_string();
            assert!(
                error.contains("base_url") && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_unless_the_operator_says_so() {
        for (text, safe) in [
            ("https://a.example", true),
            ("http://a.example", false),
            ("http://localhost:1", true),
            ("http://127.9.9.9", true),
            ("http://[::1]", true),
            ("http://localhost.example", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_safe(&url(text), false), safe, "{text}");
            assert!(is_safe(&url(text), true), "{text}");
        }
        assert!(!is_safe(&url("ftp://localhost"), true));
    }
}
