//! Who the patient is. Nobody real: given names and family names are drawn apart, and the family
//! names and towns are invented.

use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime};
use serde_json::{Value, json};

use super::chart::{Link, narrative, stamp};
use super::codes::{Code, hl7, omb};
use super::dice::Dice;

const FEMALE: [&str; 24] = [
    "Amara",
    "Beatrix",
    "Celestine",
    "Dalia",
    "Elodie",
    "Farida",
    "Greta",
    "Hanae",
    "Imogen",
    "Juniper",
    "Katya",
    "Leocadia",
    "Maribel",
    "Núria",
    "Odette",
    "Priya",
    "Rosalind",
    "Sunniva",
    "Thandiwe",
    "Ursula",
    "Violeta",
    "Winifred",
    "Yesenia",
    "Zoë",
];

const MALE: [&str; 24] = [
    "Anselm", "Bastian", "Caspian", "Dmitri", "Evander", "Florian", "Gideon", "Hiroshi", "Ignacio",
    "Jasper", "Kofi", "Leopold", "Matías", "Nikhil", "Osvaldo", "Percival", "Quentin", "Rafferty",
    "Søren", "Tobias", "Umberto", "Valentin", "Wendell", "Zoltan",
];

const FAMILY: [&str; 32] = [
    "Alderwick",
    "Ambleforth",
    "Bramblett",
    "Castellmar",
    "Copperfen",
    "Dunmoor",
    "Eversley-Pike",
    "Fernhollow",
    "Gladwater",
    "Harrowgate",
    "Inkersole",
    "Jarrowby",
    "Kestlebrook",
    "Larkenfeld",
    "Marrowstone",
    "Nettlecombe",
    "Oakhanger",
    "Pemberwell",
    "Quillfeather",
    "Rookhurst",
    "Saltmarsh",
    "Thistledown",
    "Umberlane",
    "Velázquino",
    "Wexcombe",
    "Yarrowdale",
    "Zephyrine",
    "Okonwari",
    "Takamizu",
    "Banderovsk",
    "Ibáñeta",
    "Chandravel",
];

const STREETS: [&str; 12] = [
    "Juniper Walk",
    "Mill Race Road",
    "Old Orchard Lane",
    "Cobbler Street",
    "Lantern Hill",
    "Heron Court",
    "Saltbox Row",
    "Weaver Avenue",
    "Kiln Street",
    "North Meadow Road",
    "Tannery Close",
    "Beacon Rise",
];

const TOWNS: [(&str, &str); 6] = [
    ("Alder Falls", "01390"),
    ("Quarry Bridge", "01391"),
    ("East Lanternfield", "01392"),
    ("Marsh Harbor", "02593"),
    ("Copper Mills", "02594"),
    ("Saint Elowen", "02595"),
];

const RACES: [Code; 10] = [
    omb("2106-3", "White"),
    omb("2106-3", "White"),
    omb("2106-3", "White"),
    omb("2106-3", "White"),
    omb("2106-3", "White"),
    omb("2054-5", "Black or African American"),
    omb("2054-5", "Black or African American"),
    omb("2028-9", "Asian"),
    omb("1002-5", "American Indian or Alaska Native"),
    omb("2076-8", "Native Hawaiian or Other Pacific Islander"),
];

const HISPANIC: Code = omb("2135-2", "Hispanic or Latino");
const NOT_HISPANIC: Code = omb("2186-5", "Not Hispanic or Latino");

const LANGUAGES: [(&str, &str); 6] = [
    ("en-US", "English (United States)"),
    ("en-US", "English (United States)"),
    ("en-US", "English (United States)"),
    ("en-US", "English (United States)"),
    ("es", "Spanish"),
    ("pt", "Portuguese"),
];

/// How far back the record is complete. Of what was on paper before, the visits, diagnoses and
/// treatments were entered, but not every value, follow-up and bill.
const COMPLETE_YEARS: i64 = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sex {
    Female,
    Male,
}

