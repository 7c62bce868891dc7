//! A life as a timeline: which visits happen when.

use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime, Weekday};

use super::SamplePatient;
use super::chart::Chart;
use super::conditions::{CHRONICS, Chronic, ILLNESSES, Illness, STAYS, Stay};
use super::dice::Dice;
use super::people::{Person, plain};
use super::sensitive::{EPISODES, Episode};
use super::visits;

/// Something that leads to a visit.
#[derive(Clone, Copy)]
pub(super) enum Event {
    Birth,
    /// A check-up planned for an age in months.
    Wellness(i64),
    Acute(&'static Illness),
    Onset(&'static Chronic),
    FollowUp(&'static Chronic),
    Admission(&'static Stay),
    Sensitive(&'static Episode, SessionNumber),
    Death,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionNumber {
    First,
    Later,
}

pub(super) fn live(seed: u64, number: u32, today: Date) -> SamplePatient {
    let mut dice = Dice::new(seed, number);
    let everything = number == 0;
    let person = if everything {
        Person::middle_aged(&mut dice, today)
    } else {
        Person::anybody(&mut dice, today)
    };
    let timeline = timeline(&mut dice, &person, everything);
    let mut chart = Chart::open(dice, person);
    let mut free = chart.person.birth;
    for (planned, event) in timeline {
        // Nobody is in two places at once: what overlaps waits until the next day.
        let start = if planned < free {
            free.saturating_add(1.day())
        } else {
            planned
        };
        if let Some(end) = visits::happen(&mut chart, start, event) {
            free = end;
        }
    }
    let id = chart.id.clone();
    let file_name = format!(
        "{}_{}_{id}.json",
        plain(chart.person.given),
        plain(chart.person.family)
    );
    SamplePatient {
        id,
        file_name,
        bundle: chart.into_bundle(),
    }
}

/// Plans everything that leads to a visit, in order.
fn timeline(dice: &mut Dice, person: &Person, everything: bool) -> Vec<(DateTime, Event)> {
    let mut plan = vec![(person.birth, Event::Birth)];
    for months in wellness_ages(person.years()) {
        plan.push((
            office_hour(dice, person.birth.saturating_add(months.months())),
            Event::Wellness(months),
        ));
    }
    for year in 0..=person.years() {
        let suitable: Vec<_> = ILLNESSES
            .iter()
            .filter(|illness| contains(illness.ages, year))
            .collect();
        if dice.chance(if year < 6 { 50 } else { 28 })
            && let Some(illness) = suitable.get(dice.index(suitable.len()))
        {
            plan.push((at_age(dice, person, year), Event::Acute(illness)));
        }
    }
    for chronic in &CHRONICS {
        if let Some(onset) = dice
            .chance(chronic.percent)
            .then(|| during(dice, person, chronic.ages))
            .flatten()
        {
            plan.push((onset, Event::Onset(chronic)));
            let mut next = onset.saturating_add(dice.between(150, 220).days());
            while next < person.last {
                if person.is_complete(next) {
                    plan.push((office_hour(dice, next), Event::FollowUp(chronic)));
                }
                next = next.saturating_add(dice.between(250, 400).days());
            }
        }
    }
    let stays = STAYS
        .iter()
        .enumerate()
        .filter(|(index, stay)| everything && *index == 0 || dice.chance(stay.percent));
    let stays: Vec<_> = stays.map(|(_, stay)| stay).collect();
    for stay in stays {
        plan.extend(during(dice, person, stay.ages).map(|start| (start, Event::Admission(stay))));
    }
    for episode in &EPISODES {
        if everything || dice.chance(episode.percent) {
            let Some(mut start) = during(dice, person, episode.ages) else {
                continue;
            };
            plan.push((start, Event::Sensitive(episode, SessionNumber::First)));
            for _ in 1..episode.visits {
                let later = start.saturating_add(dice.between(20, 120).days());
                start = office_hour(dice, later);
                plan.push((start, Event::Sensitive(episode, SessionNumber::Later)));
            }
        }
    }
    if let Some(death) = person.death {
        let hours = dice.between(3, 60);
        plan.push((death.saturating_sub(hours.hours()), Event::Death));
    }
    plan.retain(|(start, _)| (person.birth..person.last).contains(start));
    plan.sort_by_key(|(start, _)| *start);
    plan
}

/// The ages in months of the check-ups: often for the small, every three years for the young,
/// every second year until retirement, then yearly.
fn wellness_ages(years: i64) -> impl Iterator<Item = i64> {
    let infant = [1, 2, 4, 6, 9, 12, 15, 18, 24, 30].into_iter();
    infant.chain(
        (3..=years)
            .filter(|year| match year {
                7..19 => matches!(year, 8 | 10 | 11 | 12 | 14 | 16 | 18),
                19..36 => year % 3 == 0,
                36..65 => year % 2 == 0,
                _ => true,
            })
            .map(|year| year * 12),
    )
}

fn contains((youngest, oldest): (i64, i64), years: i64) -> bool {
    (youngest..=oldest).contains(&years)
}

/// A working hour soon after a day.
fn office_hour(dice: &mut Dice, after: DateTime) -> DateTime {
    let mut day = after.date().saturating_add(dice.between(0, 12).days());
    if matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday) {
        day = day.saturating_add(2.days());
    }
    day.at(8, 0, 0, 0)
        .saturating_add((dice.between(0, 107) * 5).minutes())
}

/// A working hour in a year of age.
fn at_age(dice: &mut Dice, person: &Person, years: i64) -> DateTime {
    let days = dice.between(1, 350);
    office_hour(
        dice,
        person
            .birth
            .saturating_add(years.years())
            .saturating_add(days.days()),
    )
}

/// A working hour at one of the ages, if the patient lived to see one of them.
fn during(dice: &mut Dice, person: &Person, (youngest, oldest): (i64, i64)) -> Option<DateTime> {
    let oldest = oldest.min(person.years() - 1);
    (youngest <= oldest).then(|| {
        let years = dice.between(youngest, oldest);
        at_age(dice, person, years)
    })
}
