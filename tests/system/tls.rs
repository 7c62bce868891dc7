//! TLS that ends at this server.

use std::io::Write;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::tls::{Certificate, Version};
use reqwest::{Client, ClientBuilder};

use crate::browser::{Answer, send};
use crate::raw::{connect, read_to_end, statuses};
use crate::server::Server;
use crate::site::Site;
use crate::wait::until;

/// A certificate for this machine, and its key, in PEM.
fn certificate() -> (String, String) {
    let names = vec!["127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

/// A client that believes this certificate alone.
fn believer(certificate: &str) -> ClientBuilder {
    let certificate = Certificate::from_pem(certificate.as_bytes()).unwrap();
    Client::builder().no_proxy().tls_certs_only([certificate])
}

async fn metadata(server: &Server, client: ClientBuilder) -> Option<Answer> {
    let request = client.build().unwrap().get(server.url("/fhir/metadata"));
    request.try_clone().unwrap().send().await.ok()?;
    Some(send(request).await)
}

/// A server with a certificate, and where its files are.
fn serve(certificate: &str, key: &str) -> (Server, String, String) {
    let site = Site::new();
    site.write("certificate.pem", certificate);
    site.write("key.pem", key);
    let [at, key_at] = ["certificate.pem", "key.pem"].map(|name| site.at(name));
    let tls = format!("[tls]\ncertificate = '{at}'\nkey = '{key_at}'");
    (site.start_as("https", &tls), at, key_at)
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_and_browsers_told_to_stay() {
    let (certificate, key) = certificate();
    let (server, ..) = serve(&certificate, &key);
    for version in [Version::TLS_1_2, Version::TLS_1_3] {
        let client = believer(&certificate)
            .tls_version_min(version)
            .tls_version_max(version);
        let answer = metadata(&server, client)
            .await
            .expect("an answer")
            .expect(200);
        let strict = answer.header("strict-transport-security");
        assert_eq!(strict, "max-age=31536000");
        assert!(answer.text().contains(&server.origin()), "{answer}");
    }
    let (stranger, _) = self::certificate();
    assert!(metadata(&server, believer(&stranger)).await.is_none());
}

#[tokio::test]
async fn a_new_certificate_is_taken_while_it_runs_and_a_broken_one_is_not() {
    let (old, old_key) = certificate();
    let (server, at, key_at) = serve(&old, &old_key);
    metadata(&server, believer(&old)).await.expect("an answer");

    // The new certificate is there before its key is.
    let (new, new_key) = certificate();
    std::fs::write(&at, &new).unwrap();
    server.signal("HUP");
    until("a word about it", async || {
        server.log().contains("the one before stays").then_some(())
    })
    .await;
    metadata(&server, believer(&old))
        .await
        .expect("the old one still");

    std::fs::write(&key_at, &new_key).unwrap();
    server.signal("HUP");
    until("the new certificate", async || {
        metadata(&server, believer(&new)).await
    })
    .await;
    assert!(metadata(&server, believer(&old)).await.is_none());

    // Nobody has to say so.
    let (newest, newest_key) = certificate();
    std::fs::write(&at, &newest).unwrap();
    std::fs::write(&key_at, &newest_key).unwrap();
    until("the newest certificate", async || {
        metadata(&server, believer(&newest)).await
    })
    .await;
}

#[tokio::test]
async fn who_speaks_plain_http_there_learns_nothing() {
    let (certificate, key) = certificate();
    let (server, ..) = serve(&certificate, &key);
    for words in [
        "GET /fhir/metadata HTTP/1.1\r\nHost: a\r\n\r\n",
        "nonsense\r\n\r\n\r\n",
        "\0\0\0\0\0\0",
    ] {
        let mut stream = connect(&server);
        stream.write_all(words.as_bytes()).unwrap();
        let answer = read_to_end(&mut stream);
        assert!(
            statuses(&answer).is_empty() && answer.len() < 50,
            "{answer}"
        );
    }
    // Whoever says nothing is not waited for; meanwhile others are served.
    let mut silent = connect(&server);
    metadata(&server, believer(&certificate))
        .await
        .expect("an answer");
    assert!(read_to_end(&mut silent).is_empty());
    assert!(server.shutdown().success());
}

#[test]
fn a_certificate_that_is_none_is_told_at_the_start() {
    let (certificate, key) = certificate();
    let (_, other) = self::certificate();
    for (certificate, key, told) in [
        (certificate.as_str(), other.as_str(), "cannot be used"),
        ("nonsense", key.as_str(), "holds no certificate"),
        (
            certificate.as_str(),
            certificate.as_str(),
            "holds no private key",
        ),
    ] {
        let site = Site::new();
        site.write("certificate.pem", certificate);
        site.write("key.pem", key);
        let [at, key_at] = ["certificate.pem", "key.pem"].map(|name| site.at(name));
        let tls = format!("[tls]\ncertificate = '{at}'\nkey = '{key_at}'");
        let said = site.refuse_as("https", &tls);
        assert!(said.contains(told), "{said}");
        assert!(!said.contains("PRIVATE"), "{said}");
    }
}
