//! Episodes that carry sensitivity labels, and the codes that go with them.

use super::chart::Security;
use super::codes::{Code, act, confidentiality, icd10, snomed};
use super::conditions::FOREARM;
use super::documents::{CONSULT_NOTE, PROGRESS_NOTE, PSYCHOLOGY_NOTE, SOCIAL_WORK_NOTE};
use super::measures::{self, Measure, Panel};
use super::treatments::{self, Drug};

const RESTRICTED: Code = confidentiality("R", "restricted");
const VERY_RESTRICTED: Code = confidentiality("V", "very restricted");

/// Something the patient may not want everyone to read.
#[derive(Debug)]
pub(super) struct Episode {
    /// What everything recorded during the episode carries.
    pub(super) security: Security,
    pub(super) percent: u8,
    /// Ages at which it begins.
    pub(super) ages: (i64, i64),
    pub(super) codes: &'static [Code],
    /// How many visits it takes.
    pub(super) visits: i64,
    /// Whether it is over after the last visit.
    pub(super) ends: bool,
    pub(super) psychologist: bool,
    pub(super) tests: &'static [&'static Panel],
    pub(super) questions: &'static [&'static Measure],
    pub(super) history: &'static [&'static Measure],
    pub(super) drug: Option<&'static Drug>,
    pub(super) treatment: Option<Code>,
    pub(super) photo: Option<Code>,
    pub(super) note: Option<Note>,
}

/// What is written at each visit of an episode.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) kind: Code,
    /// A note may be guarded more closely than the rest of the episode.
    pub(super) security: Security,
    pub(super) text: &'static str,
}

const EPISODE: Episode = Episode {
    security: &[],
    percent: 5,
    ages: (18, 36),
    codes: &[],
    visits: 1,
    ends: false,
    psychologist: false,
    tests: &[],
    questions: &[],
    history: &[],
    drug: None,
    treatment: None,
    photo: None,
    note: None,
};

const HIV: Security = &[act("HIV", "HIV/AIDS information sensitivity"), RESTRICTED];
const ALCOHOL: Security = &[
    act("ETH", "substance abuse information sensitivity"),
    RESTRICTED,
];
const OPIOIDS: Security = &[
    act("SUD", "substance use disorder information sensitivity"),
    act("OPIOIDUD", "opioid use disorder information sensitivity"),
    RESTRICTED,
];
const MENTAL_HEALTH: Security = &[
    act("MH", "mental health information sensitivity"),
    RESTRICTED,
];
const PSYCHOTHERAPY: Security = &[
    act("PSYTHPN", "psychotherapy note information sensitivity"),
    act("MH", "mental health information sensitivity"),
    VERY_RESTRICTED,
];
const VIOLENCE: Security = &[act("VIO", "violence information sensitivity"), RESTRICTED];
const ASSAULT: Security = &[
    act(
        "SDV",
        "sexual assault, abuse, or domestic violence information sensitivity",
    ),
    VERY_RESTRICTED,
];
const MILITARY_TRAUMA: Security = &[
    act("MST", "military sexual trauma information sensitivity"),
    VERY_RESTRICTED,
];
const GENETIC: Security = &[
    act("GDIS", "genetic disease information sensitivity"),
    RESTRICTED,
];
const SICKLE_CELL: Security = &[
    act("SCA", "sickle cell anemia information sensitivity"),
    act("GDIS", "genetic disease information sensitivity"),
    RESTRICTED,
];
const SOCIAL_SERVICES: Security = &[
    act("SOC", "social services information sensitivity"),
    RESTRICTED,
];
const TRANSMITTED: Security = &[
    act(
        "STD",
        "sexually transmitted disease information sensitivity",
    ),
    RESTRICTED,
];
const SEXUALITY: Security = &[
    act(
        "SEX",
        "sexuality and reproductive health information sensitivity",
    ),
    RESTRICTED,
];

