//! Finding patients.

use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::super::*;
use super::support::*;

fn born(name: &str, birth_date: Option<&str>, limit: usize) -> PatientSearch {
    PatientSearch {
        name: name.to_owned(),
        birth_date: birth_date.map(|date| date.parse().unwrap()),
        limit,
    }
}

#[tokio::test]
async fn a_patient_is_looked_up_by_id() {
    let server = Server::start(|asked| async move {
        match asked.target.as_str() {
            "/fhir/Patient/p" => json_answer(patient("p", "Crane").to_string()),
            "/fhir/Patient/q" => StatusCode::NOT_FOUND.into_response(),
            "/fhir/Patient/r" => StatusCode::GONE.into_response(),
            _ => json_answer(patient("other", "Stranger").to_string()),
        }
    })
    .await;
    let source = server.source().await;
    let found = source.patient(&id("p")).await.unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.name.as_str()), ("p", "Crane"));
    assert_eq!(found.birth_date, "1970-02-03".parse().ok());
    for nobody in ["q", "r"] {
        assert_eq!(source.patient(&id(nobody)).await.unwrap(), None);
    }
    let error = source.patient(&id("s")).await.unwrap_err();
    assert!(matches!(error, SourceError::Broken(_)));
    assert!(!error.to_string().contains("Stranger"));
}

#[tokio::test]
async fn an_answer_that_is_no_patient_is_broken_and_an_endless_one_cut() {
    for body in [
        page(&[patient("p", "Crane")], None),
        "nope".to_owned(),
        String::new(),
        patient("p", &"x".repeat(PATIENT_LIMIT)).to_string(),
    ] {
        let server = Server::start(move |_| {
            let body = body.clone();
            async { json_answer(body) }
        });
        let error = server
            .await
            .source()
            .await
            .patient(&id("p"))
            .await
            .unwrap_err();
        assert!(matches!(error, SourceError::Broken(_)), "{error}");
        assert!(error.to_string().len() < 300);
    }
}

#[tokio::test]
async fn patients_are_searched_by_the_server_and_ordered_here() {
    let server = Server::start(|asked| async move {
        let next = format!("{}/Patient?page=2", asked.base);
        match asked.number {
            0 => json_answer(page(
                &[patient("3", "crane-lee"), patient("2", "Zander")],
                Some(&next),
            )),
            _ => json_answer(page(&[observation(1), patient("1", "Crane")], None)),
        }
    })
    .await;
    let found = server
        .source()
        .await
        .search(&born(" Ada  a,b&$ ", Some("1970-02-03"), 20))
        .await;
    let names: Vec<String> = found
        .unwrap()
        .into_iter()
        .map(|patient| patient.name)
        .collect();
    assert_eq!(names, ["Crane", "crane-lee", "Zander"]);
    assert_eq!(
        server.targets()[0],
        "/Patient?name=Ada&name=a%5C%2Cb%26%5C%24&birthdate=1970-02-03&_count=20"
    );
}

#[tokio::test]
async fn a_search_ends_with_its_limit_and_keeps_to_the_birth_date() {
    let server = Server::start(|asked| async move {
        let next = format!("{}/Patient?page={}", asked.base, asked.number);
        json_answer(page(
            &[patient("1", "Crane"), patient("2", "Crane")],
            Some(&next),
        ))
    })
    .await;
    let source = server.source().await;
    assert_eq!(source.search(&born("", None, 5)).await.unwrap().len(), 5);
    assert_eq!(server.targets().len(), 3);
    assert_eq!(server.targets()[0], "/Patient?_count=5");
    // A server that does not know where to stop.
    let error = source.search(&born("", Some("1970"), 5)).await.unwrap_err();
    assert!(matches!(error, SourceError::Broken(_)), "{error}");
    assert_eq!(server.targets().len(), 3 + MOST_SEARCH_PAGES);
}
