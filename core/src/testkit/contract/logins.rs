//! What a [`StaffLogin`] and a [`PatientLogin`] promise.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is missing is a failure"
)]
#![expect(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "the names are the promises"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::auth::{LoginAttempt, Secret, StaffMember, StaffName, StaffRole};
use crate::fhir::PatientId;
use crate::ports::{
    Brings, Credentials, LoginError, LoginReturn, PatientAnswer, PatientLogin, PatientPrompt,
    Proof, StaffAnswer, StaffLogin, StaffPrompt, Standing,
};
use crate::testkit::patient;

/// Makes the tests of a [`StaffLogin`] by passwords: `staff_password_contract!(fresh())`, where
/// `fresh()` is a future of a login and of whatever has to live as long as it. The login knows
/// `ada`, an admin, and `bob`, a reviewer, each by [`PASSWORD`] and a space and their name.
#[macro_export]
macro_rules! staff_password_contract {
    ($fresh:expr) => {
        mod staff_password {
            use super::*;

            $crate::contract_tests!(
                logins, $fresh,
                the_right_password_proves_who_staff_are_and_their_role
                every_wrong_answer_of_staff_is_refused_alike
                an_unknown_member_of_staff_takes_as_long_as_a_wrong_password
                staff_stand_as_they_are_registered_and_others_are_gone
                a_crowd_of_staff_logs_in
            );
        }
    };
}

/// Makes the tests of a [`PatientLogin`]: `patient_login_contract!(fresh())`, where `fresh()` is a
/// future of a login and of whatever has to live as long as it.
#[macro_export]
macro_rules! patient_login_contract {
    ($fresh:expr) => {
        mod patient_login {
            use super::*;

            $crate::contract_tests!(
                logins,
                $fresh,
                a_patients_answer_to_what_was_not_asked_is_refused
            );
        }
    };
}

/// Makes the tests of a [`PatientLogin`] by passwords, which knows the [`patient`] as `grace`, by
/// [`PASSWORD`] and a space and that name.
#[macro_export]
macro_rules! patient_password_contract {
    ($fresh:expr) => {
        mod patient_password {
            use super::*;

            $crate::contract_tests!(
                logins, $fresh,
                a_patients_answer_to_what_was_not_asked_is_refused
                the_right_password_proves_who_a_patient_is
                every_wrong_password_of_a_patient_is_refused_alike
            );
        }
    };
}

/// How everybody's password begins.
pub const PASSWORD: &str = "a password of";

fn typed(username: &str, password: &str) -> Credentials {
    Credentials {
        username: username.to_owned(),
        password: password.to_owned().into(),
    }
}

fn attempt() -> LoginAttempt {
    LoginAttempt::begin(Secret::from_random([7; 32]), "/").unwrap()
}

fn returned() -> LoginReturn {
    LoginReturn {
        attempt: attempt(),
        issuer: None,
        brings: Brings::Code("code".to_owned().into()),
    }
}

fn right(name: &str) -> Credentials {
    typed(name, &format!("{PASSWORD} {name}"))
}

/// What nobody types who is asked honestly.
fn wrong(known: &str) -> Vec<Credentials> {
    let long = "x".repeat(100_000);
    vec![
        typed(known, "wrong"),
        typed(known, ""),
        typed(known, &long),
        typed(known, "\0"),
        typed(known, &format!("{PASSWORD} somebody else")),
        typed(&known.to_uppercase(), &format!("{PASSWORD} {known}")),
        typed(&format!("{known}\0"), &format!("{PASSWORD} {known}")),
        typed(&format!(" {known}"), &format!("{PASSWORD} {known}")),
        typed("", ""),
        typed("\0", "\0"),
        typed("%", &format!("{PASSWORD} {known}")),
        typed("' OR 1 = 1 --", &format!("{PASSWORD} {known}")),
        typed(&long, &long),
    ]
}

fn members() -> [StaffMember; 2] {
    [("ada", StaffRole::Admin), ("bob", StaffRole::Reviewer)].map(|(name, role)| StaffMember {
        name: StaffName::proven(name),
        role,
    })
}

