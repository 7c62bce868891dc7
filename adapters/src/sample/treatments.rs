//! What is done about it: `Procedure`, `MedicationRequest` and `CarePlan`.

use jiff::ToSpan as _;
use jiff::civil::DateTime;
use serde_json::json;

use super::billing;
use super::chart::{Chart, Link, narrative, stamp};
use super::codes::{Code, rxnorm};
use super::encounters::Visit;

/// A medication and how it is taken.
#[derive(Debug)]
pub(super) struct Drug {
    pub(super) code: Code,
    per_day: i64,
    /// How long one prescription lasts.
    days: i64,
    as_needed: bool,
    /// Price in cents.
    pub(super) price: i64,
}

const fn drug(code: &'static str, name: &'static str, per_day: i64, days: i64, price: i64) -> Drug {
    Drug {
        code: rxnorm(code, name),
        per_day,
        days,
        as_needed: false,
        price,
    }
}

const fn as_needed(
    code: &'static str,
    name: &'static str,
    per_day: i64,
    days: i64,
    price: i64,
) -> Drug {
    Drug {
        as_needed: true,
        ..drug(code, name, per_day, days, price)
    }
}

pub(super) static ACETAMINOPHEN: Drug =
    as_needed("313782", "Acetaminophen 325 MG Oral Tablet", 4, 7, 548);
pub(super) static IBUPROFEN: Drug = as_needed("310965", "Ibuprofen 200 MG Oral Tablet", 3, 10, 650);
pub(super) static AMOXICILLIN: Drug =
    drug("308192", "Amoxicillin 500 MG Oral Tablet", 3, 10, 1_290);
pub(super) static AMOXICILLIN_CLAVULANATE: Drug = drug(
    "562251",
    "Amoxicillin 250 MG / Clavulanate 125 MG Oral Tablet",
    2,
    10,
    2_130,
);
pub(super) static PENICILLIN: Drug = drug(
    "834061",
    "Penicillin V Potassium 250 MG Oral Tablet",
    4,
    10,
    980,
);
pub(super) static COTRIMOXAZOLE: Drug = drug(
    "198335",
    "Sulfamethoxazole 800 MG / Trimethoprim 160 MG Oral Tablet",
    2,
    5,
    870,
);
pub(super) static HYDROCORTISONE: Drug = drug(
    "106258",
    "Hydrocortisone 10 MG/ML Topical Cream",
    2,
    14,
    730,
);
pub(super) static OXYCODONE: Drug = as_needed(
    "1049221",
    "Acetaminophen 325 MG / Oxycodone Hydrochloride 5 MG Oral Tablet",
    3,
    5,
    1_640,
);
pub(super) static LISINOPRIL: Drug = drug("314076", "lisinopril 10 MG Oral Tablet", 1, 90, 1_120);
pub(super) static HYDROCHLOROTHIAZIDE: Drug = drug(
    "310798",
    "Hydrochlorothiazide 25 MG Oral Tablet",
    1,
    90,
    990,
);
pub(super) static METFORMIN: Drug = drug(
    "860975",
    "24 HR Metformin hydrochloride 500 MG Extended Release Oral Tablet",
    2,
    90,
    1_530,
);
pub(super) static SIMVASTATIN: Drug = drug("314231", "Simvastatin 10 MG Oral Tablet", 1, 90, 1_380);
pub(super) static ALBUTEROL: Drug = as_needed(
    "745679",
    "200 ACTUAT Albuterol 0.09 MG/ACTUAT Metered Dose Inhaler",
    2,
    90,
    4_210,
);
pub(super) static LEVOTHYROXINE: Drug = drug(
    "966222",
    "Levothyroxine Sodium 0.075 MG Oral Tablet",
    1,
    90,
    1_470,
);
pub(super) static OMEPRAZOLE: Drug = drug(
    "198051",
    "Omeprazole 20 MG Delayed Release Oral Capsule",
    1,
    90,
    1_250,
);
pub(super) static ASPIRIN: Drug = drug("243670", "Aspirin 81 MG Oral Tablet", 1, 90, 410);
pub(super) static ANTIRETROVIRAL: Drug = drug(
    "476556",
    "emtricitabine 200 MG / tenofovir disoproxil fumarate 300 MG Oral Tablet",
    1,
    90,
    98_700,
);
pub(super) static SERTRALINE: Drug = drug("312941", "sertraline 50 MG Oral Tablet", 1, 90, 1_310);
pub(super) static NALTREXONE: Drug = drug(
    "1483744",
    "naltrexone hydrochloride 50 MG Oral Tablet",
    1,
    30,
    4_450,
);
pub(super) static BUPRENORPHINE: Drug = drug(
    "1010600",
    "buprenorphine 2 MG / naloxone 0.5 MG Sublingual Film",
    1,
    30,
    8_920,
);
pub(super) static DOXYCYCLINE: Drug = drug(
    "1649988",
    "doxycycline hyclate 100 MG Oral Capsule",
    2,
    7,
    1_980,
);

