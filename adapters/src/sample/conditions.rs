//! What a patient may suffer from: the tables of illnesses.

use super::codes::{Code, icd10, snomed};
use super::imaging::{self, Study};
use super::measures::{self, Panel};
use super::treatments::{self, Drug, Plan};

/// Something that comes and goes.
#[derive(Debug)]
pub(super) struct Illness {
    pub(super) codes: &'static [Code],
    pub(super) ages: (i64, i64),
    /// How many days until it is over.
    pub(super) days: (i64, i64),
    pub(super) emergency: bool,
    pub(super) complaint: &'static str,
    pub(super) drug: Option<&'static Drug>,
    pub(super) treatment: Option<Code>,
    pub(super) test: Option<&'static Panel>,
    pub(super) study: Option<&'static Study>,
    /// Where a photo is taken.
    pub(super) photo: Option<Code>,
}

const ILLNESS: Illness = Illness {
    codes: &[],
    ages: (1, 99),
    days: (7, 21),
    emergency: false,
    complaint: "",
    drug: None,
    treatment: None,
    test: None,
    study: None,
    photo: None,
};

pub(super) static ILLNESSES: [Illness; 12] = [
    Illness {
        codes: &[
            snomed("444814009", "Viral sinusitis (disorder)"),
            icd10("J01.90", "Acute sinusitis, unspecified"),
        ],
        complaint: "Facial pressure, nasal congestion and a low fever for several days.",
        drug: Some(&treatments::ACETAMINOPHEN),
        ..ILLNESS
    },
    Illness {
        codes: &[
            snomed("195662009", "Acute viral pharyngitis (disorder)"),
            icd10("J02.9", "Acute pharyngitis, unspecified"),
        ],
        complaint: "Sore throat and hoarseness, no trouble breathing.",
        ..ILLNESS
    },
    Illness {
        codes: &[
            snomed("43878008", "Streptococcal sore throat (disorder)"),
            icd10("J02.0", "Streptococcal pharyngitis"),
        ],
        ages: (3, 40),
        complaint: "Severe sore throat with fever and swollen glands.",
        drug: Some(&treatments::PENICILLIN),
        test: Some(&measures::STREP_TEST),
        ..ILLNESS
    },
    Illness {
        codes: &[
            snomed("10509002", "Acute bronchitis (disorder)"),
            icd10("J20.9", "Acute bronchitis, unspecified"),
        ],
        complaint: "Productive cough for more than a week.",
        drug: Some(&treatments::ACETAMINOPHEN),
        treatment: Some(snomed(
            "23426006",
            "Measurement of respiratory function (procedure)",
        )),
        ..ILLNESS
    },
    Illness {
        codes: &[
            snomed("65363002", "Otitis media (disorder)"),
            icd10("H66.90", "Otitis media, unspecified, unspecified ear"),
        ],
        ages: (0, 9),
        complaint: "Ear pain and fever, pulling at the ear.",
        drug: Some(&treatments::AMOXICILLIN),
        ..ILLNESS
    },
    Illness {
        codes: &[
            snomed("68566005", "Urinary tract infectious disease (disorder)"),
            icd10("N39.0", "Urinary tract infection, site not specified"),
        ],
        ages: (16, 99),
        complaint: "Burning urination and urgency since yesterday.",
        drug: Some(&treatments::COTRIMOXAZOLE),
        test: Some(&measures::URINALYSIS),
        ..ILLNESS
    },
    Illness {
        codes: &[
            snomed("40275004", "Contact dermatitis (disorder)"),
            icd10("L25.9", "Unspecified contact dermatitis, unspecified cause"),
        ],
        complaint: "Itching red patches on the forearm after gardening.",
        drug: Some(&treatments::HYDROCORTISONE),
        photo: Some(FOREARM),
        ..ILLNESS
    },
    Illness {
        codes: &[
            snomed("44465007", "Sprain of ankle (disorder)"),
            icd10(
                "S93.409A",
                "Sprain of unspecified ligament of unspecified ankle, initial encounter",
            ),
        ],
        ages: (6, 80),
        days: (14, 42),
        emergency: true,
        complaint: "Twisted the ankle on a kerb; painful to walk.",
        drug: Some(&treatments::IBUPROFEN),
        study: Some(&imaging::ANKLE),
        ..ILLNESS
    },
    Illness {
        codes: &[
            snomed("65966004", "Fracture of forearm (disorder)"),
            icd10(
                "S52.90XA",
                "Unspecified fracture of unspecified forearm, initial encounter for closed fracture",
            ),
        ],
        ages: (4, 95),
        days: (42, 90),
        emergency: true,
        complaint: "Fell onto the outstretched hand; the wrist is swollen.",
        drug: Some(&treatments::ACETAMINOPHEN),
        treatment: Some(snomed("274474001", "Bone immobilization (procedure)")),
        study: Some(&imaging::WRIST),
        ..ILLNESS
    },
    Illness {
        codes: &[
            snomed("283371005", "Laceration of forearm (disorder)"),
            icd10(
                "S51.819A",
                "Laceration without foreign body of unspecified forearm, initial encounter",
            ),
        ],
        ages: (3, 90),
        days: (10, 28),
        emergency: true,
        complaint: "Cut the forearm on a broken window; bleeding has stopped.",
        treatment: Some(snomed("288086009", "Suture open wound (procedure)")),
        photo: Some(FOREARM),
        ..ILLNESS
    },
    Illness {
        codes: &[
            snomed(
                "62106007",
                "Concussion with no loss of consciousness (disorder)",
            ),
            icd10(
                "S06.0X0A",
                "Concussion without loss of consciousness, initial encounter",
            ),
        ],
        ages: (5, 90),
        days: (20, 60),
        emergency: true,
        complaint: "Hit the head in a fall from a bicycle; headache and nausea.",
        drug: Some(&treatments::ACETAMINOPHEN),
        ..ILLNESS
    },
    Illness {
        codes: &[
            snomed("75498004", "Acute bacterial sinusitis (disorder)"),
            icd10("J01.90", "Acute sinusitis, unspecified"),
        ],
        complaint: "Sinusitis that came back worse after a first recovery.",
        drug: Some(&treatments::AMOXICILLIN_CLAVULANATE),
        ..ILLNESS
    },
];

