//! Files as responses: whole, in part, or not again.
//!
//! Source: RFC 9110 sections 13 (conditional requests) and 14 (range requests).

use std::ops::Range;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
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
    /// The client wants another file than this one has become.
    Changed,
    /// Beyond the end of the file.
    Unsatisfiable,
}

impl Part {
    /// What is asked for, in the order of RFC 9110 section 13.2.2. Times are not compared: no
    /// file is sent with one.
    fn asked(method: &Method, headers: &HeaderMap, size: u64, etag: &str) -> Self {
        if headers.contains_key(IF_MATCH) && !names(headers, IF_MATCH, |tag| tag == etag) {
            return Self::Changed;
        }
        let known = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == etag;
        if names(headers, IF_NONE_MATCH, known) {
            return Self::Unchanged;
        }
        let same = (headers.get(IF_RANGE)).is_none_or(|tag| tag.as_bytes() == etag.as_bytes());
        let mut ranges = headers.get_all(RANGE).iter();
        match (ranges.next(), ranges.next()) {
            // Of other methods a part has no meaning.
            (Some(range), None) if same && method == Method::GET => Self::of_range(range, size),
            _ => Self::Whole,
        }
    }

    fn of_range(range: &HeaderValue, size: u64) -> Self {
        // A header that is no range is to be ignored.
        let Some(ranges) = range.to_str().ok().and_then(parse_ranges) else {
            return Self::Whole;
        };
        let mut there = ranges.iter().filter_map(|range| range.within(size));
        match there.next() {
            Some(range) if ranges.len() == 1 => Self::Some(range),
            // Several ranges in one response are ours to decline.
            Some(_) => Self::Whole,
            None => Self::Unsatisfiable,
        }
    }
}

/// Whether a list of entity tags has one like this, or stands for any.
fn names(headers: &HeaderMap, header: HeaderName, like: impl Fn(&str) -> bool) -> bool {
    let lists = headers.get_all(header).into_iter();
    let mut tags = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(',').map(str::trim));
    tags.any(|tag| tag == "*" || like(tag))
}

/// A part of a file in bytes.
#[derive(Debug)]
enum ByteRange {
    From {
        first: u64,
        last: Option<u64>,
    },
    /// So many at the end.
    Last(u64),
}