pub async fn the_right_password_proves_who_staff_are_and_their_role(login: Arc<dyn StaffLogin>) {
    let prompt = login.prompt(&attempt(), Proof::Any).await.unwrap();
    assert!(matches!(prompt, StaffPrompt::Password));
    for member in members() {
        let answer = StaffAnswer::Password(right(member.name.as_str()));
        assert_eq!(login.verify(answer).await.unwrap(), member);
    }
}

pub async fn every_wrong_answer_of_staff_is_refused_alike(login: Arc<dyn StaffLogin>) {
    let answers = wrong("ada").into_iter().map(StaffAnswer::Password);
    for answer in answers.chain([StaffAnswer::Returned(returned())]) {
        let refused = login.verify(answer.clone()).await;
        assert!(
            matches!(refused, Err(LoginError::Refused)),
            "{answer:.200?}: {refused:?}"
        );
    }
}

pub async fn an_unknown_member_of_staff_takes_as_long_as_a_wrong_password(
    login: Arc<dyn StaffLogin>,
) {
    // The quickest of several, so that whatever else the machine does counts for little.
    let quickest = async |username: &str| {
        let mut quickest = Duration::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            let answer = StaffAnswer::Password(typed(username, "wrong"));
            assert!(login.verify(answer).await.is_err());
            quickest = quickest.min(begun.elapsed());
        }
        quickest
    };
    let (known, unknown) = (quickest("ada").await, quickest("nobody").await);
    assert!(
        unknown > known / 4 && known > unknown / 4,
        "{known:?}, {unknown:?}"
    );
}

pub async fn staff_stand_as_they_are_registered_and_others_are_gone(login: Arc<dyn StaffLogin>) {
    for member in members() {
        let standing = login.standing(&member.name).await.unwrap();
        let as_registered = matches!(standing, Standing::Has(role, _) if role == member.role);
        assert!(as_registered, "{}: {standing:?}", member.name);
    }
    for name in ["nobody", "", "ADA", "\0"] {
        let standing = login.standing(&StaffName::proven(name)).await.unwrap();
        assert_eq!(standing, Standing::Gone, "{name}");
    }
}

pub async fn a_crowd_of_staff_logs_in(login: Arc<dyn StaffLogin>) {
    let crowd = (0..16).map(|number| {
        let login = login.clone();
        tokio::spawn(async move {
            let member = members()[number % 2].clone();
            let answer = StaffAnswer::Password(right(member.name.as_str()));
            assert_eq!(login.verify(answer).await.unwrap(), member);
        })
    });
    for done in join_all(crowd).await {
        done.unwrap();
    }
}

pub async fn a_patients_answer_to_what_was_not_asked_is_refused(login: Arc<dyn PatientLogin>) {
    let asked = login.prompt(&attempt(), Proof::Any).await.unwrap();
    let mut others = Vec::new();
    if !matches!(asked, PatientPrompt::Pick(_)) {
        others.push(PatientAnswer::Picked(patient().id));
    }
    if !matches!(asked, PatientPrompt::Password) {
        others.push(PatientAnswer::Password(right("grace")));
    }
    if !matches!(asked, PatientPrompt::Elsewhere(_)) {
        others.push(PatientAnswer::Returned(returned()));
    }
    for answer in others {
        let refused = login.verify(answer).await;
        assert!(matches!(refused, Err(LoginError::Refused)), "{refused:?}");
    }
}

pub async fn the_right_password_proves_who_a_patient_is(login: Arc<dyn PatientLogin>) {
    let proven = login.verify(PatientAnswer::Password(right("grace"))).await;
    assert_eq!(proven.unwrap(), PatientId::clone(&patient().id));
}

pub async fn every_wrong_password_of_a_patient_is_refused_alike(login: Arc<dyn PatientLogin>) {
    for typed in wrong("grace") {
        let refused = login.verify(PatientAnswer::Password(typed)).await;
        assert!(matches!(refused, Err(LoginError::Refused)), "{refused:?}");
    }
}