pub(super) const FOREARM: Code = snomed("14975008", "Forearm structure (body structure)");

/// Something that comes and stays.
#[derive(Debug)]
pub(super) struct Chronic {
    pub(super) codes: &'static [Code],
    /// Ages at which it begins.
    pub(super) ages: (i64, i64),
    /// How many of a hundred people get it, if they live that long.
    pub(super) percent: u8,
    pub(super) drugs: &'static [&'static Drug],
    pub(super) test: Option<&'static Panel>,
    pub(super) study: Option<&'static Study>,
    /// LOINC codes of what it raises.
    pub(super) raises: &'static [&'static str],
    pub(super) plan: Option<&'static Plan>,
}

const CHRONIC: Chronic = Chronic {
    codes: &[],
    ages: (40, 70),
    percent: 0,
    drugs: &[],
    test: None,
    study: None,
    raises: &[],
    plan: None,
};

static EXERCISE_AND_DIET: Plan = Plan {
    category: snomed(
        "443402002",
        "Lifestyle education regarding hypertension (procedure)",
    ),
    activities: &[
        snomed(
            "1151000175103",
            "Dietary approaches to stop hypertension diet (regime/therapy)",
        ),
        snomed("229065009", "Exercise therapy (regime/therapy)"),
        snomed("225323000", "Smoking cessation education (procedure)"),
    ],
};

static DIABETES_PLAN: Plan = Plan {
    category: snomed(
        "698360004",
        "Diabetes self management plan (record artifact)",
    ),
    activities: &[
        snomed("160670007", "Diabetic diet (finding)"),
        snomed("229065009", "Exercise therapy (regime/therapy)"),
    ],
};

static ASTHMA_PLAN: Plan = Plan {
    category: snomed("699728000", "Asthma self management (procedure)"),
    activities: &[
        snomed("710081004", "Smoking cessation therapy (regime/therapy)"),
        snomed("229065009", "Exercise therapy (regime/therapy)"),
    ],
};