impl ByteRange {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        if first.is_empty() {
            return Some(Self::Last(position(last)?));
        }
        let first = position(first)?;
        let last = match last {
            "" => None,
            last => Some(position(last)?),
        };
        let backwards = last.is_some_and(|last| last < first);
        (!backwards).then_some(Self::From { first, last })
    }

    /// What of it a file of this size has; `None` where that is nothing.
    fn within(&self, size: u64) -> Option<Range<u64>> {
        let range = match *self {
            Self::From { first, last } => {
                first..last.map_or(size, |last| last.saturating_add(1).min(size))
            }
            Self::Last(length) => size.saturating_sub(length)..size,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// Reads a `Range` header. `None` where it is none of bytes, or one of them is none.
fn parse_ranges(text: &str) -> Option<Vec<ByteRange>> {
    let (unit, ranges) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let ranges = ranges
        .split(',')
        .map(|range| range.trim_matches([' ', '\t']));
    let ranges = ranges.filter(|range| !range.is_empty());
    let ranges: Vec<ByteRange> = ranges.map(ByteRange::parse).collect::<Option<_>>()?;
    (!ranges.is_empty()).then_some(ranges)
}

/// A place in a file. No file is larger than can be counted, so what cannot is at its end.
fn position(digits: &str) -> Option<u64> {
    let digits_only = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits_only.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// The response that sends a file, or tells of it. Only what is sent is a download.
pub async fn send(
    exports: &ExportService,
    download: &Download,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, UseCaseError> {
    let part = Part::asked(method, headers, download.size, &download.etag);
    let (status, range) = match part {
        Part::Whole => (StatusCode::OK, 0..download.size),
        Part::Some(range) => (StatusCode::PARTIAL_CONTENT, range),
        Part::Unchanged => (StatusCode::NOT_MODIFIED, 0..0),
        Part::Changed => return Ok(changed()),
        Part::Unsatisfiable => return Ok(beyond(download.size)),
    };
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

/// The file is not the one that the client knows.
fn changed() -> Response {
    let status = StatusCode::PRECONDITION_FAILED;
    let message = "The file is not the one you know (If-Match). Fetch it as it is now.";
    Problem::new(status, IssueCode::Conflict, message).into_response()
}

/// The file ends before what was asked for.
fn beyond(size: u64) -> Response {
    let status = StatusCode::RANGE_NOT_SATISFIABLE;
    let message = format!("The file ends at byte {size}; ask for a part before that.");
    let mut response = Problem::new(status, IssueCode::Invalid, message).into_response();
    if let Ok(size) = HeaderValue::from_str(&format!("bytes */{size}")) {
        response.headers_mut().insert(CONTENT_RANGE, size);
    }
    response
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

    fn asked(pairs: &[(HeaderName, &'static str)]) -> Part {
        asked_by(&Method::GET, pairs, 100)
    }

    fn asked_by(method: &Method, pairs: &[(HeaderName, &'static str)], size: u64) -> Part {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        Part::asked(method, &headers, size, "\"tag\"")
    }

    #[test]
    fn one_range_is_served_as_far_as_the_file_goes() {
        for (range, expected) in [
            ("bytes=0-9", Part::Some(0..10)),
            ("Bytes=0-9", Part::Some(0..10)),
            ("bytes=007-009", Part::Some(7..10)),
            ("bytes= 0-9 ,", Part::Some(0..10)),
            ("bytes=90-", Part::Some(90..100)),
            ("bytes=90-1000", Part::Some(90..100)),
            ("bytes=0-99999999999999999999999", Part::Some(0..100)),
            ("bytes=-10", Part::Some(90..100)),
            ("bytes=-101", Part::Some(0..100)),
            ("bytes=-99999999999999999999999", Part::Some(0..100)),
            ("bytes=100-", Part::Unsatisfiable),
            ("bytes=99999999999999999999999-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=100-,200-", Part::Unsatisfiable),
        ] {
            assert_eq!(asked(&[(RANGE, range)]), expected, "{range}");
        }
    }

    #[test]
    fn what_is_not_one_range_is_the_whole_file() {
        for range in [
            "bytes=5-2",
            "bytes=0-1,5-2",
            "bytes=0-1,5-6",
            "bytes=0-10,5-20",
            "bytes=0-1,100-",
            "lines=0-1",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=x",
            "bytes=-",
            "bytes=+1-2",
            "bytes=0-1-2",
            "bytes=0 - 1",
            "bytes =0-1",
        ] {
            assert_eq!(asked(&[(RANGE, range)]), Part::Whole, "{range}");
        }
        assert_eq!(asked(&[]), Part::Whole);
        let two = [(RANGE, "bytes=0-1"), (RANGE, "bytes=0-1")];
        assert_eq!(asked(&two), Part::Whole);
    }

    #[test]
    fn only_get_knows_parts() {
        let head = |range| asked_by(&Method::HEAD, &[(RANGE, range)], 100);
        assert_eq!(head("bytes=0-9"), Part::Whole);
        assert_eq!(head("bytes=100-"), Part::Whole);
    }

    #[test]
    fn of_an_empty_file_there_is_no_part() {
        for range in ["bytes=0-", "bytes=-5"] {
            let part = asked_by(&Method::GET, &[(RANGE, range)], 0);
            assert_eq!(part, Part::Unsatisfiable, "{range}");
        }
    }

    #[test]
    fn a_file_that_changed_is_sent_whole_and_one_that_did_not_is_not_sent() {
        let range = (RANGE, "bytes=0-9");
        for (tag, part) in [
            ("\"tag\"", Part::Some(0..10)),
            ("\"old\"", Part::Whole),
            ("W/\"tag\"", Part::Whole),
            ("Tue, 24 Nov 2026 00:00:00 GMT", Part::Whole),
        ] {
            assert_eq!(asked(&[range.clone(), (IF_RANGE, tag)]), part, "{tag}");
        }
        for known in ["\"x\", \"tag\"", "W/\"tag\"", "*"] {
            assert_eq!(asked(&[(IF_NONE_MATCH, known)]), Part::Unchanged, "{known}");
        }
        let lines = [(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "\"tag\"")];
        assert_eq!(asked(&lines), Part::Unchanged);
        assert_eq!(asked(&[(IF_NONE_MATCH, "\"x\"")]), Part::Whole);
    }

    #[test]
    fn whoever_wants_another_file_gets_none() {
        let range = (RANGE, "bytes=0-9");
        for wanted in ["\"x\"", "W/\"tag\"", "", "tag"] {
            let asked = asked(&[(IF_MATCH, wanted), range.clone()]);
            assert_eq!(asked, Part::Changed, "{wanted}");
        }
        for wanted in ["\"tag\"", "\"x\", \"tag\"", "*"] {
            let part = asked(&[(IF_MATCH, wanted), range.clone()]);
            assert_eq!(part, Part::Some(0..10), "{wanted}");
            let known = [(IF_MATCH, wanted), (IF_NONE_MATCH, "\"tag\"")];
            assert_eq!(asked(&known), Part::Unchanged, "{wanted}");
        }
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
