//! What was found to be wrong: `Condition` and `AllergyIntolerance`.

use jiff::civil::DateTime;
use serde_json::json;

use super::chart::{Chart, Link, narrative, stamp};
use super::codes::{Code, concept, hl7, rxnorm, snomed};
use super::encounters::Visit;

/// Records a diagnosis made at a visit, over at `abated` if the record reaches that far.
pub(super) fn diagnose(
    chart: &mut Chart,
    visit: &mut Visit,
    codes: &[Code],
    abated: Option<DateTime>,
) -> Link {
    let abated = abated.filter(|abated| *abated <= chart.person.last);
    let lasting = abated.is_none();
    let body = json!({
        "text": codes.first().map(|code| narrative(&format!("{}, since {}.", code.display, visit.start.date()))),
        "clinicalStatus": hl7("condition-clinical", if lasting { "active" } else { "resolved" }),
        "verificationStatus": hl7("condition-ver-status", "confirmed"),
        "category": [hl7("condition-category", if lasting { "problem-list-item" } else { "encounter-diagnosis" })],
        "code": concept(codes),
        "subject": chart.patient.json(),
        "encounter": visit.encounter.json(),
        "onsetDateTime": stamp(visit.start),
        "abatementDateTime": abated.map(stamp),
        "recordedDate": stamp(visit.start),
        "recorder": visit.doctor.json(),
    });
    let condition = chart.add("Condition", visit.security, body);
    visit.diagnoses.push(condition.clone());
    condition
}

/// What one may be allergic to: the substance, its category, and what happens.
const ALLERGENS: [(Code, &str, Code); 7] = [
    (rxnorm("7980", "Penicillin G"), "medication", HIVES),
    (
        rxnorm("10831", "Sulfamethoxazole / Trimethoprim"),
        "medication",
        HIVES,
    ),
    (
        snomed("762952008", "Peanut (substance)"),
        "food",
        ANAPHYLAXIS,
    ),
    (
        snomed("102263004", "Eggs (edible) (substance)"),
        "food",
        HIVES,
    ),
    (
        snomed("735029006", "Shellfish (substance)"),
        "food",
        ANAPHYLAXIS,
    ),
    (
        snomed("256277009", "Grass pollen (substance)"),
        "environment",
        RHINITIS,
    ),
    (
        snomed("260147004", "House dust mite (organism)"),
        "environment",
        RHINITIS,
    ),
];

const HIVES: Code = snomed("247472004", "Wheal (finding)");
const ANAPHYLAXIS: Code = snomed("39579001", "Anaphylaxis (disorder)");
const RHINITIS: Code = snomed("70076002", "Rhinitis (disorder)");

pub(super) fn allergies(chart: &mut Chart, visit: &Visit) {
    let first = chart.dice.index(ALLERGENS.len());
    let count = usize::from(chart.dice.chance(30)) + 1;
    for (substance, category, reaction) in ALLERGENS.iter().cycle().skip(first).take(count) {
        let severe = *reaction == ANAPHYLAXIS;
        let body = json!({
            "clinicalStatus": hl7("allergyintolerance-clinical", "active"),
            "verificationStatus": hl7("allergyintolerance-verification", "confirmed"),
            "type": "allergy",
            "category": [category],
            "criticality": if severe { "high" } else { "low" },
            "code": substance.concept(),
            "patient": chart.patient.json(),
            "encounter": visit.encounter.json(),
            "recordedDate": stamp(visit.start),
            "recorder": visit.doctor.json(),
            "reaction": [{
                "manifestation": [reaction.concept()],
                "severity": if severe { "severe" } else { "mild" },
            }],
        });
        chart.add("AllergyIntolerance", visit.security, body);
    }
}
