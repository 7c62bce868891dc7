//! What holds for any record and any choices.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::export::sensitivity::samples::{self, Sample};
use crate::fhir::Record;

type Kinds = Vec<(ParameterKey, bool, String, String)>;

static KINDS: LazyLock<Kinds> = LazyLock::new(kinds::tests::all_codes);

/// A record of any type, perhaps with a date, perhaps with a code or label of a rule.
fn any_record() -> impl Strategy<Value = Record> {
    let date = ("(19|20)[0-9]{2}(-0[1-9](-[0-2][1-9])?)?", "(19|20)[0-9]{2}");
    let element = prop::sample::select(vec![
        "code",
        "type",
        "category",
        "reasonCode",
        "item",
        "bodySite",
        "meta",
        "securityLabel",
        "contained",
    ]);
    (
        prop::sample::select(ResourceType::ALL),
        prop::option::of((date, 0..6_u8)),
        prop::option::of((any::<prop::sample::Index>(), element)),
        prop::option::of(any::<prop::sample::Index>()),
    )
        .prop_map(|(resource_type, date, sensitive, kind)| {
            let mut value = json!({"resourceType": resource_type.as_str()});
            if let Some(kind) = kind {
                let kinds = &*KINDS;
                let (_, is_type, system, code) = kind.get(kinds);
                let name = if *is_type { "type" } else { "category" };
                value[name] = json!([{"coding": [{"system": system, "code": code}]}]);
            }
            if let Some((sample, element)) = sensitive {
                let samples = samples::enabled();
                let Sample { system, code, .. } = sample.get(&samples);
                let coding = samples::coding(system, code);
                value[element] = match element {
                    "meta" => json!({"security": [coding]}),
                    "contained" => json!([{"resourceType": "Condition", "code": coding}]),
                    _ => json!([{"coding": [coding]}]),
                };
            }
            if let Some(((from, to), shape)) = date {
                match shape {
                    0 => value["period"] = json!({"start": from, "end": to}),
                    1 => value["effectiveDateTime"] = from.into(),
                    2 => value["onsetDateTime"] = from.into(),
                    3 => value["collection"] = json!({"collectedDateTime": from}),
                    4 => value["occurrenceTiming"] = json!({"event": [from, to]}),
                    _ => value["date"] = to.into(),
                }
            }
            record(&value)
        })
}

/// What is asked: parts with years, and authorizations.
#[derive(Debug, Clone)]
struct Asked {
    parts: BTreeMap<&'static str, (Option<u16>, Option<u16>)>,
    authorized: Vec<&'static str>,
}

impl Asked {
    fn selection(&self) -> Selection {
        let parts = self.parts.iter().map(|(part, (from, to))| {
            let date =
                |year: &Option<u16>| year.map_or(json!(false), |year| json!(year.to_string()));
            (
                (*part).to_owned(),
                json!({"enabled": true, "from": date(from), "to": date(to)}),
            )
        });
        let authorized = self.authorized.iter().map(|key| {
            let text = AuthorizationKey::parse(key).unwrap().is_text();
            let value = if text { json!("yes") } else { json!(true) };
            ((*key).to_owned(), json!({"value": value}))
        });
        let choices = json!({
            "parameters": parts.collect::<serde_json::Map<_, _>>(),
            "authorizations": authorized.collect::<serde_json::Map<_, _>>(),
        });
        select(Choices::from_json(&choices).unwrap())
    }
}

fn any_asked() -> impl Strategy<Value = Asked> {
    let parts: Vec<_> = ParameterKey::ALL.iter().map(|key| key.key()).collect();
    let keys: Vec<_> = AuthorizationKey::ALL.iter().map(|key| key.key()).collect();
    let all = (parts.len(), keys.len());
    let years = (
        prop::option::of(1900..1980_u16),
        prop::option::of(2010..2090_u16),
    );
    (
        prop::sample::subsequence(parts, 0..=all.0).prop_flat_map(move |parts| {
            let years = prop::collection::vec(years.clone(), parts.len());
            (Just(parts), years)
        }),
        prop::sample::subsequence(keys, 0..=all.1),
    )
        .prop_map(|((parts, years), authorized)| Asked {
            parts: parts.into_iter().zip(years).collect(),
            authorized,
        })
}