pub(super) static CHRONICS: [Chronic; 8] = [
    Chronic {
        codes: &[
            snomed("59621000", "Essential hypertension (disorder)"),
            icd10("I10", "Essential (primary) hypertension"),
        ],
        ages: (30, 68),
        percent: 45,
        drugs: &[&treatments::LISINOPRIL, &treatments::HYDROCHLOROTHIAZIDE],
        test: Some(&measures::METABOLIC),
        raises: &["8480-6"],
        plan: Some(&EXERCISE_AND_DIET),
        ..CHRONIC
    },
    Chronic {
        codes: &[
            snomed("44054006", "Diabetes mellitus type 2 (disorder)"),
            icd10("E11.9", "Type 2 diabetes mellitus without complications"),
        ],
        ages: (34, 70),
        percent: 18,
        drugs: &[&treatments::METFORMIN],
        test: Some(&measures::GLYCATED_HEMOGLOBIN),
        raises: &["4548-4", "2345-7"],
        plan: Some(&DIABETES_PLAN),
        ..CHRONIC
    },
    Chronic {
        codes: &[
            snomed("55822004", "Hyperlipidemia (disorder)"),
            icd10("E78.5", "Hyperlipidemia, unspecified"),
        ],
        ages: (32, 66),
        percent: 35,
        drugs: &[&treatments::SIMVASTATIN],
        test: Some(&measures::LIPIDS),
        raises: &["2093-3", "18262-6"],
        ..CHRONIC
    },
    Chronic {
        codes: &[
            snomed("195967001", "Asthma (disorder)"),
            icd10("J45.909", "Unspecified asthma, uncomplicated"),
        ],
        ages: (3, 25),
        percent: 14,
        drugs: &[&treatments::ALBUTEROL],
        plan: Some(&ASTHMA_PLAN),
        ..CHRONIC
    },
    Chronic {
        codes: &[
            snomed("40930008", "Hypothyroidism (disorder)"),
            icd10("E03.9", "Hypothyroidism, unspecified"),
        ],
        ages: (25, 60),
        percent: 10,
        drugs: &[&treatments::LEVOTHYROXINE],
        test: Some(&measures::THYROTROPIN),
        raises: &["3016-3"],
        ..CHRONIC
    },
    Chronic {
        codes: &[
            snomed("239873007", "Osteoarthritis of knee (disorder)"),
            icd10("M17.9", "Osteoarthritis of knee, unspecified"),
        ],
        ages: (48, 75),
        percent: 28,
        drugs: &[&treatments::IBUPROFEN],
        study: Some(&imaging::KNEE),
        ..CHRONIC
    },
    Chronic {
        codes: &[
            snomed("235595009", "Gastroesophageal reflux disease (disorder)"),
            icd10(
                "K21.9",
                "Gastro-esophageal reflux disease without esophagitis",
            ),
        ],
        ages: (25, 65),
        percent: 20,
        drugs: &[&treatments::OMEPRAZOLE],
        ..CHRONIC
    },
    Chronic {
        codes: &[
            snomed("53741008", "Coronary arteriosclerosis (disorder)"),
            icd10(
                "I25.10",
                "Atherosclerotic heart disease of native coronary artery without angina pectoris",
            ),
        ],
        ages: (55, 78),
        percent: 16,
        drugs: &[&treatments::ASPIRIN, &treatments::SIMVASTATIN],
        test: Some(&measures::LIPIDS),
        ..CHRONIC
    },
];

/// An operation and what the surgeon reports.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) code: Code,
    pub(super) minutes: i64,
    pub(super) account: &'static str,
    /// What is sent to pathology, and what pathology says.
    pub(super) specimen: Option<(&'static str, &'static str)>,
}

/// A reason to be in hospital for days.
#[derive(Debug)]
pub(super) struct Stay {
    pub(super) codes: &'static [Code],
    pub(super) ages: (i64, i64),
    pub(super) percent: u8,
    pub(super) days: (i64, i64),
    pub(super) complaint: &'static str,
    pub(super) study: Option<&'static Study>,
    pub(super) test: Option<&'static Panel>,
    pub(super) operation: Option<Operation>,
    pub(super) drugs: &'static [&'static Drug],
    /// What a photo is taken of.
    pub(super) photo: Option<Code>,
}

const STAY: Stay = Stay {
    codes: &[],
    ages: (18, 90),
    percent: 0,
    days: (2, 6),
    complaint: "",
    study: None,
    test: None,
    operation: None,
    drugs: &[],
    photo: None,
};

const ABDOMINAL_WALL: Code = snomed("83908009", "Abdominal wall structure (body structure)");