/// Prescribes a drug, and the pharmacy hands it out; the order is over once the supply is used up.
pub(super) fn prescribe(chart: &mut Chart, visit: &Visit, drug: &Drug, reason: Option<&Link>) {
    let runs_out = visit.end.saturating_add(drug.days.days());
    let times = if drug.per_day == 1 {
        "once".to_owned()
    } else {
        format!("{} times", drug.per_day)
    };
    let suffix = if drug.as_needed { " as needed" } else { "" };
    let body = json!({
        "status": if runs_out < chart.person.last { "completed" } else { "active" },
        "intent": "order",
        "medicationCodeableConcept": drug.code.concept(),
        "subject": chart.patient.json(),
        "encounter": visit.encounter.json(),
        "authoredOn": stamp(visit.end),
        "requester": visit.doctor.json(),
        "reasonReference": reason.map(|reason| [reason.json()]),
        "dosageInstruction": [{
            "sequence": 1,
            "text": format!("Take {times} a day{suffix}."),
            "timing": { "repeat": { "frequency": drug.per_day, "period": 1, "periodUnit": "d" } },
            "asNeededBoolean": drug.as_needed,
            "doseAndRate": [{ "doseQuantity": { "value": 1 } }],
        }],
        "dispenseRequest": {
            "numberOfRepeatsAllowed": if drug.days >= 90 { 3 } else { 0 },
            "quantity": { "value": drug.per_day * drug.days },
            "expectedSupplyDuration": {
                "value": drug.days, "unit": "days", "system": "http://unitsofmeasure.org", "code": "d",
            },
        },
    });
    let prescription = chart.add("MedicationRequest", visit.security, body);
    billing::dispense(chart, visit, drug, &prescription);
}

/// Records something that was done to the patient during the visit.
pub(super) fn perform(
    chart: &mut Chart,
    visit: &mut Visit,
    code: Code,
    (start, end): (DateTime, DateTime),
    reason: Option<&Link>,
) {
    let body = json!({
        "text": narrative(&format!("{}, performed on {}.", code.display, start.date())),
        "status": "completed",
        "code": code.concept(),
        "subject": chart.patient.json(),
        "encounter": visit.encounter.json(),
        "performedPeriod": { "start": stamp(start), "end": stamp(end) },
        "performer": [{ "actor": visit.doctor.json(), "onBehalfOf": visit.site.organization.json() }],
        "location": visit.site.location.json(),
        "reasonReference": reason.map(|reason| [reason.json()]),
    });
    let price = chart.dice.between(4_000, 52_000);
    visit.services.push((code, price));
    chart.add("Procedure", visit.security, body);
}

/// A standing plan and what belongs to it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) category: Code,
    pub(super) activities: &'static [Code],
}

/// Agrees on a plan with the patient; it lasts as long as the record.
pub(super) fn plan(chart: &mut Chart, visit: &Visit, plan: &Plan, addresses: &Link) {
    let over = chart.person.death;
    let activities: Vec<_> = plan
        .activities
        .iter()
        .map(|activity| {
            json!({ "detail": {
                "code": activity.concept(),
                "status": if over.is_some() { "stopped" } else { "in-progress" },
                "location": visit.site.location.json(),
            } })
        })
        .collect();
    let names: Vec<_> = plan
        .activities
        .iter()
        .map(|activity| activity.display)
        .collect();
    let body = json!({
        "text": narrative(&format!("{}: {}.", plan.category.display, names.join("; "))),
        "status": if over.is_some() { "revoked" } else { "active" },
        "intent": "plan",
        "category": [
            plan.category.concept(),
            { "coding": [{
                "system": "http://hl7.org/fhir/us/core/CodeSystem/careplan-category",
                "code": "assess-plan",
            }] },
        ],
        "subject": chart.patient.json(),
        "encounter": visit.encounter.json(),
        "period": { "start": stamp(visit.start), "end": over.map(stamp) },
        "author": visit.doctor.json(),
        "addresses": [addresses.json()],
        "activity": activities,
    });
    chart.add("CarePlan", visit.security, body);
}
