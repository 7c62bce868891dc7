//! What the use cases of patients and apps promise.

mod download;
mod link;
mod removal;
mod status;

use std::time::Duration;

use super::*;
use crate::auth::ClientId;
use crate::export::fixture::*;
use crate::export::{Status, WorkerId};
use crate::ports::{Actor, JobFilter, MockJobStore, MockRecordSource, Origin, Outcome, Page};
use crate::testkit::{self, at, client_id, patient};

fn asked(patient: &PatientId, interaction: Interaction) -> KickoffRequest {
    KickoffRequest {
        patient: patient.clone(),
        request: Url::parse("https://ehi.example/fhir/Patient/p-1/$ehi-export").unwrap(),
        review: Review::Staff,
        interaction,
        choices: None,
    }
}

fn system() -> Access {
    Access {
        subject: Subject::System,
        ..access()
    }
}

/// The patient at the browser, for the audit log.
fn patients_by() -> By {
    By {
        actor: Actor::Patient(patient().id),
        origin: Origin::default(),
    }
}

fn with_client(access: Access, id: &str) -> Access {
    Access {
        client: ClientId::parse(id).unwrap(),
        ..access
    }
}

fn with_patient(patient: PatientId) -> Access {
    Access {
        subject: Subject::Patient(patient),
        ..access()
    }
}

#[tokio::test]
async fn what_comes_along_as_parameters_is_where_the_form_starts_and_what_is_taken_without_one() {
    for interaction in [Interaction::Form, Interaction::None] {
        let service = House::of([]).service();
        let asked = KickoffRequest {
            choices: Some(labs_only()),
            ..asked(&patient().id, interaction)
        };
        let job = service.kick_off(&access(), asked).await.unwrap();
        assert_eq!(*job.choices(), labs_only());
    }
}

#[tokio::test]
async fn a_patient_kicks_off_the_export_of_their_own_record() {
    let house = House::of([]);
    let (shelf, audit) = (house.shelf.clone(), house.recorded.clone());
    let job = house
        .service()
        .kick_off(&access(), asked(&patient().id, Interaction::Form))
        .await
        .unwrap();
    assert_eq!(shelf.job(), job);
    assert_eq!(job.status(), Status::AwaitingInput);
    assert_eq!(job.patient, patient());
    assert_eq!(job.requester, Requester::Patient(client_id()));
    assert_eq!((job.created_at, job.review), (at(20), Review::Staff));
    assert_eq!(
        job.choices(),
        &Choices::form_default(),
        "nothing sensitive is authorised yet"
    );
    let entry = &audit.events()[0];
    assert_eq!(entry.action, Action::KickOff);
    assert_eq!(entry.actor, Actor::Client(client_id()));
    assert_eq!(
        (&entry.patient, entry.job),
        (&Some(patient().id), Some(job.id))
    );
    assert_eq!(audit.events().len(), 1);
}

#[tokio::test]
async fn every_kick_off_makes_a_job_of_its_own() {
    let house = House::of([]);
    let shelf = house.shelf.clone();
    let service = house.service();
    for _ in 0..2 {
        let request = asked(&patient().id, Interaction::None);
        service.kick_off(&access(), request).await.unwrap();
    }
    assert_eq!(shelf.ids().len(), 2);
}

#[tokio::test]
async fn another_patients_token_starts_nothing_and_learns_nothing() {
    let mut house = House::of([]);
    // Neither the source nor the audit log nor the store is asked.
    house.source.expect_patient().never();
    let (shelf, audit) = (house.shelf.clone(), house.recorded.clone());
    let refused = house
        .service()
        .kick_off(
            &with_patient(other_patient()),
            asked(&patient().id, Interaction::None),
        )
        .await;
    assert!(matches!(refused, Err(UseCaseError::Forbidden(_))));
    assert!(shelf.ids().is_empty());
    let tried = audit.events();
    assert_eq!((tried.len(), tried[0].action), (1, Action::KickOff));
    assert_eq!(tried[0].outcome, Outcome::Refused);
    assert_eq!(tried[0].patient.as_ref(), Some(&patient().id));
}

