//! Files as responses: whole, in part, or not again.
//!
//! Source: RFC 9110 sections 13 (conditional requests) and 14 (range requests).

use std::ops::Range;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use ehi_core::export::{Download, ExportService, UseCaseError};
use ehi_core::fhir::IssueCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::Problem;

/// What of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Some(Range<u64>),
    /// The client has it already.
    Unchanged,
    /// Beyond the end of the file.
    Unsatisfiable,
}

impl Part {
    fn asked(headers: &HeaderMap, size: u64, etag: &str) -> Self {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        if text(IF_NONE_MATCH).is_some_and(|tags| tags == "*" || lists(tags, etag)) {
            return Self::Unchanged;
        }
        let range = text(RANGE).filter(|_| text(IF_RANGE).is_none_or(|tag| tag == etag));
        let Some(parsed) =
            range.and_then(|range| http_range_header::parse_range_header(range).ok())
        else {
            // A header that is no range is to be ignored.
            return Self::Whole;
        };
        // Of an empty file there is no part.
        match parsed.validate(size).as_deref().ok().filter(|_| size > 0) {
            Some([one]) => Self::Some(*one.start()..one.end() + 1),
            // Several ranges in one response are ours to decline.
            Some(_) => Self::Whole,
            None => Self::Unsatisfiable,
        }
    }
}

fn lists(tags: &str, etag: &str) -> bool {
    tags.split(',')
        .any(|tag| tag.trim().trim_start_matches("W/") == etag)
}

/// The response that sends a file, or tells of it. Only what is sent is a download.
pub async fn send(
    exports: &ExportService,
    download: &Download,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, UseCaseError> {
    let part = Part::asked(headers, download.size, &download.etag);
    let (status, range) = match part {
        Part::Whole => (StatusCode::OK, 0..download.size),
        Part::Some(range) => (StatusCode::PARTIAL_CONTENT, range),
        Part::Unchanged => (StatusCode::NOT_MODIFIED, 0..0),
        Part::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
    };
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        let message = format!(
            "The file ends at byte {}; ask for a part before that.",
            download.size
        );
        let mut response = Problem::new(status, IssueCode::Invalid, message).into_response();
        if let Ok(size) = HeaderValue::from_str(&format!("bytes */{}", download.size)) {
            response.headers_mut().insert(CONTENT_RANGE, size);
        }
        return Ok(response);
    }
    let length = range.end - range.start;
    let body = if method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
        Body::empty()
    } else {
        Body::from_stream(exports.read(download, range.clone()).await?)
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let mut insert = |name, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    insert(ETAG, &download.etag);
    insert(ACCEPT_RANGES, "bytes");
    insert(CACHE_CONTROL, "private, no-cache");
    match status {
        StatusCode::NOT_MODIFIED => return Ok(response),
        StatusCode::PARTIAL_CONTENT => {
            let (first, last) = (range.start, range.end.saturating_sub(1));
            insert(
                CONTENT_RANGE,
                &format!("bytes {first}-{last}/{}", download.size),
            );
        }
        _ => {}
    }
    insert(CONTENT_LENGTH, &length.to_string());
    insert(CONTENT_TYPE, "application/octet-stream");
    insert(CONTENT_TYPE, &download.content_type);
    insert(CONTENT_DISPOSITION, &disposition(&download.name));
    Ok(response)
}

/// `attachment` with the file's name, whatever is in it (RFC 6266).
fn disposition(name: &str) -> String {
    let plain: String = (name.chars())
        .map(|c| {
            if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' {
                c
            } else {
                '_'
            }
        })
        .collect();
    if plain == name {
        format!("attachment; filename=\"{name}\"")
    } else {
        let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC);
        format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(axum::http::HeaderName, &'static str)]) -> Part {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(name.clone(), HeaderValue::from_static(value));
        }
        Part::asked(&headers, 100, "\"tag\"")
    }

    #[test]
    fn one_range_is_served_and_everything_else_is_the_whole_file() {
        for (range, expected) in [
            ("bytes=0-9", Part::Some(0..10)),
            ("bytes=90-", Part::Some(90..100)),
            ("bytes=-10", Part::Some(90..100)),
            ("bytes=100-", Part::Unsatisfiable),
            ("bytes=0-1,5-6", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=x", Part::Whole),
        ] {
            assert_eq!(asked(&[(RANGE, range)]), expected, "{range}");
        }
        assert_eq!(asked(&[]), Part::Whole);
    }

    #[test]
    fn of_an_empty_file_there_is_no_part() {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-"));
        let part = Part::asked(&headers, 0, "\"tag\"");
        assert_eq!(part, Part::Unsatisfiable);
    }

    #[test]
    fn a_file_that_changed_is_sent_whole_and_one_that_did_not_is_not_sent() {
        assert_eq!(
            asked(&[(RANGE, "bytes=0-9"), (IF_RANGE, "\"tag\"")]),
            Part::Some(0..10)
        );
        assert_eq!(
            asked(&[(RANGE, "bytes=0-9"), (IF_RANGE, "\"old\"")]),
            Part::Whole
        );
        assert_eq!(asked(&[(IF_NONE_MATCH, "\"x\", \"tag\"")]), Part::Unchanged);
        assert_eq!(asked(&[(IF_NONE_MATCH, "\"x\"")]), Part::Whole);
    }

    #[test]
    fn a_file_name_cannot_break_out_of_its_header() {
        assert_eq!(
            disposition("a b.ndjson"),
            "attachment; filename=\"a b.ndjson\""
        );
        assert_eq!(
            disposition("ä\";x.txt"),
            "attachment; filename=\"__;x.txt\"; filename*=UTF-8''%C3%A4%22%3Bx%2Etxt"
        );
    }
}
