//! What an app is told of a job in each state.

use crate::export::{JobStatus, Manifest, Progress};

use super::*;

/// Progress, seconds to wait and form of a job that is not done.
fn in_progress(job: &ExportJob) -> (String, Duration, Option<String>) {
    match House::of([]).service().status(job) {
        JobStatus::InProgress {
            progress,
            retry_after,
            form,
        } => (progress, retry_after, form),
        other => panic!("{other:?}"),
    }
}

#[test]
fn progress_begins_with_the_status_word_and_fits_a_header() {
    let mut far = claimed();
    let claim = far.current_claim().unwrap().clone();
    let progress = Progress {
        resources: u64::MAX,
        bytes: u64::MAX,
    };
    far.renew(&claim, at(90), progress).unwrap();
    for job in [awaiting_input(), requested(), claimed(), far, retrieved()] {
        let (progress, retry_after, _) = in_progress(&job);
        let (word, detail) = progress.split_once(", ").unwrap();
        assert_eq!(word, job.status().as_str());
        assert!(!detail.is_empty() && progress.is_ascii() && progress.len() <= 100);
        assert!(retry_after > Duration::ZERO, "{progress}");
    }
}

#[test]
fn a_running_export_tells_how_far_it_got() {
    let mut job = claimed();
    let claim = job.current_claim().unwrap().clone();
    for (bytes, told) in [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_000, "1.0 kB"),
        (3_499_999, "3.4 MB"),
        (12_000_000_000, "12.0 GB"),
        (4_500_000_000_000, "4500.0 GB"),
    ] {
        let progress = Progress {
            resources: 1200,
            bytes,
        };
        job.renew(&claim, at(90), progress).unwrap();
        let expected = format!("requested, 1200 resources, {told} written");
        assert_eq!(in_progress(&job).0, expected);
    }
}

#[test]
fn the_form_is_offered_for_as_long_as_it_is_open() {
    let job = awaiting_input();
    let form = format!("https://ehi.example/jobs/{}/customize?_patient=p-1", job.id);
    assert_eq!(in_progress(&job).2, Some(form));
    for later in [requested(), claimed(), retrieved()] {
        assert_eq!(in_progress(&later).2, None);
    }
}

#[test]
fn a_released_export_comes_with_its_manifest_and_its_end() {
    let job = approved();
    let status = House::of([]).service().status(&job);
    let JobStatus::Complete { manifest, expires } = status else {
        panic!("{status:?}")
    };
    assert_eq!(*manifest, Manifest::of(&job, &links()).unwrap());
    assert_eq!(expires, at(15 + 300), "counted from the release");
}

#[test]
fn a_declined_or_failed_export_tells_why() {
    let service = House::of([]).service();
    let declined = service.status(&rejected());
    let reason = "ask your doctor";
    assert!(matches!(declined, JobStatus::Rejected { reason: Some(told) } if told == reason));
    let reason = "the source is gone";
    let given_up = service.status(&failed());
    assert!(matches!(given_up, JobStatus::Failed { reason: told } if told == reason));
}