/// Limits of open exports.
fn limits(per_patient: u64, per_client: u64) -> OpenLimits {
    OpenLimits {
        per_patient,
        per_client,
    }
}

/// How a kick-off ends under these limits when these jobs are there.
async fn crowded(
    jobs: impl IntoIterator<Item = ExportJob>,
    open: OpenLimits,
    access: &Access,
) -> Result<ExportJob, UseCaseError> {
    let mut house = House::of(jobs);
    house.open = open;
    let asked = asked(&patient().id, Interaction::None);
    house.service().kick_off(access, asked).await
}

#[tokio::test]
async fn of_one_record_an_app_or_system_has_only_so_many_open_exports_and_nobody_else_is_kept_out()
{
    let open = [awaiting_input(), requested(), retrieved()];
    let open = || (open.iter().cloned().zip(1..)).map(|(job, number)| another(job, number));
    let over = || [approved(), rejected(), failed()].map(|job| another(job, 9));
    let all = || open().chain(over());
    let taken = crowded(all(), limits(4, 99), &access()).await;
    assert!(taken.is_ok(), "{taken:?}");
    let refused = crowded(all(), limits(3, 99), &access()).await;
    let Err(UseCaseError::TooManyOpen { whose, limit }) = refused else {
        panic!("one too many was taken")
    };
    assert_eq!((whose, limit), (Crowd::Patient, 3));
    for asks in [
        with_client(system(), "other-system"),
        with_client(access(), "other-app"),
    ] {
        let taken = crowded(all(), limits(3, 99), &asks).await;
        assert!(taken.is_ok(), "{taken:?}");
    }
}

#[tokio::test]
async fn an_app_or_system_has_only_so_many_open_exports_whoever_they_are_about() {
    let mut theirs = requested();
    theirs.patient.id = other_patient();
    let jobs = || [another(theirs.clone(), 1), another(theirs.clone(), 2)];
    let refused = crowded(jobs(), limits(99, 2), &access()).await;
    assert!(
        matches!(
            refused,
            Err(UseCaseError::TooManyOpen {
                whose: Crowd::Client,
                limit: 2,
                ..
            })
        ),
        "{refused:?}"
    );
    for (open, asks) in [
        (limits(99, 3), access()),
        (limits(99, 2), with_client(access(), "other-app")),
    ] {
        assert!(crowded(jobs(), open, &asks).await.is_ok());
    }
}

#[tokio::test]
async fn a_kick_off_that_is_one_too_many_is_remembered_and_asks_nobody_for_records() {
    let mut house = House::of([requested()]);
    house.open = limits(1, 99);
    house.source.expect_patient().never();
    let (shelf, audit) = (house.shelf.clone(), house.recorded.clone());
    let asked = asked(&patient().id, Interaction::None);
    let refused = house.service().kick_off(&access(), asked).await;
    assert!(matches!(refused, Err(UseCaseError::TooManyOpen { .. })));
    assert_eq!(shelf.ids().len(), 1);
    let tried = audit.events();
    assert_eq!((tried.len(), tried[0].action), (1, Action::KickOff));
    assert_eq!(tried[0].outcome, Outcome::Refused);
    assert_eq!(tried[0].patient.as_ref(), Some(&patient().id));
}

#[tokio::test]
async fn nobody_exports_a_patient_who_is_not_there() {
    for access in [with_patient(other_patient()), system()] {
        let house = House::of([]);
        let shelf = house.shelf.clone();
        let request = asked(&other_patient(), Interaction::None);
        let refused = house.service().kick_off(&access, request).await;
        assert!(matches!(refused, Err(UseCaseError::NotFound)));
        assert!(shelf.ids().is_empty());
    }
}

#[tokio::test]
async fn a_system_gets_the_whole_record_without_a_form() {
    let service = House::of([]).service();
    let request = asked(&patient().id, Interaction::Form);
    let job = service.kick_off(&system(), request).await.unwrap();
    assert_eq!(job.status(), Status::Requested);
    assert_eq!(job.requester, Requester::System(client_id()));
    assert_eq!(job.interaction, Interaction::None);
    assert_eq!(job.choices(), &Choices::whole_record());
}

