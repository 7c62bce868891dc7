//! What can be measured and asked: the codes, units and ranges.

use super::codes::{Code, loinc, snomed};

/// One value, with what is usual for it.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) code: Code,
    pub(super) result: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// The usual range, in units of the last decimal: 35 to 52 with one decimal is 3.5 to 5.2.
    Number {
        unit: &'static str,
        low: i64,
        high: i64,
        decimals: u32,
    },
    /// A range that is never usual, in the same units.
    Abnormal {
        unit: &'static str,
        low: i64,
        high: i64,
        decimals: u32,
    },
    /// One of these findings.
    Finding(&'static [Code]),
}

/// Values that are ordered and reported together.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) code: Code,
    pub(super) measures: &'static [Measure],
}

const fn lab(
    code: &'static str,
    name: &'static str,
    unit: &'static str,
    range: (i64, i64),
    decimals: u32,
) -> Measure {
    Measure {
        code: loinc(code, name),
        result: Outcome::Number {
            unit,
            low: range.0,
            high: range.1,
            decimals,
        },
    }
}

const fn abnormal(
    code: &'static str,
    name: &'static str,
    unit: &'static str,
    range: (i64, i64),
    decimals: u32,
) -> Measure {
    let result = Outcome::Abnormal {
        unit,
        low: range.0,
        high: range.1,
        decimals,
    };
    Measure {
        code: loinc(code, name),
        result,
    }
}

const fn finding(code: &'static str, name: &'static str, findings: &'static [Code]) -> Measure {
    Measure {
        code: loinc(code, name),
        result: Outcome::Finding(findings),
    }
}

pub(super) static METABOLIC: Panel = Panel {
    code: loinc("24321-2", "Basic metabolic 2000 panel - Serum or Plasma"),
    measures: &[
        lab(
            "2345-7",
            "Glucose [Mass/volume] in Serum or Plasma",
            "mg/dL",
            (70, 99),
            0,
        ),
        lab(
            "3094-0",
            "Urea nitrogen [Mass/volume] in Serum or Plasma",
            "mg/dL",
            (7, 20),
            0,
        ),
        lab(
            "2160-0",
            "Creatinine [Mass/volume] in Serum or Plasma",
            "mg/dL",
            (60, 120),
            2,
        ),
        lab(
            "17861-6",
            "Calcium [Mass/volume] in Serum or Plasma",
            "mg/dL",
            (86, 102),
            1,
        ),
        lab(
            "2951-2",
            "Sodium [Moles/volume] in Serum or Plasma",
            "mmol/L",
            (136, 144),
            0,
        ),
        lab(
            "2823-3",
            "Potassium [Moles/volume] in Serum or Plasma",
            "mmol/L",
            (37, 52),
            1,
        ),
        lab(
            "2075-0",
            "Chloride [Moles/volume] in Serum or Plasma",
            "mmol/L",
            (96, 106),
            0,
        ),
        lab(
            "2028-9",
            "Carbon dioxide, total [Moles/volume] in Serum or Plasma",
            "mmol/L",
            (22, 29),
            0,
        ),
    ],
};

pub(super) static BLOOD_COUNT: Panel = Panel {
    code: loinc("58410-2", "CBC panel - Blood by Automated count"),
    measures: &[
        lab(
            "6690-2",
            "Leukocytes [#/volume] in Blood by Automated count",
            "10*3/uL",
            (45, 110),
            1,
        ),
        lab(
            "789-8",
            "Erythrocytes [#/volume] in Blood by Automated count",
            "10*6/uL",
            (392, 565),
            2,
        ),
        lab(
            "718-7",
            "Hemoglobin [Mass/volume] in Blood",
            "g/dL",
            (120, 170),
            1,
        ),
        lab(
            "4544-3",
            "Hematocrit [Volume Fraction] of Blood by Automated count",
            "%",
            (360, 500),
            1,
        ),
        lab(
            "777-3",
            "Platelets [#/volume] in Blood by Automated count",
            "10*3/uL",
            (150, 400),
            0,
        ),
    ],
};

pub(super) static LIPIDS: Panel = Panel {
    code: loinc("57698-3", "Lipid panel with direct LDL - Serum or Plasma"),
    measures: &[
        lab(
            "2093-3",
            "Cholesterol [Mass/volume] in Serum or Plasma",
            "mg/dL",
            (125, 199),
            0,
        ),
        lab(
            "2571-8",
            "Triglyceride [Mass/volume] in Serum or Plasma",
            "mg/dL",
            (60, 149),
            0,
        ),
        lab(
            "18262-6",
            "Cholesterol in LDL [Mass/volume] in Serum or Plasma by Direct assay",
            "mg/dL",
            (60, 129),
            0,
        ),
        lab(
            "2085-9",
            "Cholesterol in HDL [Mass/volume] in Serum or Plasma",
            "mg/dL",
            (40, 80),
            0,
        ),
    ],
};

pub(super) static GLYCATED_HEMOGLOBIN: Panel = Panel {
    code: loinc("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood"),
    measures: &[lab(
        "4548-4",
        "Hemoglobin A1c/Hemoglobin.total in Blood",
        "%",
        (42, 56),
        1,
    )],
};

pub(super) static THYROTROPIN: Panel = Panel {
    code: loinc("3016-3", "Thyrotropin [Units/volume] in Serum or Plasma"),
    measures: &[lab(
        "3016-3",
        "Thyrotropin [Units/volume] in Serum or Plasma",
        "m[IU]/L",
        (40, 450),
        2,
    )],
};

