//! What an app is told of a finished export.

use super::*;
use crate::export::fixture::*;
use crate::fhir::{DocumentType, PartialDate, Period};
use crate::testkit::{self, at};

fn job_url(job: &ExportJob, rest: &str) -> String {
    format!("https://ehi.example/jobs/{}/{rest}", job.id)
}

fn lines(job: &ExportJob, announcement: Announcement) -> Vec<Value> {
    let urls: Vec<String> = (job.attachments().iter())
        .map(|attachment| links().attachment(job.id, &attachment.title))
        .collect();
    let text = announce(job, &links().documentation(), &urls, announcement);
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_manifest_names_every_file_where_it_belongs() {
    let job = approved();
    let manifest = serde_json::to_value(Manifest::of(&job, &links()).unwrap()).unwrap();
    assert_eq!(
        manifest,
        json!({
            "transactionTime": "2024-01-01T00:00:00Z",
            "request": "http://127.0.0.1/fhir/Patient/p-1/$ehi-export",
            "requiresAccessToken": true,
            "output": [
                {"type": "Patient", "url": job_url(&job, "download/Patient.ndjson"), "count": 1},
            ],
            "error": [{
                "type": "OperationOutcome",
                "url": job_url(&job, "download/errors.OperationOutcome.ndjson"),
                "count": 2,
            }],
            "extension": {"ehiDocumentationUrl": "https://ehi.example/documentation"},
        })
    );
}

#[test]
fn attachments_are_announced_in_the_manifest_and_counted() {
    let job = approved_with(&["a.png", "b.png"]);
    let manifest = Manifest::of(&job, &links()).unwrap();
    let announced = ManifestEntry {
        resource_type: "DocumentReference",
        url: job_url(&job, "download/attachments.DocumentReference.ndjson"),
        count: 2,
    };
    assert_eq!(manifest.output.len(), 2);
    assert_eq!(manifest.output[1], announced);
}

#[test]
fn there_is_no_manifest_before_there_is_an_export() {
    for job in [
        awaiting_input(),
        requested(),
        claimed(),
        rejected(),
        failed(),
    ] {
        assert_eq!(Manifest::of(&job, &links()), None, "{:?}", job.status());
    }
}

#[test]
fn each_attachment_is_one_document_reference() {
    let job = approved_with(&["a.png", "b.png"]);
    let announced = lines(&job, Announcement::Each);
    assert_eq!(announced.len(), 2);
    for (resource, attachment) in announced.iter().zip(job.attachments()) {
        assert_eq!(resource["resourceType"], "DocumentReference");
        assert_eq!(resource["id"], attachment.key.to_string());
        assert_eq!(resource["status"], "current");
        assert_eq!(resource["subject"]["reference"], "Patient/p-1");
        assert_eq!(resource["description"], attachment.description);
        let tag =
            json!({"code": "ehi-export", "display": "generated as part of an ehi-export request"});
        assert_eq!(resource["meta"]["tag"], json!([tag]));
        let content = resource["content"].as_array().unwrap();
        assert_eq!(content.len(), 1);
        let url = job_url(&job, &format!("download/attachments/{}", attachment.title));
        let told = json!({
            "url": url,
            "contentType": "image/png",
            "size": 4,
            "title": attachment.title.as_str(),
            "hash": attachment.hash,
            "creation": "2024-01-01T00:00:09Z",
        });
        assert_eq!(content[0]["attachment"], told);
        assert_eq!(
            content[0]["format"]["system"],
            "https://ehi.example/documentation"
        );
    }
}

#[test]
fn type_and_time_of_a_document_are_announced_where_they_are_known() {
    let period = |text: &str| text.parse::<PartialDate>().unwrap().period();
    let mut job = claimed();
    let summary = Attachment {
        document_type: DocumentType::new("http://loinc.org", "18842-5", "Discharge summary").ok(),
        period: Some(period("2019-05-06")),
        ..attachment("a.pdf", 1)
    };
    let since = Attachment {
        period: Some(Period {
            end: None,
            ..period("2020")
        }),
        ..attachment("b.pdf", 2)
    };
    let plain = attachment("c.pdf", 3);
    job.retrieved(testkit::export(1), vec![summary, since, plain], at(10))
        .unwrap();
    let announced = lines(&job, Announcement::Each);
    let coding = json!(
        {"system": "http://loinc.org", "code": "18842-5", "display": "Discharge summary"}
    );
    assert_eq!(
        announced[0]["type"],
        json!({"coding": [coding], "text": "Discharge summary"})
    );
    assert_eq!(
        announced[0]["context"],
        json!({"period":
            {"start": "2019-05-06T00:00:00Z", "end": "2019-05-06T23:59:59.999999999Z"}})
    );
    assert_eq!(
        announced[1]["context"],
        json!({"period": {"start": "2020-01-01T00:00:00Z"}})
    );
    for resource in &announced {
        assert_eq!(resource["date"], "2024-01-01T00:00:09Z");
    }
    let bare = announced[2].as_object().unwrap();
    assert!(!bare.contains_key("type") && !bare.contains_key("context"));
    // Of a group only what is true of all of it.
    let group = &lines(&job, Announcement::Grouped)[0];
    assert!(group["type"].is_null() && group["context"].is_null());
    assert_eq!(group["date"], "2024-01-01T00:00:09Z");
}

#[test]
fn grouped_attachments_are_the_contents_of_one_document_reference() {
    let job = approved_with(&["a.png", "b.png"]);
    let announced = lines(&job, Announcement::Grouped);
    assert_eq!(announced.len(), 1);
    let titles: Vec<_> = (announced[0]["content"].as_array().unwrap().iter())
        .map(|content| content["attachment"]["title"].as_str().unwrap())
        .collect();
    assert_eq!(titles, ["a.png", "b.png"]);
}

#[test]
fn a_client_gets_groups_only_where_it_asked_for_them() {
    assert_eq!(Announcement::to(&[]), Announcement::Each);
    assert_eq!(
        Announcement::to(&[Quirk::BareLinkHeader]),
        Announcement::Each
    );
    assert_eq!(
        Announcement::to(&[Quirk::GroupedAttachments]),
        Announcement::Grouped
    );
}

#[test]
fn a_title_never_changes_the_meaning_of_its_address() {
    for (title, encoded) in [
        ("a b.png", "a%20b.png"),
        ("50%.pdf", "50%25.pdf"),
        ("a?b#c.txt", "a%3Fb%23c.txt"),
        ("a;b=\"c\".txt", "a%3Bb%3D%22c%22.txt"),
        ("Röntgen.png", "R%C3%B6ntgen.png"),
        ("..%2f..", "..%252f.."),
    ] {
        let job = approved_with(&[title]);
        let announced = &lines(&job, Announcement::Each)[0];
        let told = &announced["content"][0]["attachment"];
        assert_eq!(
            told["url"],
            job_url(&job, &format!("download/attachments/{encoded}"))
        );
        assert_eq!(told["title"], title, "the name itself is kept");
        let url = url::Url::parse(told["url"].as_str().unwrap()).unwrap();
        assert_eq!(url.path_segments().unwrap().count(), 5, "{title}");
        assert!(url.query().is_none() && url.fragment().is_none(), "{title}");
    }
}
