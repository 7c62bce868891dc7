//! What happens at each visit of a life.

use jiff::ToSpan as _;
use jiff::civil::DateTime;

use super::chart::Chart;
use super::codes::{Code, icd10, snomed};
use super::conditions::{Chronic, Illness, Stay};
use super::documents::{
    self, CONSULT_NOTE, DISCHARGE_SUMMARY, Document, HISTORY_AND_PHYSICAL, OPERATIVE_NOTE,
    PROGRESS_NOTE,
};
use super::encounters::{
    self, Appointment, COUNSELLING, EMERGENCY, FOLLOW_UP, INPATIENT, SYMPTOM, Setting, Visit,
    WELLNESS,
};
use super::life::{Event, SessionNumber};
use super::sensitive::Episode;
use super::{billing, diagnoses, imaging, immunizations, measures, observations, treatments};

/// Lets an event take place from `start`; tells when it was over, or nothing if the record ends
/// before that.
pub(super) fn happen(chart: &mut Chart, start: DateTime, event: Event) -> Option<DateTime> {
    match event {
        Event::Birth => birth(chart, start),
        Event::Wellness(months) => wellness(chart, start, months),
        Event::Acute(illness) => acute(chart, start, illness),
        Event::Onset(chronic) => onset(chart, start, chronic),
        Event::FollowUp(chronic) => follow_up(chart, start, chronic),
        Event::Admission(stay) => admission(chart, start, stay),
        Event::Sensitive(episode, session) => sensitive(chart, start, episode, session),
        Event::Death => death(chart, start),
    }
}

fn appointment(
    chart: &Chart,
    setting: &'static Setting,
    start: DateTime,
    reason: &'static [Code],
) -> Appointment {
    Appointment {
        setting,
        doctor: if setting.at_hospital {
            chart.team.hospitalist.clone()
        } else {
            chart.team.family_doctor.clone()
        },
        start,
        end: start.saturating_add(setting.minutes.minutes()),
        security: &[],
        reason,
        disposition: setting.at_hospital.then_some("home"),
    }
}

/// Opens the visit, unless it would outlast the record.
fn begin(chart: &mut Chart, appointment: Appointment) -> Option<Visit> {
    (appointment.end <= chart.person.last).then(|| encounters::open(chart, appointment))
}

fn finish(chart: &mut Chart, visit: &Visit) -> DateTime {
    billing::settle(chart, visit);
    visit.end
}

fn note(chart: &mut Chart, visit: &Visit, kind: Code, paragraphs: &[String], printed: bool) {
    let (author, security) = (&visit.doctor, visit.security);
    documents::write(
        chart,
        visit,
        &Document {
            kind,
            author,
            security,
            paragraphs,
            printed,
        },
    );
}

fn names(codes: &[Code]) -> &'static str {
    codes.first().map_or("unknown", |code| code.display)
}

fn birth(chart: &mut Chart, start: DateTime) -> Option<DateTime> {
    const NEWBORN: &[Code] = &[
        snomed("169826009", "Single live birth (finding)"),
        icd10("Z38.00", "Single liveborn infant, delivered vaginally"),
    ];
    let end = start.saturating_add(2.days());
    let stay = Appointment {
        end,
        ..appointment(chart, &INPATIENT, start, NEWBORN)
    };
    let mut visit = begin(chart, stay)?;
    observations::vital_signs(chart, &visit);
    immunizations::vaccinate(chart, &mut visit, 0);
    diagnoses::diagnose(chart, &mut visit, NEWBORN, Some(end));
    Some(finish(chart, &visit))
}

fn wellness(chart: &mut Chart, start: DateTime, months: i64) -> Option<DateTime> {
    let check_up = appointment(chart, &WELLNESS, start, &[]);
    let mut visit = begin(chart, check_up)?;
    let recent = chart.person.is_complete(start);
    if recent {
        observations::vital_signs(chart, &visit);
    } else {
        observations::height_and_weight(chart, &visit);
    }
    immunizations::vaccinate(chart, &mut visit, months);
    if months == 48 && chart.dice.chance(35) {
        diagnoses::allergies(chart, &visit);
    }
    if recent && months >= 18 * 12 {
        observations::smoking_status(chart, &visit);
        let reconciliation = snomed("430193006", "Medication reconciliation (procedure)");
        let duration = (start, start.saturating_add(10.minutes()));
        treatments::perform(chart, &mut visit, reconciliation, duration, None);
        observations::laboratory(chart, &mut visit, &measures::METABOLIC);
        if chart.dice.chance(40) {
            observations::laboratory(chart, &mut visit, &measures::BLOOD_COUNT);
        }
        if months >= 35 * 12 && chart.dice.chance(60) {
            observations::laboratory(chart, &mut visit, &measures::LIPIDS);
        }
    }
    if recent || chart.dice.chance(15) {
        let paragraphs = [
            format!("{} comes for a check-up at {} and feels well.", chart.person.given, spoken_age(months)),
            "Review of systems is unremarkable. Heart sounds are regular, lungs are clear, the abdomen is soft."
                .to_owned(),
            "Preventive care was brought up to date. Return for the next check-up as scheduled.".to_owned(),
        ];
        note(chart, &visit, PROGRESS_NOTE, &paragraphs, false);
    }
    Some(finish(chart, &visit))
}

