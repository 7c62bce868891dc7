//! Whatever comes as an id, a name, a date or a path: what is taken is safe where it is used.
#![no_main]

use ehi_core::export::{AttachmentName, JobId};
use ehi_core::fhir::{PartialDate, PatientId, codings, display_name};
use ehi_core::ports::{FilePath, RequestId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(id) = PatientId::parse(text) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        assert!(id.as_str().bytes().all(plain) && id.as_str().len() <= 64);
    }
    if let Some(id) = JobId::parse(text) {
        assert_eq!(JobId::parse(&id.to_string()), Some(id));
    }
    if let Ok(path) = FilePath::parse(text) {
        let safe = |part: &str| !part.is_empty() && part != "." && part != "..";
        assert!(path.as_str().split('/').all(safe) && !path.as_str().contains(['\0', '\\']));
    }
    if let Ok(name) = AttachmentName::parse(text) {
        let path_like = |c: char| matches!(c, '/' | '\\') || c.is_control();
        assert!(!name.as_str().contains(path_like) && name.as_str() != "..");
    }
    if let Some(id) = RequestId::parse(text) {
        assert!(id.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let Ok(date) = text.parse::<PartialDate>() {
        assert_eq!(date.as_str().parse::<PartialDate>().as_ref(), Ok(&date));
        assert!(date.period().overlaps(&date.period()));
    }
    let _ = codings(text);
    let _ = display_name(text);
});
