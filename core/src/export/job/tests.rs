//! What the states of a job promise.

use super::*;
use crate::testkit::{self, at};

fn claimed() -> ExportJob {
    let mut job = testkit::job(Interaction::None);
    job.claim(&WorkerId("w".into()), at(0), at(60)).unwrap();
    job
}

#[test]
fn a_job_goes_from_form_to_release() {
    let mut job = testkit::job(Interaction::Form);
    assert_eq!(job.status(), Status::AwaitingInput);
    assert!(!job.is_claimable(at(0)));
    job.customise(Choices::whole_record(), at(1)).unwrap();
    assert_eq!(
        job.customise(Choices::form_default(), at(1)),
        Err(NotApplicable(Status::Requested))
    );
    let claim = job.claim(&WorkerId("w".into()), at(1), at(60)).unwrap();
    assert!(
        job.claim(&WorkerId("x".into()), at(2), at(60)).is_err(),
        "it is leased"
    );
    assert_eq!(job.approve(at(2)), Err(NotApplicable(Status::Requested)));
    job.retrieved(testkit::export(claim.attempt), vec![], at(2))
        .unwrap();
    assert_eq!(
        (job.status(), job.completed_at()),
        (Status::Retrieved, None)
    );
    job.approve(at(3)).unwrap();
    assert_eq!(
        (job.status(), job.completed_at()),
        (Status::Approved, Some(at(3)))
    );
    assert_eq!(
        job.reject(None, at(4)),
        Err(NotApplicable(Status::Approved))
    );
    assert!(job.attach(vec![]).is_err());
}

#[test]
fn a_late_worker_cannot_overwrite_the_winner() {
    let mut job = claimed();
    let late = job.current_claim().unwrap().clone();
    assert!(job.is_claimable(at(60)), "its lease ran out");
    let winner = job.claim(&WorkerId("x".into()), at(60), at(120)).unwrap();
    assert!(job.renew(&late, at(200), Progress::default()).is_err());
    assert!(
        job.retrieved(testkit::export(late.attempt), vec![], at(61))
            .is_err()
    );
    job.retrieved(testkit::export(winner.attempt), vec![], at(62))
        .unwrap();
}

#[test]
fn attempts_are_tried_again_with_growing_pauses_and_then_given_up() {
    let patience = Patience {
        attempts: 3,
        pause: Duration::from_secs(10),
    };
    let mut job = testkit::job(Interaction::None);
    let mut now = 0;
    for pause in [10, 20] {
        job.claim(&WorkerId("w".into()), at(now), at(now + 60))
            .unwrap();
        job.attempt_failed("disk full", patience, at(now)).unwrap();
        assert!(!job.is_claimable(at(now + pause - 1)) && job.is_claimable(at(now + pause)));
        now += pause;
    }
    job.claim(&WorkerId("w".into()), at(now), at(now + 60))
        .unwrap();
    job.attempt_failed("disk full", patience, at(now)).unwrap();
    assert!(matches!(job.state(), JobState::Failed { reason, .. } if reason == "disk full"));
}

#[test]
fn however_often_an_export_is_tried_a_pause_is_ten_minutes_at_most() {
    let patience = Patience {
        attempts: 100,
        pause: Duration::from_secs(2),
    };
    let mut job = testkit::job(Interaction::None);
    for attempt in 0..50 {
        let now = attempt * 600;
        job.claim(&WorkerId("w".into()), at(now), at(now + 60))
            .unwrap();
        job.attempt_failed("disk full", patience, at(now)).unwrap();
        assert!(job.is_claimable(at(now + 600)), "after {attempt}");
    }
}

#[test]
fn a_job_without_review_is_released_at_once() {
    let mut job = claimed();
    job.review = Review::Automatic;
    job.retrieved(testkit::export(1), vec![], at(5)).unwrap();
    assert_eq!(
        (job.status(), job.completed_at()),
        (Status::Approved, Some(at(5)))
    );
}

#[test]
fn ids_are_read_as_they_are_written() {
    let id = JobId::from_random([0xab; 32]);
    assert_eq!(JobId::parse(&id.to_string()), Some(id));
    for other in [
        id.to_string().to_uppercase(),
        format!("{{{id}}}"),
        id.to_string().replace('-', ""),
        "..".into(),
    ] {
        assert_eq!(JobId::parse(&other), None, "{other}");
    }
}