#[tokio::test]
async fn without_an_audit_entry_there_is_no_kick_off() {
    let house = House::of([]).without_audit();
    let shelf = house.shelf.clone();
    let request = asked(&patient().id, Interaction::None);
    let refused = house.service().kick_off(&access(), request).await;
    assert!(matches!(refused, Err(UseCaseError::Unavailable(_))));
    assert!(shelf.ids().is_empty());
}

#[tokio::test]
async fn a_source_that_is_down_is_told_as_unavailable() {
    let mut house = House::of([]);
    house.source = MockRecordSource::new();
    house
        .source
        .expect_patient()
        .returning(|_| Err(SourceError::unavailable("down")));
    let shelf = house.shelf.clone();
    let request = asked(&patient().id, Interaction::None);
    let refused = house.service().kick_off(&access(), request).await;
    assert!(matches!(refused, Err(UseCaseError::Unavailable(_))));
    assert!(shelf.ids().is_empty());
}

#[tokio::test]
async fn a_patients_job_is_there_for_that_patient_through_that_app_alone() {
    let job = requested();
    let service = House::of([job.clone()]).service();
    assert_eq!(service.job(&access(), job.id).await.unwrap(), job);
    for stranger in [
        with_patient(other_patient()),
        with_client(access(), "other-app"),
        system(),
        with_client(system(), "other-app"),
    ] {
        let seen = service.job(&stranger, job.id).await;
        assert!(matches!(seen, Err(UseCaseError::NotFound)), "{stranger:?}");
    }
    let unknown = service.job(&access(), JobId::from_random([9; 32])).await;
    assert!(matches!(unknown, Err(UseCaseError::NotFound)));
}

#[tokio::test]
async fn a_systems_job_is_there_for_that_system_alone() {
    let mut job = requested();
    job.requester = Requester::System(client_id());
    let service = House::of([job.clone()]).service();
    assert_eq!(service.job(&system(), job.id).await.unwrap(), job);
    for stranger in [access(), with_client(system(), "other-system")] {
        let seen = service.job(&stranger, job.id).await;
        assert!(matches!(seen, Err(UseCaseError::NotFound)), "{stranger:?}");
    }
    let at_browser = service
        .patients_job(&at_browser_as(patient().id), job.id)
        .await;
    assert!(matches!(at_browser, Err(UseCaseError::NotFound)));
}

#[tokio::test]
async fn at_the_browser_patients_see_their_own_jobs_alone() {
    let job = awaiting_input();
    let service = House::of([job.clone()]).service();
    assert_eq!(
        service
            .patients_job(&at_browser_as(patient().id), job.id)
            .await
            .unwrap(),
        job
    );
    let other = service
        .patients_job(&at_browser_as(other_patient()), job.id)
        .await;
    assert!(matches!(other, Err(UseCaseError::NotFound)));
}

#[tokio::test]
async fn a_form_is_filled_in_once() {
    let house = House::of([awaiting_input()]);
    let (shelf, audit) = (house.shelf.clone(), house.recorded.clone());
    let service = house.service();
    let by = patients_by();
    let job = shelf.job();
    let started = service
        .customise(&job, by.clone(), labs_only())
        .await
        .unwrap();
    assert_eq!(started, shelf.job());
    assert_eq!(
        (started.status(), started.choices()),
        (Status::Requested, &labs_only())
    );
    assert!(started.is_claimable(at(20)));

    let again = service
        .customise(&job, by.clone(), Choices::whole_record())
        .await;
    let Err(UseCaseError::NotApplicable(error)) = again else {
        panic!("{again:?}")
    };
    assert_eq!(error, NotApplicable(Status::Requested));
    assert_eq!(shelf.job(), started, "the first choices stand");
    assert_eq!(audit.actions(), [Action::Customise]);
    assert_eq!(audit.events()[0].actor, by.actor);
}

#[tokio::test]
async fn without_an_audit_entry_nothing_is_customised() {
    let house = House::of([awaiting_input()]).without_audit();
    let shelf = house.shelf.clone();
    let refused = house
        .service()
        .customise(&awaiting_input(), patients_by(), labs_only())
        .await;
    assert!(matches!(refused, Err(UseCaseError::Unavailable(_))));
    assert_eq!(shelf.job(), awaiting_input());
}

