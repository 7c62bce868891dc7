//! Vital signs, laboratory values and social history: `Observation`, and the `DiagnosticReport`
//! that lists laboratory values.

use jiff::ToSpan as _;
use jiff::civil::DateTime;
use serde_json::{Value, json};

use super::chart::{Chart, Link, fields, narrative, stamp};
use super::codes::{Code, hl7, loinc, number, quantity, section};
use super::encounters::Visit;
use super::measures::{Measure, Outcome, Panel, SMOKING};

const LABORATORY: &str = "laboratory";
const VITAL_SIGNS: &str = "vital-signs";
const SOCIAL_HISTORY: &str = "social-history";
const SURVEY: &str = "survey";

/// Percent of the grown-up height reached at an age, and the body mass index in tenths; between
/// two rows a child grows evenly.
const GROWTH: [(i64, i64, i64); 10] = [
    (0, 29, 135),
    (6, 39, 170),
    (12, 44, 168),
    (24, 50, 163),
    (48, 60, 155),
    (84, 70, 158),
    (120, 80, 168),
    (156, 89, 188),
    (192, 98, 210),
    (216, 100, 220),
];

/// Height in millimetres and body mass index in tenths at an age in months.
fn growth(chart: &Chart, months: i64) -> (i64, i64) {
    let (height, body_mass) = (chart.person.height, chart.person.body_mass);
    for pair in GROWTH.windows(2) {
        let [(from, from_percent, from_mass), (to, to_percent, to_mass)] = *pair else {
            continue;
        };
        if months < to {
            let between =
                |start: i64, end: i64| start + (end - start) * (months - from) / (to - from);
            let per_thousand = between(from_percent * 10, to_percent * 10);
            return (height * per_thousand / 1000, between(from_mass, to_mass));
        }
    }
    (height, body_mass)
}

pub(super) fn height_and_weight(chart: &mut Chart, visit: &Visit) {
    let months = chart.person.age_in_months(visit.start);
    let (height, usual_mass) = growth(chart, months);
    let body_mass = usual_mass + chart.dice.between(-6, 6);
    let weight = body_mass * height * height / 1_000_000;
    vital(
        chart,
        visit,
        loinc("8302-2", "Body height"),
        height,
        1,
        "cm",
    );
    vital(
        chart,
        visit,
        loinc("29463-7", "Body weight"),
        weight,
        1,
        "kg",
    );
    if months < 36 {
        let head = 340 + months * 4 + chart.dice.between(-8, 8);
        vital(
            chart,
            visit,
            loinc("9843-4", "Head Occipital-frontal circumference"),
            head,
            1,
            "cm",
        );
    } else {
        vital(
            chart,
            visit,
            loinc("39156-5", "Body mass index (BMI) [Ratio]"),
            body_mass,
            1,
            "kg/m2",
        );
    }
}

/// All the vital signs of a visit.
pub(super) fn vital_signs(chart: &mut Chart, visit: &Visit) {
    height_and_weight(chart, visit);
    let small = chart.person.age_in_months(visit.start) < 72;
    let beats = if small {
        chart.dice.between(90, 140)
    } else {
        chart.dice.between(58, 96)
    };
    vital(
        chart,
        visit,
        loinc("8867-4", "Heart rate"),
        beats,
        0,
        "/min",
    );
    let breaths = if small {
        chart.dice.between(20, 34)
    } else {
        chart.dice.between(12, 18)
    };
    vital(
        chart,
        visit,
        loinc("9279-1", "Respiratory rate"),
        breaths,
        0,
        "/min",
    );
    let temperature = chart.dice.between(364, 374);
    vital(
        chart,
        visit,
        loinc("8310-5", "Body temperature"),
        temperature,
        1,
        "Cel",
    );
    if !small {
        blood_pressure(chart, visit);
    }
}

fn vital(chart: &mut Chart, visit: &Visit, code: Code, value: i64, decimals: u32, unit: &str) {
    let value = json!({ "valueQuantity": quantity(value, decimals, unit) });
    observe(chart, visit, VITAL_SIGNS, code, value);
}

pub(super) fn blood_pressure(chart: &mut Chart, visit: &Visit) {
    let systolic = loinc("8480-6", "Systolic blood pressure");
    let diastolic = loinc("8462-4", "Diastolic blood pressure");
    let raise = if chart.raised.contains(&systolic.value) {
        25
    } else {
        0
    };
    let pressures = [
        (systolic, chart.dice.between(100, 129) + raise),
        (diastolic, chart.dice.between(62, 82) + raise / 2),
    ];
    let components = pressures.map(|(code, value)| {
        json!({ "code": code.concept(), "valueQuantity": quantity(value, 0, "mm[Hg]") })
    });
    let code = loinc("85354-9", "Blood pressure panel with all children optional");
    observe(
        chart,
        visit,
        VITAL_SIGNS,
        code,
        json!({ "component": components }),
    );
}

