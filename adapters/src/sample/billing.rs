//! What it cost: `Claim` and `ExplanationOfBenefit`.

use jiff::ToSpan as _;
use serde_json::{Value, json};

use super::chart::{Chart, Link, stamp};
use super::codes::{dollars, hl7};
use super::encounters::Visit;
use super::treatments::Drug;

/// Bills everything done during a visit and settles it.
///
/// Old bills were thrown away, except those that belong to something sensitive: they were filed
/// apart.
pub(super) fn settle(chart: &mut Chart, visit: &Visit) {
    if !is_kept(chart, visit) {
        return;
    }
    let kind = if visit.setting.at_hospital {
        "institutional"
    } else {
        "professional"
    };
    let total: i64 = visit.services.iter().map(|(_, price)| price).sum();
    let sequences: Vec<_> = (1..=visit.diagnoses.len()).collect();
    let diagnoses = |role: Option<Value>| -> Option<Vec<Value>> {
        let list: Vec<_> = visit
            .diagnoses
            .iter()
            .zip(1..)
            .map(|(diagnosis, sequence)| {
                json!({
                    "sequence": sequence,
                    "diagnosisReference": diagnosis.json(),
                    "type": role.as_ref().map(|role| [role]),
                })
            })
            .collect();
        (!list.is_empty()).then_some(list)
    };
    let item = |sequence: usize| -> Value {
        json!({
            "sequence": sequence,
            "diagnosisSequence": (!sequences.is_empty()).then_some(&sequences),
            "productOrService": visit.services[sequence - 1].0.concept(),
            "servicedPeriod": visit.period(),
            "net": dollars(visit.services[sequence - 1].1),
            "encounter": [visit.encounter.json()],
        })
    };
    let claim = json!({
        "status": "active",
        "type": hl7("claim-type", kind),
        "use": "claim",
        "patient": chart.patient.json(),
        "billablePeriod": visit.period(),
        "created": stamp(visit.end),
        "insurer": chart.team.insurer.json(),
        "provider": visit.site.organization.json(),
        "priority": hl7("processpriority", "normal"),
        "facility": visit.site.location.json(),
        "diagnosis": diagnoses(None),
        "insurance": [{ "sequence": 1, "focal": true, "coverage": chart.coverage.json() }],
        "item": (1..=visit.services.len()).map(item).collect::<Vec<_>>(),
        "total": dollars(total),
    });
    let claim = chart.add("Claim", visit.security, claim);

    let weeks = chart.dice.between(1, 3);
    let settled = chart.no_later(visit.end.saturating_add(weeks.weeks()));
    let paid = total * 4 / 5;
    let items: Vec<_> = (1..=visit.services.len())
        .map(|sequence| {
            let price = visit.services[sequence - 1].1;
            let mut item = item(sequence);
            item["adjudication"] = json!([
                { "category": hl7("adjudication", "submitted"), "amount": dollars(price) },
                { "category": hl7("adjudication", "benefit"), "amount": dollars(price * 4 / 5) },
            ]);
            item
        })
        .collect();
    let benefit = json!({
        "status": "active",
        "type": hl7("claim-type", kind),
        "use": "claim",
        "patient": chart.patient.json(),
        "billablePeriod": visit.period(),
        "created": stamp(settled),
        "insurer": chart.team.insurer.json(),
        "provider": visit.site.organization.json(),
        "claim": claim.json(),
        "outcome": "complete",
        "careTeam": [{ "sequence": 1, "provider": visit.doctor.json(), "role": hl7("claimcareteamrole", "primary") }],
        "diagnosis": diagnoses(Some(hl7("ex-diagnosistype", "principal"))),
        "insurance": [{ "focal": true, "coverage": chart.coverage.json() }],
        "item": items,
        "total": [
            { "category": hl7("adjudication", "submitted"), "amount": dollars(total) },
            { "category": hl7("adjudication", "benefit"), "amount": dollars(paid) },
        ],
        "payment": { "date": settled.date(), "amount": dollars(paid) },
    });
    chart.add("ExplanationOfBenefit", visit.security, benefit);
}

/// The pharmacy's own claim for a drug it dispensed.
pub(super) fn dispense(chart: &mut Chart, visit: &Visit, drug: &Drug, prescription: &Link) {
    if !is_kept(chart, visit) {
        return;
    }
    let claim = json!({
        "status": "active",
        "type": hl7("claim-type", "pharmacy"),
        "use": "claim",
        "patient": chart.patient.json(),
        "billablePeriod": visit.period(),
        "created": stamp(visit.end),
        "provider": visit.site.organization.json(),
        "priority": hl7("processpriority", "normal"),
        "prescription": prescription.json(),
        "insurance": [{ "sequence": 1, "focal": true, "coverage": chart.coverage.json() }],
        "item": [{
            "sequence": 1,
            "productOrService": drug.code.concept(),
            "net": dollars(drug.price),
            "encounter": [visit.encounter.json()],
        }],
        "total": dollars(drug.price),
    });
    chart.add("Claim", visit.security, claim);
}

fn is_kept(chart: &Chart, visit: &Visit) -> bool {
    chart.person.is_complete(visit.start) || !visit.security.is_empty()
}
