//! Which rule files are taken, and what is told about the others.

use super::*;

const RULE: &str = "psychotherapy_notes = 'withhold'\n[systems]\nlocal = ['http://h.example/codes']\n\
    [[code]]\nprotects = ['other']\nsystem = 'local'\nsource = 'ours'\nexact = { X1 = 'a secret' }\n";

fn refused(text: &str) -> String {
    SensitivityRules::parse(text).unwrap_err().to_string()
}

#[test]
fn own_rules_replace_the_standard_ones() {
    let rules = SensitivityRules::parse(RULE).unwrap();
    let by = |resource: &Value| rules.protected_by(&record(resource));
    assert_eq!(
        by(&condition("http://h.example/codes", "X1")),
        keys(&["other"])
    );
    assert_eq!(by(&condition("http://h.example/codes", "X2")), []);
    assert_eq!(by(&condition(SNOMED, "86406008")), []);
    assert_eq!(by(&labelled(&[(ACT_CODE, "PSYTHPN")])), []);
}

#[test]
fn a_rule_can_be_switched() {
    let on = SensitivityRules::STANDARD.replace("enabled = false", "enabled = true");
    let off = SensitivityRules::STANDARD.replace("\n[[label]]\n", "\n[[label]]\nenabled = false\n");
    let off = off.replace("enabled = false\nenabled = false", "enabled = false");
    let restricted = record(&labelled(&[(CONFIDENTIALITY_CODE, "R")]));
    let hiv = record(&labelled(&[(ACT_CODE, "HIV")]));
    let by = |text: &str, record| SensitivityRules::parse(text).unwrap().protected_by(record);
    assert_eq!(by(&on, &restricted), keys(&["other"]));
    assert_eq!(by(&off, &hiv), []);
    let sequence = record(&json!({"resourceType": "MolecularSequence"}));
    let off = on.replace("[[type]]\nprotects", "[[type]]\nenabled = false\nprotects");
    assert_eq!(by(&on, &sequence), keys(&["genetic"]));
    assert_eq!(by(&off, &sequence), []);
    let nicotine = record(&condition(ICD, "F17.210"));
    assert_eq!(by(&on, &nicotine), keys(&["alcoholAndDrug"]));
}

#[test]
fn psychotherapy_notes_leave_only_where_the_file_says_so() {
    let note = record(&labelled(&[(ACT_CODE, "PSYTHPN")]));
    let text = SensitivityRules::STANDARD.replace("\"withhold\"\n", "\"mentalHealth\"\n");
    let rules = SensitivityRules::parse(&text).unwrap();
    assert_eq!(rules.protected_by(&note), keys(&["mentalHealth"]));
}

#[test]
fn a_malformed_file_is_refused_with_what_to_do() {
    let rule = |from: &str, to: &str| {
        assert!(RULE.contains(from), "{from}");
        refused(&RULE.replace(from, to))
    };
    for (message, parts) in [
        (refused(""), &["psychotherapy_notes"][..]),
        (refused("not toml"), &["line 1"]),
        (
            refused("psychotherapy_notes = 'withhold'"),
            &["nothing would be protected"],
        ),
        (
            rule("[[code]]", "[[code]]\nenabled = false"),
            &["nothing would be protected"],
        ),
        (
            rule("'withhold'", "'sometimes'"),
            &["psychotherapy_notes", "'withhold'", "'hiv'"],
        ),
        (
            rule("['other']", "['aids']"),
            &["[[code]] number 1", "'aids'", "'hiv'"],
        ),
        (rule("['other']", "[]"), &["[[code]] number 1", "'hiv'"]),
        (
            rule("system = 'local'", "system = 'icd'"),
            &["'icd'", "local"],
        ),
        (
            rule("['http://h.example/codes']", "[]"),
            &["[systems] local", "URI"],
        ),
        (rule("source = 'ours'", "source = ' '"), &["`source`"]),
        (rule("source = 'ours'\n", ""), &["source"]),
        (rule("exact = { X1 = 'a secret' }", ""), &["names no code"]),
        (rule("exact", "exactly"), &["exactly", "exact"]),
        (rule("X1 =", "'X 1' ="), &["'X 1' is no code"]),
        (rule("X1 =", "'' ="), &["is no code"]),
        (
            rule("exact = { X1", "below = { X1"),
            &["'X1' is no code of ICD"],
        ),
        (
            rule("exact = { X1", "below = { 'F10-F9'"),
            &["'F9' is no code of ICD"],
        ),
        (rule("exact = { X1", "below = { 'F10-G19'"), &["no range"]),
        (rule("exact = { X1", "below = { 'F19-F10'"), &["no range"]),
        (rule("exact = { X1", "below = { 'F10-F101'"), &["no range"]),
        (rule("exact = { X1", "below = { 'F10-F10'"), &["no range"]),
        (
            refused(&format!(
                "{RULE}[[type]]\nprotects = ['hiv']\nsource = 'x'\ntypes = {{}}\n"
            )),
            &["[[type]] number 1", "names no type"],
        ),
        (
            refused(&format!(
                "{RULE}[[type]]\nprotects = ['hiv']\nsource = 'x'\ntypes = {{ Sequence = 'x' }}\n"
            )),
            &["Sequence"],
        ),
    ] {
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text: String, tail: String) {
        let _ = SensitivityRules::parse(&text);
        let _ = SensitivityRules::parse(&format!("{RULE}{tail}"));
    }
}