pub(super) fn smoking_status(chart: &mut Chart, visit: &Visit) {
    social(chart, visit, &SMOKING);
}

pub(super) fn social(chart: &mut Chart, visit: &Visit, measure: &Measure) {
    ask(chart, visit, SOCIAL_HISTORY, measure);
}

pub(super) fn survey(chart: &mut Chart, visit: &Visit, measure: &Measure) {
    ask(chart, visit, SURVEY, measure);
}

fn ask(chart: &mut Chart, visit: &Visit, category: &str, measure: &Measure) {
    let value = result(chart, measure);
    observe(chart, visit, category, measure.code, value);
}

/// Draws blood, as it were: an Observation for each value and the report that lists them.
pub(super) fn laboratory(chart: &mut Chart, visit: &mut Visit, panel: &Panel) {
    let results: Vec<Value> = panel
        .measures
        .iter()
        .map(|measure| laboratory_value(chart, visit, measure).json())
        .collect();
    let body = json!({
        "text": narrative(&format!("{}, taken on {}.", panel.code.display, visit.start.date())),
        "status": "final",
        "category": [section("LAB", "Laboratory").concept()],
        "code": panel.code.concept(),
        "subject": chart.patient.json(),
        "encounter": visit.encounter.json(),
        "effectiveDateTime": stamp(visit.start),
        "issued": stamp(issued(chart, visit.start)),
        "performer": [chart.team.hospital.organization.json()],
        "resultsInterpreter": [chart.team.pathologist.json()],
        "result": results,
    });
    chart.add("DiagnosticReport", visit.security, body);
    visit.services.push((panel.code, 2_400));
}

fn laboratory_value(chart: &mut Chart, visit: &Visit, measure: &Measure) -> Link {
    let value = result(chart, measure);
    observe(chart, visit, LABORATORY, measure.code, value).named(measure.code.display)
}

/// A value as it comes out of the laboratory or the questionnaire, mostly within what is usual.
fn result(chart: &mut Chart, measure: &Measure) -> Value {
    match measure.result {
        Outcome::Finding(findings) => coded(chart, findings),
        Outcome::Abnormal {
            unit,
            low,
            high,
            decimals,
        } => json!({
            "valueQuantity": quantity(chart.dice.between(low, high), decimals, unit),
            "interpretation": [hl7("v3-ObservationInterpretation", "A")],
        }),
        Outcome::Number {
            unit,
            low,
            high,
            decimals,
        } => {
            let spread = (high - low).max(4);
            let raised = chart.raised.contains(&measure.code.value);
            let (value, flag) = match chart.dice.between(0, 99) {
                _ if raised => (high + chart.dice.between(1, spread), "H"),
                0..4 => (high + chart.dice.between(1, spread / 2), "H"),
                4..8 => ((low - chart.dice.between(1, spread / 4)).max(0), "L"),
                _ => (chart.dice.between(low, high), "N"),
            };
            json!({
                "valueQuantity": quantity(value, decimals, unit),
                "interpretation": [hl7("v3-ObservationInterpretation", flag)],
                "referenceRange": [{
                    "low": { "value": number(low, decimals), "unit": unit },
                    "high": { "value": number(high, decimals), "unit": unit },
                }],
            })
        }
    }
}

fn coded(chart: &mut Chart, findings: &[Code]) -> Value {
    let value = findings
        .get(chart.dice.index(findings.len()))
        .map(Code::concept);
    json!({ "valueCodeableConcept": value })
}

/// Results come back within two days, unless the record ends first.
fn issued(chart: &mut Chart, taken: DateTime) -> DateTime {
    let hours = chart.dice.between(2, 48);
    chart.no_later(taken.saturating_add(hours.hours()))
}

fn observe(chart: &mut Chart, visit: &Visit, category: &str, code: Code, value: Value) -> Link {
    let system = "http://terminology.hl7.org/CodeSystem/observation-category";
    let mut body = fields([
        ("status", json!("final")),
        (
            "category",
            json!([{ "coding": [{ "system": system, "code": category, "display": category }] }]),
        ),
        ("code", code.concept()),
        ("subject", chart.patient.json()),
        ("encounter", visit.encounter.json()),
        ("effectiveDateTime", json!(stamp(visit.start))),
        ("issued", json!(stamp(visit.start))),
    ]);
    if let Value::Object(value) = value {
        body.extend(value);
    }
    chart.add("Observation", visit.security, Value::Object(body))
}