pub(super) static EPISODES: [Episode; 12] = [
    Episode {
        security: HIV,
        percent: 3,
        codes: &[
            snomed(
                "86406008",
                "Human immunodeficiency virus infection (disorder)",
            ),
            icd10("B20", "Human immunodeficiency virus [HIV] disease"),
        ],
        visits: 5,
        tests: &[&measures::HIV_MONITORING],
        drug: Some(&treatments::ANTIRETROVIRAL),
        note: Some(Note {
            kind: PROGRESS_NOTE,
            security: HIV,
            text: "HIV follow-up. Takes the antiretroviral medication every day and reports no side effects. Viral \
                   load and CD4 count were drawn today.",
        }),
        ..EPISODE
    },
    Episode {
        security: ALCOHOL,
        percent: 8,
        codes: &[
            snomed("66590003", "Alcohol dependence (disorder)"),
            icd10("F10.20", "Alcohol dependence, uncomplicated"),
        ],
        visits: 3,
        tests: &[&measures::ETHANOL],
        questions: &[&measures::ALCOHOL_SCORE],
        drug: Some(&treatments::NALTREXONE),
        treatment: Some(snomed("24165007", "Alcoholism counseling (procedure)")),
        note: Some(Note {
            kind: PROGRESS_NOTE,
            security: ALCOHOL,
            text: "Seen for alcohol use. Motivated to stop, attends a group twice a week. No signs of withdrawal.",
        }),
        ..EPISODE
    },
    Episode {
        security: OPIOIDS,
        percent: 4,
        codes: &[
            snomed("75544000", "Opioid dependence (disorder)"),
            icd10("F11.20", "Opioid dependence, uncomplicated"),
        ],
        visits: 3,
        tests: &[&measures::DRUG_SCREEN],
        drug: Some(&treatments::BUPRENORPHINE),
        note: Some(Note {
            kind: PROGRESS_NOTE,
            security: OPIOIDS,
            text: "Opioid use disorder, stable on buprenorphine. Record protected under 42 CFR Part 2.",
        }),
        ..EPISODE
    },
    Episode {
        security: MENTAL_HEALTH,
        percent: 18,
        ages: (15, 36),
        codes: &[
            snomed("370143000", "Major depressive disorder (disorder)"),
            icd10("F33.1", "Major depressive disorder, recurrent, moderate"),
        ],
        visits: 4,
        psychologist: true,
        questions: &[&measures::DEPRESSION_SCORE, &measures::ANXIETY_SCORE],
        drug: Some(&treatments::SERTRALINE),
        treatment: Some(snomed(
            "228557008",
            "Cognitive and behavioral therapy (regime/therapy)",
        )),
        note: Some(Note {
            kind: PSYCHOLOGY_NOTE,
            security: PSYCHOTHERAPY,
            text: "Kept apart from the rest of the record. We spoke about the quarrel with the brother and the dream \
                   that keeps returning; the patient wept and later laughed about it.",
        }),
        ..EPISODE
    },
    Episode {
        security: VIOLENCE,
        percent: 4,
        codes: &[
            snomed("706893006", "Victim of intimate partner abuse (finding)"),
            icd10(
                "T74.11XA",
                "Adult physical abuse, confirmed, initial encounter",
            ),
        ],
        ends: true,
        photo: Some(FOREARM),
        note: Some(Note {
            kind: CONSULT_NOTE,
            security: VIOLENCE,
            text: "Bruises of different ages on the left forearm. The patient says the partner caused them and asks \
                   that nothing be sent home. A safety plan was made.",
        }),
        ..EPISODE
    },
    Episode {
        security: ASSAULT,
        percent: 2,
        codes: &[
            snomed("248110007", "Sexual assault (event)"),
            icd10(
                "Z04.41",
                "Encounter for examination and observation following alleged adult rape",
            ),
        ],
        ends: true,
        tests: &[&measures::METABOLIC],
        note: Some(Note {
            kind: CONSULT_NOTE,
            security: ASSAULT,
            text: "Examination after sexual assault. Evidence was collected with consent. Prophylaxis was offered and \
                   an advocate was present throughout.",
        }),
        ..EPISODE
    },
    Episode {
        security: MILITARY_TRAUMA,
        percent: 1,
        ages: (22, 36),
        codes: &[
            snomed("47505003", "Posttraumatic stress disorder (disorder)"),
            icd10("F43.12", "Post-traumatic stress disorder, chronic"),
            icd10("T74.21XS", "Adult sexual abuse, confirmed, sequela"),
        ],
        visits: 2,
        psychologist: true,
        questions: &[&measures::ANXIETY_SCORE],
        note: Some(Note {
            kind: PROGRESS_NOTE,
            security: MILITARY_TRAUMA,
            text: "Veteran. Screening for military sexual trauma is positive. Nightmares twice a week, avoids crowds.",
        }),
        ..EPISODE
    },
    Episode {
        security: GENETIC,
        percent: 4,
        codes: &[
            snomed("412734009", "BRCA1 gene mutation positive (finding)"),
            icd10(
                "Z15.01",
                "Genetic susceptibility to malignant neoplasm of breast",
            ),
        ],
        tests: &[&measures::BRCA1_TEST],
        note: Some(Note {
            kind: CONSULT_NOTE,
            security: GENETIC,
            text: "Genetic counselling. The result and what it means for relatives were explained.",
        }),
        ..EPISODE
    },
    Episode {
        security: SICKLE_CELL,
        percent: 2,
        ages: (1, 12),
        codes: &[
            snomed("127040003", "Sickle cell-hemoglobin SS disease (disorder)"),
            icd10("D57.1", "Sickle-cell disease without crisis"),
        ],
        visits: 3,
        tests: &[&measures::SICKLE_TEST, &measures::BLOOD_COUNT],
        ..EPISODE
    },
    Episode {
        security: SOCIAL_SERVICES,
        percent: 7,
        codes: &[
            snomed("32911000", "Homeless (finding)"),
            icd10("Z59.00", "Homelessness unspecified"),
        ],
        ends: true,
        history: &[&measures::HOUSING],
        note: Some(Note {
            kind: SOCIAL_WORK_NOTE,
            security: SOCIAL_SERVICES,
            text: "Lost the apartment last month and sleeps at a friend's. Applied for emergency housing and food \
                   assistance together; the next appointment is in two weeks.",
        }),
        ..EPISODE
    },
    Episode {
        security: TRANSMITTED,
        percent: 9,
        codes: &[
            snomed("240589008", "Chlamydia trachomatis infection (disorder)"),
            icd10(
                "A56.00",
                "Chlamydial infection of lower genitourinary tract, unspecified",
            ),
        ],
        ends: true,
        tests: &[&measures::CHLAMYDIA_TEST],
        drug: Some(&treatments::DOXYCYCLINE),
        ..EPISODE
    },
    Episode {
        security: SEXUALITY,
        percent: 12,
        codes: &[icd10(
            "Z30.09",
            "Encounter for other general counseling and advice on contraception",
        )],
        ends: true,
        history: &[&measures::SEXUAL_ORIENTATION],
        note: Some(Note {
            kind: PROGRESS_NOTE,
            security: SEXUALITY,
            text: "Came for advice on contraception. Methods, their safety and their failure rates were discussed.",
        }),
        ..EPISODE
    },
];