pub(super) static STAYS: [Stay; 6] = [
    Stay {
        codes: &[
            snomed("74400008", "Appendicitis (disorder)"),
            icd10("K35.80", "Unspecified acute appendicitis"),
        ],
        ages: (8, 55),
        percent: 12,
        complaint: "Pain that moved from the navel to the right lower abdomen, fever and vomiting.",
        study: Some(&imaging::ABDOMEN),
        test: Some(&measures::BLOOD_COUNT),
        operation: Some(Operation {
            code: snomed("80146002", "Excision of appendix (procedure)"),
            minutes: 55,
            account: "Three ports. The appendix was inflamed and not perforated. The mesoappendix was divided, the \
                      base closed with two loops and the appendix taken out in a bag. Minimal blood loss.",
            specimen: Some((
                "Appendix, 7.2 cm.",
                "Acute suppurative appendicitis. No perforation. No neoplasm identified.",
            )),
        }),
        drugs: &[&treatments::OXYCODONE],
        photo: Some(ABDOMINAL_WALL),
        ..STAY
    },
    Stay {
        codes: &[
            snomed("235919008", "Gallbladder calculus (disorder)"),
            icd10(
                "K80.20",
                "Calculus of gallbladder without cholecystitis without obstruction",
            ),
        ],
        ages: (30, 75),
        percent: 12,
        complaint: "Recurrent cramps under the right ribs after fatty meals.",
        study: Some(&imaging::ABDOMEN),
        test: Some(&measures::METABOLIC),
        operation: Some(Operation {
            code: snomed("38102005", "Cholecystectomy (procedure)"),
            minutes: 80,
            account: "Laparoscopic approach. The critical view was obtained, cystic duct and artery were clipped and \
                      divided, and the gallbladder was dissected from its bed. Dry field at the end.",
            specimen: Some((
                "Gallbladder, opened.",
                "Chronic cholecystitis and cholelithiasis. No dysplasia.",
            )),
        }),
        drugs: &[&treatments::OXYCODONE],
        photo: Some(ABDOMINAL_WALL),
        ..STAY
    },
    Stay {
        codes: &[
            snomed("233604007", "Pneumonia (disorder)"),
            icd10("J18.9", "Pneumonia, unspecified organism"),
        ],
        ages: (2, 92),
        percent: 18,
        days: (3, 8),
        complaint: "Fever, cough and shortness of breath for four days.",
        study: Some(&imaging::CHEST),
        test: Some(&measures::BLOOD_COUNT),
        drugs: &[&treatments::AMOXICILLIN_CLAVULANATE],
        ..STAY
    },
    Stay {
        codes: &[
            snomed("239873007", "Osteoarthritis of knee (disorder)"),
            icd10("M17.9", "Osteoarthritis of knee, unspecified"),
        ],
        ages: (60, 82),
        percent: 22,
        days: (3, 7),
        complaint: "Knee pain at rest and at night in spite of exercises and medication.",
        study: Some(&imaging::KNEE),
        test: Some(&measures::BLOOD_COUNT),
        operation: Some(Operation {
            code: snomed("609588000", "Total knee replacement (procedure)"),
            minutes: 110,
            account: "Medial parapatellar approach. Cemented components, stable through the whole range of motion. \
                      The tourniquet was released before closure.",
            specimen: None,
        }),
        drugs: &[&treatments::OXYCODONE, &treatments::ASPIRIN],
        ..STAY
    },
    Stay {
        codes: &[
            snomed("22298006", "Myocardial infarction (disorder)"),
            icd10("I21.9", "Acute myocardial infarction, unspecified"),
        ],
        ages: (52, 88),
        percent: 14,
        days: (4, 9),
        complaint: "Pressure behind the breastbone spreading to the left arm for two hours.",
        study: Some(&imaging::CHEST),
        test: Some(&measures::TROPONIN),
        operation: Some(Operation {
            code: snomed(
                "415070008",
                "Percutaneous coronary intervention (procedure)",
            ),
            minutes: 60,
            account: "Radial access. Occlusion of the middle left anterior descending artery, crossed with a wire and \
                      treated with one stent. Normal flow at the end.",
            specimen: None,
        }),
        drugs: &[
            &treatments::ASPIRIN,
            &treatments::SIMVASTATIN,
            &treatments::LISINOPRIL,
        ],
        ..STAY
    },
    Stay {
        codes: &[
            snomed("363406005", "Malignant neoplasm of colon (disorder)"),
            icd10("C18.9", "Malignant neoplasm of colon, unspecified"),
        ],
        ages: (50, 85),
        percent: 7,
        days: (6, 12),
        complaint: "Anemia, and a mass found at colonoscopy.",
        study: Some(&imaging::ABDOMEN),
        test: Some(&measures::BLOOD_COUNT),
        operation: Some(Operation {
            code: snomed("43075005", "Partial resection of colon (procedure)"),
            minutes: 170,
            account: "Right hemicolectomy with central ligation and a stapled anastomosis. No liver lesion was felt.",
            specimen: Some((
                "Right colon, 24 cm, with terminal ileum.",
                "Moderately differentiated adenocarcinoma, pT3 pN0 (0 of 18 nodes). Margins free of tumor.",
            )),
        }),
        drugs: &[&treatments::OXYCODONE],
        ..STAY
    },
];
