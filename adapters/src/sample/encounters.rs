//! The Encounter every other resource of a visit hangs on.

use jiff::civil::DateTime;
use serde_json::{Value, json};

use super::chart::{Chart, Link, Security, stamp};
use super::codes::{Code, act, concept, hl7, snomed};
use super::places::Site;

/// A kind of visit: where it takes place and what it costs.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) class: Code,
    pub(super) kind: Code,
    pub(super) minutes: i64,
    pub(super) at_hospital: bool,
    /// Price in cents.
    pub(super) price: i64,
}

const AMBULATORY: Code = act("AMB", "ambulatory");

pub(super) static WELLNESS: Setting = Setting {
    class: AMBULATORY,
    kind: snomed("162673000", "General examination of patient (procedure)"),
    minutes: 30,
    at_hospital: false,
    price: 13_680,
};

pub(super) static SYMPTOM: Setting = Setting {
    class: AMBULATORY,
    kind: snomed("185345009", "Encounter for symptom"),
    minutes: 20,
    at_hospital: false,
    price: 8_555,
};

pub(super) static FOLLOW_UP: Setting = Setting {
    class: AMBULATORY,
    kind: snomed("390906007", "Follow-up encounter"),
    minutes: 20,
    at_hospital: false,
    price: 8_555,
};

pub(super) static COUNSELLING: Setting = Setting {
    class: AMBULATORY,
    kind: snomed("185349003", "Encounter for check up (procedure)"),
    minutes: 50,
    at_hospital: false,
    price: 12_000,
};

pub(super) static EMERGENCY: Setting = Setting {
    class: act("EMER", "emergency"),
    kind: snomed("50849002", "Emergency room admission (procedure)"),
    minutes: 150,
    at_hospital: true,
    price: 64_250,
};

pub(super) static INPATIENT: Setting = Setting {
    class: act("IMP", "inpatient encounter"),
    kind: snomed("32485007", "Hospital admission (procedure)"),
    minutes: 24 * 60,
    at_hospital: true,
    price: 872_300,
};

/// What has to be known to open a visit.
pub(super) struct Appointment {
    pub(super) setting: &'static Setting,
    pub(super) doctor: Link,
    pub(super) start: DateTime,
    pub(super) end: DateTime,
    /// Everything recorded during the visit carries these labels.
    pub(super) security: Security,
    pub(super) reason: &'static [Code],
    pub(super) disposition: Option<&'static str>,
}

/// A visit while it is being recorded.
pub(super) struct Visit {
    pub(super) setting: &'static Setting,
    pub(super) encounter: Link,
    pub(super) doctor: Link,
    pub(super) site: Site,
    pub(super) start: DateTime,
    pub(super) end: DateTime,
    pub(super) security: Security,
    /// What the bill is justified with.
    pub(super) diagnoses: Vec<Link>,
    /// What was done, and its price in cents.
    pub(super) services: Vec<(Code, i64)>,
}

impl Visit {
    pub(super) fn period(&self) -> Value {
        json!({ "start": stamp(self.start), "end": stamp(self.end) })
    }
}

pub(super) fn open(chart: &mut Chart, appointment: Appointment) -> Visit {
    let Appointment {
        setting,
        doctor,
        start,
        end,
        security,
        reason,
        disposition,
    } = appointment;
    let site = if setting.at_hospital {
        chart.team.hospital.clone()
    } else {
        chart.team.clinic.clone()
    };
    let period = json!({ "start": stamp(start), "end": stamp(end) });
    let performer = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
    let body = json!({
        "status": "finished",
        "class": setting.class.coding(),
        "type": [setting.kind.concept()],
        "subject": chart.patient.json(),
        "participant": [{
            "type": [{ "coding": [{ "system": performer, "code": "PPRF", "display": "primary performer" }] }],
            "individual": doctor.json(),
        }],
        "period": period,
        "reasonCode": (!reason.is_empty()).then(|| [concept(reason)]),
        "hospitalization": disposition.map(|code| json!({ "dischargeDisposition": hl7("discharge-disposition", code) })),
        "location": [{ "location": site.location.json(), "status": "completed" }],
        "serviceProvider": site.organization.json(),
    });
    let encounter = chart.add("Encounter", security, body);
    let services = vec![(setting.kind, setting.price)];
    Visit {
        setting,
        encounter,
        doctor,
        site,
        start,
        end,
        security,
        diagnoses: Vec::new(),
        services,
    }
}
