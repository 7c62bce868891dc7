//! The vaccination schedule.

use serde_json::json;

use super::chart::{Chart, stamp};
use super::codes::{Code, cvx};
use super::encounters::Visit;

/// A vaccine, and the ages in months at which a dose is due.
struct Vaccine {
    code: Code,
    due: &'static [i64],
}

const SCHEDULE: [Vaccine; 9] = [
    Vaccine {
        code: cvx("08", "Hep B, adolescent or pediatric"),
        due: &[0, 2, 9],
    },
    Vaccine {
        code: cvx("119", "rotavirus, monovalent"),
        due: &[2, 4],
    },
    Vaccine {
        code: cvx("20", "DTaP"),
        due: &[2, 4, 6, 15, 48],
    },
    Vaccine {
        code: cvx("133", "Pneumococcal conjugate PCV 13"),
        due: &[2, 4, 6, 12],
    },
    Vaccine {
        code: cvx("10", "IPV"),
        due: &[2, 4, 9, 48],
    },
    Vaccine {
        code: cvx("03", "MMR"),
        due: &[12, 48],
    },
    Vaccine {
        code: cvx("21", "varicella"),
        due: &[12, 48],
    },
    Vaccine {
        code: cvx("115", "Tdap"),
        due: &[132],
    },
    Vaccine {
        code: cvx("114", "meningococcal MCV4P"),
        due: &[132, 192],
    },
];

const INFLUENZA: Code = cvx("140", "Influenza, seasonal, injectable, preservative free");
const TETANUS: Code = cvx(
    "113",
    "Td (adult), 5 Lf tetanus toxoid, preservative free, adsorbed",
);
const ZOSTER: Code = cvx("187", "zoster recombinant");

/// Gives what is due at a wellness visit planned for an age in months.
pub(super) fn vaccinate(chart: &mut Chart, visit: &mut Visit, months: i64) {
    for vaccine in &SCHEDULE {
        if let Some(dose) = vaccine.due.iter().position(|due| *due == months) {
            give(chart, visit, vaccine.code, Some(dose + 1));
        }
    }
    let years = months / 12;
    if months % 12 == 0 && years >= 1 && chart.dice.chance(70) {
        give(chart, visit, INFLUENZA, None);
    }
    if months % 12 == 0 && years >= 21 && years % 10 == 0 {
        give(chart, visit, TETANUS, None);
    }
    if months == 60 * 12 {
        give(chart, visit, ZOSTER, Some(1));
    }
}

fn give(chart: &mut Chart, visit: &mut Visit, vaccine: Code, dose: Option<usize>) {
    let body = json!({
        "status": "completed",
        "vaccineCode": vaccine.concept(),
        "patient": chart.patient.json(),
        "encounter": visit.encounter.json(),
        "occurrenceDateTime": stamp(visit.start),
        "primarySource": true,
        "location": visit.site.location.json(),
        "lotNumber": format!("LOT{}", chart.dice.digits(6)),
        "performer": [{ "actor": visit.doctor.json() }],
        "protocolApplied": dose.map(|dose| [json!({ "doseNumberPositiveInt": dose })]),
    });
    chart.add("Immunization", visit.security, body);
    visit.services.push((vaccine, 3_150));
}
