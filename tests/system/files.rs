//! Downloads: whole, in pieces, and again.

use reqwest::Method;

use crate::app::App;
use crate::browser::{Answer, send};
use crate::export::{at_once, url_of};
use crate::patients::{ANNA, Records};
use crate::server::Server;

/// Fetches a file with more headers.
async fn fetch(app: &App<'_>, url: &str, headers: &[(&str, &str)]) -> Answer {
    let request = app.request(Method::GET, url);
    send(headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    }))
    .await
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let (_, manifest) = at_once(&app).await;
    let url = url_of(&manifest, "Observation");
    let whole = app.get(url).await.expect(200).body;
    let length = whole.len();

    for (range, from, to) in [
        ("bytes=0-9".to_owned(), 0, 10),
        ("bytes=10-".to_owned(), 10, length),
        ("bytes=-7".to_owned(), length - 7, length),
        (format!("bytes=3-{}", length + 100), 3, length),
    ] {
        let part = fetch(&app, url, &[("Range", &range)]).await.expect(206);
        assert_eq!(part.body, whole[from..to], "bytes of {range}");
        let told = format!("bytes {from}-{}/{length}", to - 1);
        assert_eq!(part.header("content-range"), told, "of {range}");
        assert_eq!(part.header("content-type"), "application/fhir+ndjson");
    }
}

#[tokio::test]
async fn a_range_behind_the_end_is_416_and_tells_the_length() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let (_, manifest) = at_once(&app).await;
    let url = url_of(&manifest, "Patient");
    let length = app.get(url).await.expect(200).body.len();
    let answer = fetch(&app, url, &[("Range", &format!("bytes={length}-"))])
        .await
        .expect(416);
    assert_eq!(answer.header("content-range"), format!("bytes */{length}"));
}

#[tokio::test]
async fn a_part_is_only_given_of_the_file_one_knows() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let (_, manifest) = at_once(&app).await;
    let url = url_of(&manifest, "Patient");
    let whole = app.get(url).await.expect(200);
    let etag = whole.header("etag");
    assert!(
        etag.starts_with('"') && etag.ends_with('"'),
        "no strong ETag: {etag}"
    );

    let range = ("Range", "bytes=0-3");
    let same = fetch(&app, url, &[range, ("If-Range", etag)])
        .await
        .expect(206);
    assert_eq!(same.body, whole.body[..4]);
    let other = fetch(&app, url, &[range, ("If-Range", "\"another\"")])
        .await
        .expect(200);
    assert_eq!(other.body, whole.body);
}

#[tokio::test]
async fn two_files_never_share_an_etag() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let (_, manifest) = at_once(&app).await;
    let mut etags = Vec::new();
    for output in manifest["output"].as_array().unwrap() {
        let file = app.get(output["url"].as_str().unwrap()).await.expect(200);
        etags.push(file.header("etag").to_owned());
    }
    let count = etags.len();
    etags.sort();
    etags.dedup();
    assert_eq!(etags.len(), count);
}

#[tokio::test]
async fn a_range_that_makes_no_sense_gives_the_whole_file() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let (_, manifest) = at_once(&app).await;
    let url = url_of(&manifest, "Patient");
    let whole = app.get(url).await.expect(200).body;
    for range in ["lines=1-2", "bytes=9-2", "bytes=a-b"] {
        let answer = fetch(&app, url, &[("Range", range)]).await.expect(200);
        assert_eq!(answer.body, whole, "of {range}");
    }
}

#[tokio::test]
async fn a_part_is_given_as_far_as_the_file_goes_and_of_no_file_that_is_another() {
    let server = Server::demo(&Records::small());
    let app = App::connect(&server, ANNA).await;
    let (_, manifest) = at_once(&app).await;
    let url = url_of(&manifest, "Patient");
    let whole = app.get(url).await.expect(200).body;
    for range in [
        "bytes=-10000000",
        "bytes=0-99999999999999999999999",
        "BYTES=0-",
    ] {
        let part = fetch(&app, url, &[("Range", range)]).await.expect(206);
        assert_eq!(part.body, whole, "of {range}");
    }
    let head = app.request(Method::HEAD, url).header("Range", "bytes=0-3");
    let head = send(head).await.expect(200);
    assert_eq!(head.header("content-range"), "");
    assert_eq!(head.header("content-length"), whole.len().to_string());
    let other = [("If-Match", "\"x\""), ("Range", "bytes=0-3")];
    fetch(&app, url, &other).await.expect_outcome(412);
    let same = [("If-Match", head.header("etag"))];
    assert_eq!(fetch(&app, url, &same).await.expect(200).body, whole);
}
