//! Which URLs are settings.

use super::*;

#[test]
fn a_url_says_where_files_go() {
    let settings: S3Settings =
        "s3://ehi-files/a/b/?endpoint=http://127.0.0.1:9000&region=eu-central-1\
        &path_style=true&sse=aws:kms&kms_key=arn:aws:kms:eu:1:key/7&connect_timeout=2s\
        &attempt_timeout=2min&attempts=7&first_wait=100ms"
            .parse()
            .unwrap();
    assert_eq!(settings.bucket.as_str(), "ehi-files");
    assert_eq!(settings.folder, Some(path("a/b")));
    assert_eq!(
        settings.endpoint.unwrap().as_str(),
        "http://127.0.0.1:9000/"
    );
    assert_eq!(settings.region.unwrap().as_str(), "eu-central-1");
    assert_eq!(settings.addressing, Addressing::Path);
    let key = "arn:aws:kms:eu:1:key/7".parse().unwrap();
    assert_eq!(settings.encryption, Encryption::Kms(key));
    assert_eq!(settings.connect_timeout, Duration::from_secs(2));
    assert_eq!(settings.attempt_timeout, Duration::from_mins(2));
    assert_eq!(settings.attempts.get(), 7);
    assert_eq!(settings.first_wait, Duration::from_millis(100));
}

#[test]
fn a_bucket_alone_is_enough() {
    for url in ["s3://ehi-files", "s3://ehi-files/", "s3://ehi-files?"] {
        let settings: S3Settings = url.parse().unwrap();
        assert_eq!((settings.folder, settings.endpoint), (None, None));
        assert_eq!(settings.addressing, Addressing::VirtualHost);
        assert_eq!(settings.encryption, Encryption::BucketDefault);
        assert_eq!(settings.attempts.get(), 5);
    }
}

#[test]
fn unencrypted_http_is_for_this_machine_or_on_request() {
    for good in [
        "http://localhost:9000",
        "http://[::1]:9000",
        "http://127.0.0.1:9000",
        "http://minio:9000&allow_http=true",
        "https://s3.example.org",
    ] {
        let url = format!("s3://ehi-files?endpoint={good}");
        assert!(url.parse::<S3Settings>().is_ok(), "{good}");
    }
    let bad = "s3://ehi-files?endpoint=http://minio:9000".parse::<S3Settings>();
    assert_eq!(bad.unwrap_err(), SettingsError::PlainHttp);
}

#[test]
fn what_is_wrong_with_a_url_is_said() {
    use SettingsError::{Bucket, Folder, KeysInUrl, Twice, Unknown, Url, Value};
    for (url, error) in [
        ("", Url),
        ("ehi-files", Url),
        ("file:///tmp", Url),
        ("https://ehi-files", Url),
        ("s3://ehi-files#a", Url),
        ("s3:ehi-files", Bucket),
        ("s3:///a", Bucket),
        ("s3://ab", Bucket),
        ("s3://Ehi_Files", Bucket),
        ("s3://-ehi", Bucket),
        ("s3://a..b", Bucket),
        ("s3://ehi-files:9000", Bucket),
        ("s3://ehi-files/a//b", Folder),
        ("s3://ehi-files/.a", Folder),
        ("s3://ehi-files/a%20b", Folder),
        ("s3://key:secret@ehi-files", KeysInUrl),
        ("s3://key@ehi-files", KeysInUrl),
        ("s3://ehi-files?endpoint=http://k:s@127.0.0.1", KeysInUrl),
        ("s3://ehi-files?secret=x", Unknown("secret".to_owned())),
        ("s3://ehi-files?Region=x", Unknown("Region".to_owned())),
        (
            "s3://ehi-files?region=a&region=b",
            Twice("region".to_owned()),
        ),
        (
            "s3://ehi-files?region=",
            Value("region", "a name like eu-central-1"),
        ),
        (
            "s3://ehi-files?region=EU 1",
            Value("region", "a name like eu-central-1"),
        ),
        (
            "s3://ehi-files?path_style=yes",
            Value("path_style", "true or false"),
        ),
        (
            "s3://ehi-files?allow_http=1",
            Value("allow_http", "true or false"),
        ),
        ("s3://ehi-files?sse=aes", Value("sse", "AES256 or aws:kms")),
        (
            "s3://ehi-files?sse=aws:kms",
            Value("kms_key", "there for sse=aws:kms"),
        ),
        (
            "s3://ehi-files?kms_key=k",
            Value("sse", "aws:kms where kms_key is set"),
        ),
        (
            "s3://ehi-files?kms_key=",
            Value("kms_key", "the id or ARN of a key"),
        ),
        (
            "s3://ehi-files?attempts=0",
            Value("attempts", "a number from 1 to 20"),
        ),
        (
            "s3://ehi-files?attempts=21",
            Value("attempts", "a number from 1 to 20"),
        ),
        (
            "s3://ehi-files?connect_timeout=0s",
            Value("connect_timeout", "a time like 30s or 2min, up to 1h"),
        ),
        (
            "s3://ehi-files?attempt_timeout=-1s",
            Value("attempt_timeout", "a time like 30s or 2min, up to 1h"),
        ),
        (
            "s3://ehi-files?first_wait=2h",
            Value("first_wait", "a time like 30s or 2min, up to 1h"),
        ),
        (
            "s3://ehi-files?endpoint=minio",
            Value("endpoint", "a URL like https://s3.example.org"),
        ),
        (
            "s3://ehi-files?endpoint=ftp://a",
            Value("endpoint", "a URL like https://s3.example.org"),
        ),
        (
            "s3://ehi-files?endpoint=https://a/%3Fb=c",
            Value("endpoint", "a URL like https://s3.example.org"),
        ),
    ] {
        assert_eq!(
            url.parse::<S3Settings>().map(|_| ()).unwrap_err(),
            error,
            "{url}"
        );
    }
}