fn spoken_age(months: i64) -> String {
    if months < 36 {
        format!("{months} months")
    } else {
        format!("{} years", months / 12)
    }
}

fn acute(chart: &mut Chart, start: DateTime, illness: &'static Illness) -> Option<DateTime> {
    let setting = if illness.emergency {
        &EMERGENCY
    } else {
        &SYMPTOM
    };
    let call = appointment(chart, setting, start, illness.codes);
    let mut visit = begin(chart, call)?;
    let days = chart.dice.between(illness.days.0, illness.days.1);
    let over = visit.end.saturating_add(days.days());
    let condition = diagnoses::diagnose(chart, &mut visit, illness.codes, Some(over));
    if let Some(test) = illness.test {
        observations::laboratory(chart, &mut visit, test);
    }
    if let Some(study) = illness.study {
        imaging::examine(chart, &mut visit, study);
    }
    if let Some(body_site) = illness.photo {
        documents::photograph(chart, &visit, body_site, illness.codes);
    }
    if let Some(treatment) = illness.treatment {
        let duration = (start, start.saturating_add(15.minutes()));
        treatments::perform(chart, &mut visit, treatment, duration, Some(&condition));
    }
    if let Some(drug) = illness.drug {
        treatments::prescribe(chart, &visit, drug, Some(&condition));
    }
    if illness.emergency || chart.dice.chance(40) {
        let paragraphs = [
            illness.complaint.to_owned(),
            format!("Assessment: {}.", names(illness.codes)),
            format!("Expected to be well again in about {days} days; return if it gets worse."),
        ];
        note(chart, &visit, PROGRESS_NOTE, &paragraphs, false);
    }
    Some(finish(chart, &visit))
}

fn onset(chart: &mut Chart, start: DateTime, chronic: &'static Chronic) -> Option<DateTime> {
    let call = appointment(chart, &SYMPTOM, start, chronic.codes);
    let mut visit = begin(chart, call)?;
    let condition = diagnoses::diagnose(chart, &mut visit, chronic.codes, None);
    chart.raised.extend(chronic.raises);
    if let Some(study) = chronic.study {
        imaging::examine(chart, &mut visit, study);
    }
    if let Some(plan) = chronic.plan {
        treatments::plan(chart, &visit, plan, &condition);
    }
    let paragraphs = [
        format!("New diagnosis: {}.", names(chronic.codes)),
        "What it is, how it is treated and what to watch for were discussed, and questions answered.".to_owned(),
    ];
    note(chart, &visit, CONSULT_NOTE, &paragraphs, false);
    Some(treat(chart, visit, chronic))
}

fn follow_up(chart: &mut Chart, start: DateTime, chronic: &'static Chronic) -> Option<DateTime> {
    let call = appointment(chart, &FOLLOW_UP, start, chronic.codes);
    let visit = begin(chart, call)?;
    observations::blood_pressure(chart, &visit);
    Some(treat(chart, visit, chronic))
}

fn treat(chart: &mut Chart, mut visit: Visit, chronic: &'static Chronic) -> DateTime {
    if let Some(test) = chronic.test {
        observations::laboratory(chart, &mut visit, test);
    }
    for drug in chronic.drugs {
        treatments::prescribe(chart, &visit, drug, None);
    }
    finish(chart, &visit)
}