/// Asks for less: fewer parts, shorter times, fewer authorizations.
fn narrower(asked: &Asked, cut: u8, drop: prop::sample::Index) -> Asked {
    let mut less = asked.clone();
    if cut & 1 != 0 && !less.parts.is_empty() {
        let part = *less.parts.keys().nth(drop.index(less.parts.len())).unwrap();
        less.parts.remove(part);
    }
    if cut & 2 != 0 && !less.authorized.is_empty() {
        less.authorized.remove(drop.index(less.authorized.len()));
    }
    if cut & 4 != 0 {
        for (from, to) in less.parts.values_mut() {
            *from = Some(from.unwrap_or(1900) + 20);
            *to = Some(to.unwrap_or(2090) - 5);
        }
    }
    less
}

proptest! {
    #[test]
    fn a_narrower_request_never_yields_more(
        record in any_record(),
        asked in any_asked(),
        cut in 0..8_u8,
        drop: prop::sample::Index,
    ) {
        let less = narrower(&asked, cut, drop);
        if less.selection().judge(&record) == Verdict::Included {
            let whole = asked.selection().judge(&record);
            prop_assert_eq!(whole, Verdict::Included, "{:?} {:?}", asked, less);
        }
    }

    #[test]
    fn disjoint_times_make_up_the_whole(record in any_record(), cut in 1910..2080_u16, part: prop::sample::Index) {
        let key = part.get(ParameterKey::ALL);
        let during = |from, to| {
            let asked = Asked { parts: [(key.key(), (from, to))].into(), authorized: Vec::new() };
            asked.selection().judge(&record) == Verdict::Included
        };
        let pieces = during(None, Some(cut - 1)) || during(Some(cut), Some(cut)) || during(Some(cut + 1), None);
        prop_assert_eq!(pieces, during(None, None));
    }

    #[test]
    fn the_hint_never_hides_what_goes(record in any_record(), asked in any_asked()) {
        let selection = asked.selection();
        let goes = selection.judge(&record) != Verdict::NotAsked;
        prop_assert!(!goes || selection.may_include(record.resource_type()));
    }

    #[test]
    fn nothing_protected_leaves_unless_all_that_protects_it_was_authorised(
        record in any_record(),
        asked in any_asked(),
    ) {
        let protections = SensitivityRules::standard().protected_by(&record);
        let selection = asked.selection();
        match selection.judge(&record) {
            Verdict::NotAsked => {}
            Verdict::Included => {
                let authorized = protections.iter().all(|protection| match protection {
                    Protection::Authorization(key) => asked.authorized.contains(&key.key()),
                    Protection::PsychotherapyNote => false,
                });
                prop_assert!(authorized);
            }
            Verdict::Withheld(missing) => {
                prop_assert!(!missing.is_empty());
                for key in missing {
                    prop_assert!(!asked.authorized.contains(&key.key()));
                    prop_assert!(protections.contains(&Protection::Authorization(key)));
                }
            }
            Verdict::PsychotherapyNote => {
                prop_assert!(protections.contains(&Protection::PsychotherapyNote));
            }
        }
    }

    /// Told by the bytes: a code of a rule that stands where it counts does not leave.
    #[test]
    fn with_nothing_authorised_no_code_of_a_rule_leaves(sample: prop::sample::Index, asked in any_asked()) {
        let samples = samples::enabled();
        let sample = sample.get(&samples);
        let coding = samples::coding(&sample.system, &sample.code);
        let asked = Asked { authorized: Vec::new(), ..asked };
        for resource_type in ResourceType::ALL {
            let value = if sample.label {
                json!({"resourceType": resource_type.as_str(), "meta": {"security": [coding]}})
            } else {
                json!({"resourceType": resource_type.as_str(), "code": {"coding": [coding]}})
            };
            prop_assert_ne!(asked.selection().judge(&record(&value)), Verdict::Included);
        }
    }
}
