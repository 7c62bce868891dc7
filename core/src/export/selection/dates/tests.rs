use serde_json::{Value, json};

use super::*;
use crate::testkit::record;

fn period(resource: &str, dates: &Value) -> Option<(String, String)> {
    let mut value = json!({"resourceType": resource});
    for (name, date) in dates.as_object().unwrap() {
        value[name] = date.clone();
    }
    let show = |at: Option<jiff::Timestamp>| {
        at.map_or("open".to_owned(), |at| at.to_string()[..10].to_owned())
    };
    period_of(&record(&value)).map(|period| (show(period.start), show(period.end)))
}

#[track_caller]
fn told(resource: &str, dates: &Value, start: &str, end: &str) {
    let expected = Some((start.to_owned(), end.to_owned()));
    assert_eq!(period(resource, dates), expected, "{resource} {dates}");
}

#[test]
fn every_element_of_the_table_tells_a_day() {
    let day = "2019-05-03";
    for row in ROWS {
        for &element in row.elements {
            let value = if element.to_ascii_lowercase().ends_with("period")
                || element == "planningHorizon"
                || element == "applies"
            {
                json!({"start": day, "end": day})
            } else if element.ends_with("Timing") {
                json!({"event": [day]})
            } else {
                json!(day)
            };
            let dates = if row.inside.is_empty() {
                json!({element: value})
            } else {
                json!({row.inside: {element: value}})
            };
            let end = if row.lasts && !element.starts_with("abatement") {
                "open"
            } else {
                day
            };
            told("Basic", &dates, day, end);
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_time_of_the_matter_is_what_each_type_calls_it() {
    let span = |start: &str, end: &str| json!({"start": start, "end": end});
    for (resource, dates, start, end) in [
        (
            "Observation",
            json!({"effectiveDateTime": "2019", "issued": "2021-01-01T00:00:00Z"}),
            "2019-01-01",
            "2019-12-31",
        ),
        (
            "Observation",
            json!({"effectivePeriod": span("2019-01-02", "2019-01-05")}),
            "2019-01-02",
            "2019-01-05",
        ),
        (
            "Observation",
            json!({"effectiveInstant": "2019-01-02T03:04:05Z"}),
            "2019-01-02",
            "2019-01-02",
        ),
        (
            "Observation",
            json!({"effectiveTiming": {"event": ["2019-03-01", "2019-01-02"]}}),
            "2019-01-02",
            "2019-03-01",
        ),
        (
            "Observation",
            json!({"effectiveTiming": {"repeat": {"boundsPeriod": span("2019-01-02", "2019-02-03")}}}),
            "2019-01-02",
            "2019-02-03",
        ),
        (
            "Procedure",
            json!({"performedString": "long ago", "performedPeriod": {"start": "2019-04-01"}}),
            "2019-04-01",
            "open",
        ),
        (
            "Condition",
            json!({"onsetDateTime": "2018-01-01", "abatementDateTime": "2019-05-06", "recordedDate": "2020-01-01"}),
            "2018-01-01",
            "2019-05-06",
        ),
        (
            "Condition",
            json!({"onsetDateTime": "2018-01-01"}),
            "2018-01-01",
            "open",
        ),
        (
            "Condition",
            json!({"onsetAge": {"value": 7}, "recordedDate": "2020-01-01"}),
            "2020-01-01",
            "2020-01-01",
        ),
        (
            "Immunization",
            json!({"occurrenceString": "as a child", "recorded": "2020-01-01"}),
            "2020-01-01",
            "2020-01-01",
        ),
        (
            "ServiceRequest",
            json!({"occurrenceTiming": {"event": ["2019-01-02"]}, "authoredOn": "2018"}),
            "2019-01-02",
            "2019-01-02",
        ),
        (
            "MedicationRequest",
            json!({"authoredOn": "2019-05-03T10:00:00-05:00"}),
            "2019-05-03",
            "2019-05-03",
        ),
        (
            "MedicationDispense",
            json!({"whenPrepared": "2019-01-01", "whenHandedOver": "2019-01-02"}),
            "2019-01-02",
            "2019-01-02",
        ),
        (
            "Specimen",
            json!({"receivedTime": "2019-01-09", "collection": {"collectedDateTime": "2019-01-02"}}),
            "2019-01-02",
            "2019-01-02",
        ),
        (
            "Specimen",
            json!({"receivedTime": "2019-01-09", "collection": {"method": {}}}),
            "2019-01-09",
            "2019-01-09",
        ),
        (
            "Claim",
            json!({"billablePeriod": span("2019-01-02", "2019-01-03"), "created": "2020-01-01"}),
            "2019-01-02",
            "2019-01-03",
        ),
        (
            "Claim",
            json!({"created": "2020-01-01", "item": [{"servicedDate": "2019-02-01"}, {"servicedPeriod": span("2019-01-02", "2019-01-03")}]}),
            "2019-01-02",
            "2019-02-01",
        ),
        (
            "Claim",
            json!({"created": "2020-01-01", "item": [{"sequence": 1}]}),
            "2020-01-01",
            "2020-01-01",
        ),
        (
            "CoverageEligibilityRequest",
            json!({"servicedDate": "2019-01-02", "created": "2020-01-01"}),
            "2019-01-02",
            "2019-01-02",
        ),
        (
            "Appointment",
            json!({"start": "2019-01-02T10:00:00Z", "end": "2019-01-02T11:00:00Z", "created": "2018-01-01"}),
            "2019-01-02",
            "2019-01-02",
        ),
        (
            "Appointment",
            json!({"requestedPeriod": [span("2019-03-01", "2019-03-02"), span("2019-01-02", "2019-01-03")]}),
            "2019-01-02",
            "2019-03-02",
        ),
        (
            "DocumentReference",
            json!({"date": "2020-01-01T00:00:00Z", "context": {"period": span("2019-01-02", "2019-01-03")}}),
            "2019-01-02",
            "2019-01-03",
        ),
        (
            "Composition",
            json!({"date": "2020-01-01", "event": [{"period": {"end": "2019-01-03"}}]}),
            "open",
            "2019-01-03",
        ),
        (
            "DeviceUseStatement",
            json!({"timingPeriod": span("2019-01-02", "2019-01-03"), "recordedOn": "2020"}),
            "2019-01-02",
            "2019-01-03",
        ),
        (
            "Goal",
            json!({"startDate": "2019-01-02", "statusDate": "2020-01-01"}),
            "2019-01-02",
            "open",
        ),
        (
            "ImagingStudy",
            json!({"started": "2019-01-02T00:00:00Z"}),
            "2019-01-02",
            "2019-01-02",
        ),
        (
            "Provenance",
            json!({"occurredPeriod": span("2019-01-02", "2019-01-03"), "recorded": "2020-01-01T00:00:00Z"}),
            "2019-01-02",
            "2019-01-03",
        ),
    ] {
        told(resource, &dates, start, end);
    }
}

#[test]
fn an_open_end_stays_open_and_a_wrong_order_is_put_right() {
    let open = json!([{"period": {"end": "2018"}}, {"period": {"start": "2019", "end": "2020"}}]);
    told("Composition", &json!({"event": open}), "open", "2020-12-31");
    let open = json!([{"period": {"start": "2018"}}, {"period": {"start": "2019", "end": "2020"}}]);
    told("Composition", &json!({"event": open}), "2018-01-01", "open");
    let backwards = json!({"period": {"start": "2060", "end": "1900"}});
    told("Encounter", &backwards, "1900-01-01", "2060-12-31");
    let within = json!({"period": {"start": "2019-05-03", "end": "2019"}});
    told("Encounter", &within, "2019-05-03", "2019-12-31");
}

#[test]
fn what_cannot_be_read_is_no_date() {
    for dates in [
        json!({}),
        json!({"period": {}}),
        json!({"period": "soon"}),
        json!({"period": 7}),
        json!({"period": {"start": "soon", "end": ["later"]}}),
        json!({"effectiveTiming": {"code": {"text": "daily"}}}),
        json!({"effectiveTiming": {"event": ["soon"]}}),
        json!({"item": "x", "collection": [], "context": {"period": null}}),
    ] {
        assert_eq!(period("Basic", &dates), None, "{dates}");
    }
    // The next best is asked, and one end is better than none.
    told(
        "Basic",
        &json!({"period": "soon", "date": "2019-01-02"}),
        "2019-01-02",
        "2019-01-02",
    );
    told(
        "Basic",
        &json!({"period": {"start": "soon", "end": "2019-01-02"}}),
        "open",
        "2019-01-02",
    );
    told(
        "Basic",
        &json!({"effectiveTiming": {"event": ["soon", "2019-01-02"]}}),
        "2019-01-02",
        "2019-01-02",
    );
}