pub(super) static URINALYSIS: Panel = Panel {
    code: loinc("24356-8", "Urinalysis complete panel - Urine"),
    measures: &[
        lab("2756-5", "pH of Urine", "[pH]", (50, 80), 1),
        lab(
            "2965-2",
            "Specific gravity of Urine",
            "{ratio}",
            (1005, 1030),
            3,
        ),
        finding(
            "5799-2",
            "Leukocyte esterase [Presence] in Urine by Test strip",
            &[POSITIVE, NEGATIVE],
        ),
        finding(
            "5802-4",
            "Nitrite [Presence] in Urine by Test strip",
            &[POSITIVE, NEGATIVE],
        ),
    ],
};

pub(super) static STREP_TEST: Panel = Panel {
    code: loinc(
        "78012-2",
        "Streptococcus pyogenes Ag [Presence] in Throat by Rapid immunoassay",
    ),
    measures: &[finding(
        "78012-2",
        "Streptococcus pyogenes Ag [Presence] in Throat by Rapid immunoassay",
        &[DETECTED],
    )],
};

pub(super) static TROPONIN: Panel = Panel {
    code: loinc(
        "10839-9",
        "Troponin I.cardiac [Mass/volume] in Serum or Plasma",
    ),
    measures: &[abnormal(
        "10839-9",
        "Troponin I.cardiac [Mass/volume] in Serum or Plasma",
        "ng/mL",
        (150, 900),
        2,
    )],
};

pub(super) static HIV_MONITORING: Panel = Panel {
    code: loinc("75622-1", "HIV 1 and 2 tests - Meaningful Use set"),
    measures: &[
        abnormal(
            "20447-9",
            "HIV 1 RNA [#/volume] (viral load) in Serum or Plasma by NAA with probe detection",
            "{copies}/mL",
            (20, 4800),
            0,
        ),
        lab(
            "24467-3",
            "CD3+CD4+ (T4 helper) cells [#/volume] in Blood",
            "/uL",
            (380, 1200),
            0,
        ),
    ],
};

pub(super) static CHLAMYDIA_TEST: Panel = Panel {
    code: loinc(
        "21613-5",
        "Chlamydia trachomatis DNA [Presence] in Specimen by NAA with probe detection",
    ),
    measures: &[finding(
        "21613-5",
        "Chlamydia trachomatis DNA [Presence] in Specimen by NAA with probe detection",
        &[DETECTED],
    )],
};

pub(super) static ETHANOL: Panel = Panel {
    code: loinc("5643-2", "Ethanol [Mass/volume] in Serum or Plasma"),
    measures: &[abnormal(
        "5643-2",
        "Ethanol [Mass/volume] in Serum or Plasma",
        "mg/dL",
        (40, 210),
        0,
    )],
};

pub(super) static DRUG_SCREEN: Panel = Panel {
    code: loinc("19295-5", "Opiates [Presence] in Urine by Screen method"),
    measures: &[finding(
        "19295-5",
        "Opiates [Presence] in Urine by Screen method",
        &[POSITIVE, NEGATIVE],
    )],
};

pub(super) static BRCA1_TEST: Panel = Panel {
    code: loinc(
        "21636-6",
        "BRCA1 gene mutations found [Identifier] in Blood or Tissue by Molecular genetics method",
    ),
    measures: &[finding(
        "21636-6",
        "BRCA1 gene mutations found [Identifier] in Blood or Tissue by Molecular genetics method",
        &[snomed(
            "412734009",
            "BRCA1 gene mutation positive (finding)",
        )],
    )],
};

pub(super) static SICKLE_TEST: Panel = Panel {
    code: loinc("4625-0", "Hemoglobin S/Hemoglobin.total in Blood"),
    measures: &[abnormal(
        "4625-0",
        "Hemoglobin S/Hemoglobin.total in Blood",
        "%",
        (420, 880),
        1,
    )],
};

pub(super) static DEPRESSION_SCORE: Measure = abnormal(
    "44261-6",
    "Patient Health Questionnaire 9 item (PHQ-9) total score [Reported]",
    "{score}",
    (9, 22),
    0,
);
pub(super) static ANXIETY_SCORE: Measure = abnormal(
    "70274-6",
    "Generalized anxiety disorder 7 item (GAD-7) total score [Reported.PHQ]",
    "{score}",
    (6, 18),
    0,
);
pub(super) static ALCOHOL_SCORE: Measure =
    abnormal("75626-2", "Total score [AUDIT-C]", "{score}", (5, 11), 0);

pub(super) static HOUSING: Measure = finding(
    "71802-3",
    "Housing status",
    &[snomed("32911000", "Homeless (finding)")],
);

pub(super) static SEXUAL_ORIENTATION: Measure = finding(
    "76690-7",
    "Sexual orientation",
    &[
        snomed("38628009", "Homosexual (finding)"),
        snomed("42035005", "Bisexual (finding)"),
        snomed("20430005", "Heterosexual (finding)"),
    ],
);

pub(super) static SMOKING: Measure = finding(
    "72166-2",
    "Tobacco smoking status",
    &[
        snomed("266919005", "Never smoked tobacco (finding)"),
        snomed("266919005", "Never smoked tobacco (finding)"),
        snomed("8517006", "Ex-smoker (finding)"),
        snomed("449868002", "Smokes tobacco daily (finding)"),
    ],
);

const POSITIVE: Code = snomed("10828004", "Positive (qualifier value)");
const NEGATIVE: Code = snomed("260385009", "Negative (qualifier value)");
const DETECTED: Code = snomed("260373001", "Detected (qualifier value)");