impl Sex {
    pub(super) const fn gender(self) -> &'static str {
        match self {
            Self::Female => "female",
            Self::Male => "male",
        }
    }

    pub(super) fn given_name(self, dice: &mut Dice) -> &'static str {
        match self {
            Self::Female => dice.pick(&FEMALE),
            Self::Male => dice.pick(&MALE),
        }
    }
}

pub(super) fn any_sex(dice: &mut Dice) -> Sex {
    dice.pick(&[Sex::Female, Sex::Male])
}

pub(super) fn family_name(dice: &mut Dice) -> &'static str {
    dice.pick(&FAMILY)
}

/// A phone number of the range that is kept free for fiction.
pub(super) fn phone(dice: &mut Dice) -> String {
    format!(
        "({}) 555-01{}",
        dice.pick(&["339", "413", "508", "617", "781", "978"]),
        dice.digits(2)
    )
}

pub(super) fn address(dice: &mut Dice) -> Value {
    let (town, postal_code) = dice.pick(&TOWNS);
    json!({
        "line": [format!("{} {}", dice.between(1, 480), dice.pick(&STREETS))],
        "city": town,
        "state": "MA",
        "postalCode": postal_code,
        "country": "US",
    })
}

/// Turns a name into letters that every file system and mail server takes.
pub(super) fn plain(name: &str) -> String {
    name.chars()
        .filter_map(|letter| match letter {
            'á' => Some('a'),
            'é' | 'ë' => Some('e'),
            'í' => Some('i'),
            'ñ' => Some('n'),
            'ø' => Some('o'),
            'ú' => Some('u'),
            letter => letter.is_ascii_alphanumeric().then_some(letter),
        })
        .collect()
}

/// The facts of a life that the rest of the record has to agree with.
pub(super) struct Person {
    pub(super) given: &'static str,
    pub(super) family: &'static str,
    pub(super) sex: Sex,
    pub(super) birth: DateTime,
    pub(super) death: Option<DateTime>,
    /// The last moment the record may speak of: death, or the beginning of today.
    pub(super) last: DateTime,
    /// Grown-up height in millimetres.
    pub(super) height: i64,
    /// Grown-up body mass index in tenths.
    pub(super) body_mass: i64,
}

impl Person {
    /// A grown-up of middle age: old enough for everything that can happen, and alive.
    pub(super) fn middle_aged(dice: &mut Dice, today: Date) -> Self {
        let years = dice.between(38, 58);
        Self::aged(dice, today, years)
    }

    /// Anybody a hospital may have met, from the newborn to the very old, a few of them dead.
    pub(super) fn anybody(dice: &mut Dice, today: Date) -> Self {
        let (youngest, oldest) = dice.pick(&[
            (0, 17),
            (18, 44),
            (18, 44),
            (45, 64),
            (45, 64),
            (45, 64),
            (65, 79),
            (65, 94),
        ]);
        let years = dice.between(youngest, oldest);
        let mut person = Self::aged(dice, today, years);
        if dice.chance(if years > 60 { 20 } else { 2 }) {
            let lived = days_between(person.birth, person.last);
            let days = dice.between(lived * 4 / 5, lived - 30);
            let death = person
                .birth
                .saturating_add(days.days())
                .saturating_add(dice.between(1, 20).hours());
            person.death = Some(death);
            person.last = death;
        }
        person
    }

