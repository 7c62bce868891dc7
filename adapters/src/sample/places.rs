//! Who cares for the patient, and who pays for it.

use jiff::civil::DateTime;
use serde_json::{Value, json};

use super::chart::{Entries, Link};
use super::dice::Dice;
use super::people::{self, Person, address, any_sex, identifier, phone, plain};

const HOSPITALS: [&str; 5] = [
    "Lanternfield General Hospital",
    "Saint Elowen Medical Center",
    "Marsh Harbor Memorial Hospital",
    "Copper Mills Regional Hospital",
    "Alder Falls University Hospital",
];

const CLINICS: [&str; 5] = [
    "Quarry Bridge Family Practice",
    "Heron Court Primary Care",
    "Mill Race Community Health Center",
    "Beacon Rise Internal Medicine",
    "Orchard Lane Pediatrics and Family Medicine",
];

const INSURERS: [&str; 4] = [
    "Evergood Mutual Health Plan",
    "Northlight Health Insurance",
    "Commonwise Care",
    "Tidewater Benefit Trust",
];

/// What a practitioner of the team does, with the code of the NUCC provider taxonomy.
const ROLES: [(&str, &str); 6] = [
    ("Family Medicine", "207Q00000X"),
    ("Hospitalist", "208M00000X"),
    ("Surgery", "208600000X"),
    ("Diagnostic Radiology", "2085R0202X"),
    ("Anatomic Pathology & Clinical Pathology", "207ZP0102X"),
    ("Clinical Psychology", "103TC0700X"),
];

/// An organisation and the place where it sees patients.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) organization: Link,
    pub(super) location: Link,
}

/// Everyone the patient's visits refer to.
pub(super) struct Team {
    pub(super) clinic: Site,
    pub(super) hospital: Site,
    pub(super) insurer: Link,
    pub(super) family_doctor: Link,
    pub(super) hospitalist: Link,
    pub(super) surgeon: Link,
    pub(super) radiologist: Link,
    pub(super) pathologist: Link,
    pub(super) psychologist: Link,
}

impl Team {
    pub(super) fn hire(dice: &mut Dice, entries: &mut Entries) -> Self {
        let clinic_name = dice.pick(&CLINICS);
        let hospital_name = dice.pick(&HOSPITALS);
        let insurer_name = dice.pick(&INSURERS);
        let [
            family_doctor,
            hospitalist,
            surgeon,
            radiologist,
            pathologist,
            psychologist,
        ] = ROLES.map(|role| practitioner(dice, entries, role));
        Self {
            clinic: site(dice, entries, clinic_name, "Family medicine clinic", "FMC"),
            hospital: site(dice, entries, hospital_name, "Hospital", "HOSP"),
            insurer: organization(dice, entries, insurer_name, "ins", "Insurance Company"),
            family_doctor,
            hospitalist,
            surgeon,
            radiologist,
            pathologist,
            psychologist,
        }
    }
}

fn organization(
    dice: &mut Dice,
    entries: &mut Entries,
    name: &str,
    kind: &str,
    text: &str,
) -> Link {
    let body = json!({
        "identifier": [{ "system": "http://hl7.org/fhir/sid/us-npi", "value": format!("99{}", dice.digits(8)) }],
        "active": true,
        "type": [{
            "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/organization-type",
                "code": kind,
                "display": text,
            }],
            "text": text,
        }],
        "name": name,
        "telecom": [{ "system": "phone", "value": phone(dice) }],
        "address": [address(dice)],
    });
    entries.add(dice, "Organization", &[], body).named(name)
}

fn site(dice: &mut Dice, entries: &mut Entries, name: &str, kind: &str, code: &str) -> Site {
    let organization = organization(dice, entries, name, "prov", "Healthcare Provider");
    let body = json!({
        "status": "active",
        "name": name,
        "mode": "instance",
        "type": [{
            "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/v3-RoleCode",
                "code": code,
                "display": kind,
            }],
            "text": kind,
        }],
        "telecom": [{ "system": "phone", "value": phone(dice) }],
        "address": address(dice),
        "managingOrganization": organization.json(),
    });
    let location = entries.add(dice, "Location", &[], body).named(name);
    Site {
        organization,
        location,
    }
}

fn practitioner(dice: &mut Dice, entries: &mut Entries, (role, taxonomy): (&str, &str)) -> Link {
    let sex = any_sex(dice);
    let (given, family) = (sex.given_name(dice), people::family_name(dice));
    let name = format!("Dr. {given} {family}");
    let body = json!({
        "identifier": [{ "system": "http://hl7.org/fhir/sid/us-npi", "value": format!("99{}", dice.digits(8)) }],
        "active": true,
        "name": [{ "family": family, "given": [given], "prefix": ["Dr."] }],
        "telecom": [{
            "system": "email",
            "value": format!("{}.{}@hospital.example.org", plain(given), plain(family)).to_lowercase(),
            "use": "work",
        }],
        "gender": sex.gender(),
        "qualification": [{
            "code": {
                "coding": [{ "system": "http://nucc.org/provider-taxonomy", "code": taxonomy, "display": role }],
                "text": role,
            },
        }],
    });
    entries.add(dice, "Practitioner", &[], body).named(&name)
}

pub(super) fn coverage(dice: &mut Dice, person: &Person, patient: &Link, insurer: &Link) -> Value {
    json!({
        "identifier": [identifier("MB", "Member Number", "https://insurer.example.org/member", &dice.digits(10))],
        "status": if person.death.is_some() { "cancelled" } else { "active" },
        "type": { "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
            "code": "HIP",
            "display": "health insurance plan policy",
        }] },
        "beneficiary": patient.json(),
        "relationship": { "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/subscriber-relationship",
            "code": "self",
        }] },
        "period": { "start": person.birth.date(), "end": person.death.map(DateTime::date) },
        "payor": [insurer.json()],
    })
}