#[tokio::test]
async fn a_change_that_was_overtaken_is_made_again_from_the_newest_version() {
    let mut house = House::of([retrieved()]);
    let (shelf, audit) = (house.shelf.clone(), house.recorded.clone());
    // Somebody attaches a file between our look and our write.
    let overtaken = shelf.clone();
    house.jobs.expect_update().times(1).returning(move |_| {
        overtaken.overtake(|job| job.attach(vec![attachment("late.png", 1)]).unwrap());
        Err(StoreError::Conflict)
    });
    let job = house
        .service()
        .approve(&grace(), retrieved().id)
        .await
        .unwrap();
    assert_eq!(job, shelf.job());
    assert_eq!(
        (job.status(), job.attachments().len()),
        (Status::Approved, 1)
    );
    assert_eq!(
        job.version(),
        retrieved().version() + 2,
        "neither change is lost"
    );
    assert_eq!(audit.actions(), [Action::Approve], "one action, one entry");
}

#[tokio::test]
async fn a_change_that_no_longer_applies_is_refused() {
    let mut house = House::of([retrieved()]);
    let shelf = house.shelf.clone();
    let overtaken = shelf.clone();
    house.jobs.expect_update().times(1).returning(move |_| {
        overtaken.overtake(|job| job.reject(None, at(16)).unwrap());
        Err(StoreError::Conflict)
    });
    let late = house.service().approve(&grace(), retrieved().id).await;
    let applicable = NotApplicable(Status::Rejected);
    assert!(matches!(late, Err(UseCaseError::NotApplicable(status)) if status == applicable));
    assert_eq!(shelf.job().status(), Status::Rejected);
}

#[tokio::test]
async fn a_store_that_is_down_is_told_as_unavailable_by_every_use_case() {
    let mut house = House::of([]);
    house.jobs = MockJobStore::new();
    let down = || StoreError::unavailable("connection refused");
    house.jobs.expect_get().returning(move |_| Err(down()));
    house.jobs.expect_list().returning(move |_, _| Err(down()));
    house.jobs.expect_insert().returning(move |_| Err(down()));
    (house.jobs.expect_open_jobs()).returning(move |_, _| Err(down()));
    (house.jobs.expect_overdue()).returning(move |_, _, _| Err(down()));
    let service = house.service();
    let (id, staff) = (requested().id, grace());
    let by = access().by();
    let request = asked(&patient().id, Interaction::None);
    let open = awaiting_input();
    let customised = service.customise(&open, by, labs_only());
    for error in [
        service.kick_off(&access(), request).await.unwrap_err(),
        service.job(&access(), id).await.unwrap_err(),
        service
            .patients_job(&at_browser_as(patient().id), id)
            .await
            .unwrap_err(),
        customised.await.unwrap_err(),
        service.file(&access(), id, "x").await.unwrap_err(),
        service.attachment(&access(), id, "x").await.unwrap_err(),
        service.delete(&access(), id).await.unwrap_err(),
        service.sweep().await.unwrap_err(),
        service.staff_job(id).await.unwrap_err(),
        service.approve(&staff, id).await.unwrap_err(),
        service.reject(&staff, id, None).await.unwrap_err(),
        service.begin_upload(id).await.unwrap_err(),
        service.remove(&staff, id).await.unwrap_err(),
        (service
            .jobs(&grace(), &JobFilter::default(), Page::default())
            .await)
            .unwrap_err(),
    ] {
        assert!(matches!(error, UseCaseError::Unavailable(_)), "{error:?}");
        assert!(
            !error.to_string().contains("connection"),
            "the cause is for the log"
        );
    }
}

#[tokio::test]
async fn the_app_of_a_job_is_looked_up_and_may_be_gone() {
    let service = House::of([]).service();
    let found = service.client_of(&requested()).await.unwrap().unwrap();
    assert_eq!(found.id, client_id());
    let mut orphan = requested();
    orphan.requester = Requester::Patient(ClientId::parse("gone").unwrap());
    assert_eq!(service.client_of(&orphan).await.unwrap(), None);
}
