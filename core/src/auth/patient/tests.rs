use std::time::Duration;

use super::*;
use crate::auth::Door;
use crate::ports::{Brings, Credentials, LoginReturn, MockPatientLogin, MockRecordSource, Outcome};
use crate::testkit::{FixedClock, RecordedAudit, SeededEntropy, Sessions, at, guard, patient};

fn sessions(login: MockPatientLogin) -> (PatientSessions, Arc<FixedClock>, Arc<RecordedAudit>) {
    let clock = Arc::new(FixedClock::at(at(0)));
    let audit = Arc::new(RecordedAudit::default());
    let mut source = MockRecordSource::new();
    source
        .expect_patient()
        .returning(|id| Ok((*id == patient().id).then(patient)));
    let sessions = PatientSessions {
        login: Arc::new(login),
        guard: guard(Door::Patients),
        source: Arc::new(source),
        sessions: Arc::new(Sessions::default()),
        audit: audit.clone(),
        clock: clock.clone(),
        entropy: Arc::new(SeededEntropy::default()),
        lifetimes: SessionLifetimes {
            idle: Duration::from_mins(10),
            absolute: Duration::from_hours(1),
        },
    };
    (sessions, clock, audit)
}

fn everybody() -> MockPatientLogin {
    let mut login = MockPatientLogin::new();
    login.expect_verify().returning(|_| Ok(patient().id));
    login
}

fn picked() -> PatientAnswer {
    PatientAnswer::Picked(patient().id)
}

async fn logged_in(sessions: &PatientSessions) -> Secret {
    let origin = Origin::default();
    sessions.log_in(picked(), None, &origin).await.unwrap()
}

async fn is_recognised(sessions: &PatientSessions, cookie: &Secret) -> bool {
    match sessions.recognise(cookie, &Origin::default()).await {
        Ok(session) => session.patient == patient(),
        Err(SessionError::None) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_used_session_lasts_and_an_unused_one_ends() {
    let (sessions, clock, audit) = sessions(everybody());
    let cookie = logged_in(&sessions).await;
    for minute in [9, 18, 27] {
        clock.set(at(minute * 60));
        assert!(is_recognised(&sessions, &cookie).await, "{minute}");
    }
    clock.set(at(37 * 60));
    assert!(!is_recognised(&sessions, &cookie).await);
    assert_eq!(audit.actions(), [Action::PatientLogin]);
}

#[tokio::test]
async fn no_session_outlives_its_longest_time_however_much_it_is_used() {
    let (sessions, clock, _) = sessions(everybody());
    let cookie = logged_in(&sessions).await;
    let mut last = 0;
    for minute in (5..200).step_by(5) {
        clock.set(at(minute * 60));
        if is_recognised(&sessions, &cookie).await {
            last = minute;
        }
    }
    assert_eq!(last, 55);
}

#[tokio::test]
async fn a_logged_out_cookie_is_worth_nothing() {
    let (sessions, _, audit) = sessions(everybody());
    let cookie = logged_in(&sessions).await;
    let origin = Origin::default();
    sessions.log_out(&cookie, &origin).await.unwrap();
    assert!(!is_recognised(&sessions, &cookie).await);
    let again = sessions.log_out(&cookie, &origin).await;
    assert!(matches!(again, Err(SessionError::None)));
    assert_eq!(
        audit.actions(),
        [Action::PatientLogin, Action::PatientLogout]
    );
    assert_eq!(audit.events()[1].patient, Some(patient().id));
}

#[tokio::test]
async fn a_cookie_from_before_the_login_never_becomes_a_session() {
    let (sessions, _, _) = sessions(everybody());
    let first = logged_in(&sessions).await;
    let planted = Secret::presented("planted-by-somebody-else").unwrap();
    for before in [&first, &planted] {
        let origin = Origin::default();
        let after = sessions.log_in(picked(), Some(before), &origin).await;
        let after = after.unwrap();
        assert_ne!(after.expose(), before.expose());
        assert!(is_recognised(&sessions, &after).await);
        assert!(!is_recognised(&sessions, before).await);
    }
}

#[tokio::test]
async fn a_patient_without_a_record_is_refused_like_a_wrong_answer() {
    let mut login = MockPatientLogin::new();
    login
        .expect_verify()
        .times(1)
        .returning(|_| Ok(PatientId::parse("nobody").unwrap()));
    login
        .expect_verify()
        .returning(|_| Err(LoginError::Refused));
    let (sessions, _, audit) = sessions(login);
    for _ in 0..2 {
        let refused = sessions.log_in(picked(), None, &Origin::default()).await;
        assert!(matches!(refused, Err(SessionError::Refused)));
    }
    assert_eq!(
        audit.actions(),
        [Action::PatientLogin, Action::PatientLogin]
    );
    let refused = |event: &AuditEvent| event.outcome == Outcome::Refused;
    assert!(audit.events().iter().all(refused));
}

#[tokio::test]
async fn who_proved_elsewhere_who_they_are_is_told_that_there_is_no_record() {
    let mut login = MockPatientLogin::new();
    login
        .expect_verify()
        .returning(|_| Ok(PatientId::parse("nobody").unwrap()));
    let (sessions, _, audit) = sessions(login);
    let back = PatientAnswer::Returned(LoginReturn {
        attempt: sessions.attempt("").unwrap(),
        issuer: None,
        brings: Brings::Code("code".to_owned().into()),
    });
    let stranger = sessions.log_in(back, None, &Origin::default()).await;
    assert!(matches!(stranger, Err(SessionError::Stranger)));
    assert_eq!(audit.events()[0].outcome, Outcome::Refused);
}

#[tokio::test]
async fn guessing_is_slowed_down_for_known_and_unknown_names_alike() {
    let mut login = MockPatientLogin::new();
    login
        .expect_verify()
        .returning(|_| Err(LoginError::Refused));
    let (sessions, clock, _) = sessions(login);
    let tried = async |answer| {
        let origin = Origin::default();
        sessions.log_in(answer, None, &origin).await.unwrap_err()
    };
    for username in ["grace", "nobody"] {
        let guess = || {
            PatientAnswer::Password(Credentials {
                username: username.to_owned(),
                password: "guess".to_owned().into(),
            })
        };
        for _ in 0..5 {
            assert!(matches!(tried(guess()).await, SessionError::Refused));
        }
        assert!(matches!(tried(guess()).await, SessionError::TooMany(_)));
    }
    clock.set(at(1));
    assert!(matches!(tried(picked()).await, SessionError::Refused));
}