    fn aged(dice: &mut Dice, today: Date, years: i64) -> Self {
        let sex = any_sex(dice);
        let birthday = today
            .saturating_sub(years.years())
            .saturating_sub(dice.between(60, 350).days());
        let height = match sex {
            Sex::Female => dice.between(1520, 1760),
            Sex::Male => dice.between(1640, 1900),
        };
        Self {
            given: sex.given_name(dice),
            family: family_name(dice),
            sex,
            birth: birthday
                .at(0, 0, 0, 0)
                .saturating_add(dice.between(1, 287).saturating_mul(5).minutes()),
            death: None,
            last: today.at(0, 0, 0, 0),
            height,
            body_mass: dice.between(195, 345),
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{} {}", self.given, self.family)
    }

    /// Completed years of age.
    pub(super) fn age(&self, at: DateTime) -> i64 {
        self.age_in_months(at) / 12
    }

    pub(super) fn age_in_months(&self, at: DateTime) -> i64 {
        let months = |moment: DateTime| i64::from(moment.year()) * 12 + i64::from(moment.month());
        months(at) - months(self.birth) - i64::from(at.day() < self.birth.day())
    }

    /// Whether a visit is recent enough to be recorded in every detail.
    pub(super) fn is_complete(&self, visit: DateTime) -> bool {
        visit >= self.last.saturating_sub(COMPLETE_YEARS.years())
    }

    /// The years lived so far.
    pub(super) fn years(&self) -> i64 {
        self.age(self.last)
    }

    pub(super) fn patient(&self, dice: &mut Dice, clinic: &Link) -> Value {
        let hispanic = dice.chance(18);
        let (language, language_name) = dice.pick(&LANGUAGES);
        let race = dice.pick(&RACES);
        let adult = self.years() >= 18;
        let married = adult && dice.chance(55);
        let title = match self.sex {
            Sex::Female => "Ms.",
            Sex::Male => "Mr.",
        };
        let mut home = address(dice);
        home["use"] = json!("home");
        json!({
            "text": narrative(&format!("{}, born {}. Made-up patient.", self.name(), self.birth.date())),
            "extension": [
                us_core_text_extension("race", race),
                us_core_text_extension("ethnicity", if hispanic { HISPANIC } else { NOT_HISPANIC }),
                {
                    "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex",
                    "valueCode": match self.sex { Sex::Female => "F", Sex::Male => "M" },
                },
            ],
            "identifier": [
                identifier("MR", "Medical Record Number", "https://hospital.example.org/mrn", &dice.digits(8)),
                identifier("SS", "Social Security Number", "http://hl7.org/fhir/sid/us-ssn",
                    &format!("999-{}-{}", dice.digits(2), dice.digits(4))),
            ],
            "active": self.death.is_none(),
            "name": [{
                "use": "official",
                "family": self.family,
                "given": [self.given, self.sex.given_name(dice)],
                "prefix": adult.then_some([title]),
            }],
            "telecom": [
                { "system": "phone", "value": phone(dice), "use": "home" },
                { "system": "email", "value": format!("{}.{}@example.com", plain(self.given), plain(self.family)).to_lowercase() },
            ],
            "gender": self.sex.gender(),
            "birthDate": self.birth.date(),
            "deceasedDateTime": self.death.map(stamp),
            "address": [home],
            "maritalStatus": hl7("v3-MaritalStatus", if married { "M" } else { "S" }),
            "multipleBirthBoolean": false,
            "contact": [{
                "relationship": [hl7("v2-0131", "N")],
                "name": { "family": self.family, "given": [any_sex(dice).given_name(dice)] },
                "telecom": [{ "system": "phone", "value": phone(dice), "use": "mobile" }],
            }],
            "communication": [{
                "language": { "coding": [{ "system": "urn:ietf:bcp:47", "code": language, "display": language_name }] },
                "preferred": true,
            }],
            "managingOrganization": clinic.json(),
        })
    }
}

pub(super) fn days_between(start: DateTime, end: DateTime) -> i64 {
    end.duration_since(start).as_hours() / 24
}

pub(super) fn identifier(kind: &str, text: &str, system: &str, value: &str) -> Value {
    json!({
        "type": {
            "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": kind, "display": text }],
            "text": text,
        },
        "system": system,
        "value": value,
    })
}

fn us_core_text_extension(name: &str, code: Code) -> Value {
    json!({
        "url": format!("http://hl7.org/fhir/us/core/StructureDefinition/us-core-{name}"),
        "extension": [
            { "url": "ombCategory", "valueCoding": code.coding() },
            { "url": "text", "valueString": code.display },
        ],
    })
}
