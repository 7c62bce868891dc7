//! What the operator writes.

use std::time::Duration;

use ehi_core::testkit::SeededEntropy;

use super::super::*;
use super::support::QuickClock;

fn parse(rest: &str) -> Result<FhirServerConfig, serde_json::Error> {
    serde_json::from_str(&format!(
        "{{\"base_url\":\"https://fhir.example.org/r4\"{rest}}}"
    ))
}

async fn told(config: FhirServerConfig) -> String {
    let clock = Arc::new(QuickClock::default());
    let opened = FhirServer::open(config, clock, Arc::new(SeededEntropy::default())).await;
    opened.unwrap_err().to_string()
}

#[test]
fn all_but_the_base_url_has_a_default() {
    let config = parse("").unwrap();
    assert_eq!((config.page_size, config.concurrency), (200, 4));
    assert!(!config.allow_http && config.backend_services.is_none());
    let config = parse(
        r#","read_timeout":"90s","retries":{"total":"2 min"},
        "backend_services":{"client_id":"c","key_file":"/k.pem","kid":"1"}"#,
    )
    .unwrap();
    assert_eq!(config.read_timeout, Duration::from_secs(90));
    assert_eq!(config.retries.total, Duration::from_mins(2));
    assert_eq!(config.retries.attempts, 5);
    assert_eq!(config.backend_services.unwrap().scope, "system/*.read");
}

#[test]
fn what_is_not_understood_is_told_by_name() {
    for (rest, name) in [
        (r#","page_sze":1"#, "page_sze"),
        (r#","retries":{"attemts":1}"#, "attemts"),
        (r#","read_timeout":"soon""#, "soon"),
        (r#","read_timeout":"-1s""#, "-1s"),
        (
            r#","backend_services":{"client_id":"c","kid":"1"}"#,
            "key_file",
        ),
        (
            r#","backend_services":{"client_id":"c","kid":"1","key_file":"k","secret":"s"}"#,
            "secret",
        ),
    ] {
        let error = parse(rest).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

type Change = fn(&mut FhirServerConfig);

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_what_to_do() {
    let cases: [(Change, &str); 8] = [
        (
            |config| config.base_url = "http://fhir.example.org".parse().unwrap(),
            "allow_http",
        ),
        (
            |config| config.base_url = "https://u:secret@a.example".parse().unwrap(),
            "plain",
        ),
        (
            |config| config.page_size = 0,
            "page_size is 0: choose between 1 and 10000",
        ),
        (|config| config.concurrency = 5000, "concurrency"),
        (|config| config.retries.attempts = 0, "retries.attempts"),
        (
            |config| config.read_timeout = Duration::ZERO,
            "read_timeout",
        ),
        (
            |config| config.retries.total = Duration::MAX,
            "retries.total",
        ),
        (|config| config.record_limit = 0, "record_limit"),
    ];
    for (change, message) in cases {
        let mut config = parse("").unwrap();
        change(&mut config);
        let told = told(config).await;
        assert!(told.contains(message) && !told.contains("secret"), "{told}");
    }
    let login = |rest: &str| {
        parse(&format!(
            r#","backend_services":{{"client_id":"c","key_file":"/nonexistent/key.pem"{rest}}}"#
        ))
        .unwrap()
    };
    assert!(
        told(login(r#","kid":" ""#))
            .await
            .contains("backend_services.kid")
    );
    let insecure = login(r#","kid":"1","token_url":"http://a.example/token""#);
    assert!(told(insecure).await.contains("token_url has to be https"));
    assert!(
        told(login(r#","kid":"1""#))
            .await
            .contains("/nonexistent/key.pem")
    );
}