fn admission(chart: &mut Chart, start: DateTime, stay: &'static Stay) -> Option<DateTime> {
    let days = chart.dice.between(stay.days.0, stay.days.1);
    let end = start.saturating_add(days.days());
    let hospital = Appointment {
        end,
        ..appointment(chart, &INPATIENT, start, stay.codes)
    };
    let mut visit = begin(chart, hospital)?;
    observations::vital_signs(chart, &visit);
    let healed = end.saturating_add(30.days());
    let condition = diagnoses::diagnose(chart, &mut visit, stay.codes, Some(healed));
    let diagnosis = names(stay.codes);
    let history = [
        stay.complaint.to_owned(),
        format!("Admitted with {diagnosis}. Plan as discussed with the patient and family."),
    ];
    note(chart, &visit, HISTORY_AND_PHYSICAL, &history, false);
    for panel in stay.test.into_iter().chain([&measures::METABOLIC]) {
        observations::laboratory(chart, &mut visit, panel);
    }
    if let Some(study) = stay.study {
        imaging::examine(chart, &mut visit, study);
    }
    if let Some(body_site) = stay.photo {
        documents::photograph(chart, &visit, body_site, stay.codes);
    }
    let mut course = format!(
        "Admitted on {} with {diagnosis} and treated for {days} days.",
        start.date()
    );
    if let Some(operation) = &stay.operation {
        let begins = start.saturating_add(6.hours());
        let duration = (begins, begins.saturating_add(operation.minutes.minutes()));
        treatments::perform(
            chart,
            &mut visit,
            operation.code,
            duration,
            Some(&condition),
        );
        let account = [
            format!("Procedure: {}", operation.code.display),
            operation.account.to_owned(),
        ];
        let author = &chart.team.surgeon.clone();
        let operative = Document {
            kind: OPERATIVE_NOTE,
            author,
            security: visit.security,
            paragraphs: &account,
            printed: true,
        };
        documents::write(chart, &visit, &operative);
        if let Some((specimen, finding)) = operation.specimen {
            documents::pathology(chart, &mut visit, specimen, finding);
        }
        course = format!(
            "{course} {} was done without complications.",
            operation.code.display
        );
    }
    for drug in stay.drugs {
        treatments::prescribe(chart, &visit, drug, Some(&condition));
    }
    let summary = [
        stay.complaint.to_owned(),
        course,
        "Discharged home in good condition. See the family doctor within ten days.".to_owned(),
    ];
    note(chart, &visit, DISCHARGE_SUMMARY, &summary, true);
    Some(finish(chart, &visit))
}

fn sensitive(
    chart: &mut Chart,
    start: DateTime,
    episode: &'static Episode,
    session: SessionNumber,
) -> Option<DateTime> {
    let mut call = Appointment {
        security: episode.security,
        ..appointment(chart, &COUNSELLING, start, episode.codes)
    };
    if episode.psychologist {
        call.doctor = chart.team.psychologist.clone();
    }
    let mut visit = begin(chart, call)?;
    if session == SessionNumber::First {
        let over = episode.ends.then(|| visit.end.saturating_add(60.days()));
        diagnoses::diagnose(chart, &mut visit, episode.codes, over);
    }
    for question in episode.history {
        observations::social(chart, &visit, question);
    }
    for question in episode.questions {
        observations::survey(chart, &visit, question);
    }
    for test in episode.tests {
        observations::laboratory(chart, &mut visit, test);
    }
    if let Some(body_site) = episode.photo {
        documents::photograph(chart, &visit, body_site, episode.codes);
    }
    if let Some(treatment) = episode.treatment {
        let end = visit.end;
        treatments::perform(chart, &mut visit, treatment, (start, end), None);
    }
    if let Some(drug) = episode.drug {
        treatments::prescribe(chart, &visit, drug, None);
    }
    if let Some(written) = &episode.note {
        let author = &visit.doctor;
        let paragraphs = &[written.text.to_owned()];
        let document = Document {
            kind: written.kind,
            author,
            security: written.security,
            paragraphs,
            printed: false,
        };
        documents::write(chart, &visit, &document);
    }
    Some(finish(chart, &visit))
}

fn death(chart: &mut Chart, start: DateTime) -> Option<DateTime> {
    const ARREST: &[Code] = &[
        snomed("410429000", "Cardiac arrest (disorder)"),
        icd10("I46.9", "Cardiac arrest, cause unspecified"),
    ];
    let end = chart.person.death?;
    if start >= end {
        return None;
    }
    let last = Appointment {
        end,
        disposition: Some("exp"),
        ..appointment(chart, &INPATIENT, start, ARREST)
    };
    let mut visit = begin(chart, last)?;
    observations::vital_signs(chart, &visit);
    diagnoses::diagnose(chart, &mut visit, ARREST, None);
    let summary = [
        "Brought in by ambulance after a collapse.".to_owned(),
        format!(
            "Resuscitation was not successful. {} died on {}.",
            chart.person.name(),
            end.date()
        ),
    ];
    note(chart, &visit, DISCHARGE_SUMMARY, &summary, true);
    Some(finish(chart, &visit))
}
