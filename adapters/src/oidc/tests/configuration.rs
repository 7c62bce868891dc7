//! What a deployment can say, and what it is told when it makes no sense.

use ehi_core::testkit::{FixedClock, at};

use super::super::*;

#[test]
fn an_issuer_is_a_plain_https_url_to_the_letter() {
    for good in [
        "https://login.example.org",
        "https://login.example.org/realms/h/",
        "http://127.0.0.1:8080",
    ] {
        assert_eq!(Issuer::parse(good).unwrap().as_str(), good);
    }
    for bad in [
        "http://login.example.org",
        "https://login.example.org?x",
        "https://login.example.org#x",
        "https://u:p@login.example.org",
        "login.example.org",
        "",
    ] {
        assert!(Issuer::parse(bad).is_none(), "{bad}");
    }
    let metadata = |issuer: &str| Issuer::parse(issuer).unwrap().metadata();
    assert_eq!(
        metadata("https://login.example.org/realms/h/"),
        "https://login.example.org/realms/h/.well-known/openid-configuration"
    );
}

#[test]
fn mistakes_are_told() {
    let whole = "issuer = 'https://l.example'\nclient_id = 'ehi'\nrole_claim = 'groups'\nroles = { him = 'reviewer' }\n";
    let open = |text: &str| -> Result<OidcStaff, String> {
        let config = toml::from_str(text).map_err(|error: toml::de::Error| error.to_string())?;
        let (callback, clock) = (
            Url::parse("https://ehi.example/cb").unwrap(),
            FixedClock::at(at(0)),
        );
        let opened = OidcStaff::open(config, callback, Arc::new(clock));
        opened.map_err(|error| error.to_string())
    };
    assert!(open(whole).is_ok());
    for (from, to, told) in [
        ("https://l", "http://l", "https"),
        ("'reviewer'", "'boss'", "boss"),
        ("{ him = 'reviewer' }", "{}", "roles is empty"),
        ("role_claim", "role_clam", "role_clam"),
        ("client_id = 'ehi'\n", "", "client_id"),
        (
            "client_id",
            "client_secret_file = '/nowhere'\nclient_id",
            "/nowhere",
        ),
        (
            "client_id",
            "client_secret_file = '/dev/null'\nclient_id",
            "empty",
        ),
    ] {
        let error = open(&whole.replace(from, to)).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
}
