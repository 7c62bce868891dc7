use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn parse(json: &str) -> Result<Record, RecordSyntaxError> {
    Record::parse(json.as_bytes())
}

fn text(record: &Record) -> &str {
    std::str::from_utf8(record.json()).unwrap()
}

#[test]
fn only_white_space_between_tokens_is_lost() {
    let record = parse(
        " {\r\n\t\"resourceType\" : \"Observation\",\n \"value\": [ 1.10, -0.0e+5, 1E400, \"a \\u00e4\\n\\\"  ü \" ],\n \"x\": { } , \"y\" :[ ]}\n",
    )
    .unwrap();
    assert_eq!(
        text(&record),
        r#"{"resourceType":"Observation","value":[1.10,-0.0e+5,1E400,"a \u00e4\n\"  ü "],"x":{},"y":[]}"#
    );
}

#[test]
fn top_level_elements_are_found_by_name_and_in_order() {
    let record = parse(
        r#"{ "id": "p-1", "contact": [{"id": "inner", "meta": 1}], "resourceType": "Patient", "active": true }"#,
    )
    .unwrap();
    assert_eq!(record.resource_type(), ResourceType::Patient);
    assert_eq!(record.id(), Some("p-1"));
    assert_eq!(
        record.fields().collect::<Vec<_>>(),
        [
            ("id", r#""p-1""#),
            ("contact", r#"[{"id":"inner","meta":1}]"#),
            ("resourceType", r#""Patient""#),
            ("active", "true"),
        ]
    );
    assert_eq!(record.field("active"), Some("true"));
    assert_eq!(record.field("meta"), None);
    assert_eq!(record.field("activ"), None);
}

#[test]
fn an_id_that_is_no_plain_string_is_none() {
    for id in ["7", "null", r#""""#, r#""a\u0062""#] {
        let record = parse(&format!(r#"{{"resourceType":"Patient","id":{id}}}"#)).unwrap();
        assert_eq!(record.id(), None, "{id}");
        assert_eq!(record.field("id"), Some(id));
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for broken in [
        "01",
        "+1",
        "1.",
        ".5",
        "-",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "tru",
        "True",
        "nul",
        "'a'",
        "{]",
        "[1,]",
        "[,1]",
        r#"{"a":1,}"#,
        r#"{"a"}"#,
        "{a:1}",
        r#"{"a":}"#,
        "[1 2]",
        "\u{c}1",
        "\u{a0}1",
        r#""a" "b""#,
        "1}",
        "//c\n1",
    ] {
        let json = format!(r#"{{"resourceType":"Basic","x":{broken},"y":1}}"#);
        assert_eq!(
            parse(&json).unwrap_err(),
            RecordSyntaxError::Json,
            "{broken}"
        );
    }
    for around in ["x", "{}", ",", "]", "\u{feff}"] {
        let json = format!(r#"{{"resourceType":"Basic"}}{around}"#);
        assert_eq!(
            parse(&json).unwrap_err(),
            RecordSyntaxError::Json,
            "{around}"
        );
    }
}

#[test]
fn a_string_that_would_break_the_line_or_the_client_is_refused() {
    for broken in [
        &b"a\nb"[..],
        b"\t",
        b"\0",
        b"\x1f",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\\x",
        b"\\u12g4",
        b"\\ud800",
        b"\\ud800\\u0041",
        b"\\udc00",
        b"\\ud800\\ud800",
        b"\\U0041",
        b"\\\xc3\xa4",
    ] {
        for filling in [0, 20, 31, 32, 40] {
            let mut json = br#"{"resourceType":"Basic","x":""#.to_vec();
            json.extend(std::iter::repeat_n(b'x', filling));
            json.extend(broken);
            json.extend(br#"","y":[1]}"#);
            let error = Record::parse(&json).unwrap_err();
            assert_eq!(error, RecordSyntaxError::Text, "{}", broken.escape_ascii());
        }
    }
    assert!(parse(r#"{"resourceType":"Basic","x":"\ud83d\ude00 \u0000 \uFFFF \/\b\f"}"#).is_ok());
}

#[test]
fn an_ambiguous_record_is_refused() {
    for (json, reason) in [
        (
            r#"{"resourceType":"Basic","resourceType":"Patient"}"#,
            RecordSyntaxError::Duplicate,
        ),
        (
            r#"{"id":"1","resourceType":"Basic","id":"1"}"#,
            RecordSyntaxError::Duplicate,
        ),
        (
            r#"{"meta":1,"resourceType":"Basic","meta":{}}"#,
            RecordSyntaxError::Duplicate,
        ),
        (
            r#"{"":1,"resourceType":"Basic","":2}"#,
            RecordSyntaxError::Duplicate,
        ),
        (
            r#"{"resourceType":"Basic","m\u0065ta":{}}"#,
            RecordSyntaxError::Name,
        ),
        (r#"{"resource\u0054ype":"Basic"}"#, RecordSyntaxError::Name),
    ] {
        assert_eq!(parse(json).unwrap_err(), reason, "{json}");
    }
    // Further in it is the reader's business.
    assert!(parse(r#"{"resourceType":"Basic","x":{"a":1,"a":2,"\u0061":3}}"#).is_ok());
}

#[test]
fn a_record_has_a_resource_type_of_fhir() {
    for json in [
        "{}",
        "[]",
        "7",
        r#""Patient""#,
        r#"{"resourceType":"Nonsense"}"#,
        r#"{"resourceType":7}"#,
        r#"{"resourceType":"P\u0061tient"}"#,
        r#"{"resourceType":["Patient"]}"#,
        r#"{"contained":{"resourceType":"Patient"}}"#,
        r#"{"resourceType":" Patient"}"#,
    ] {
        let json = format!("{json} ");
        assert_eq!(
            parse(&json).unwrap_err(),
            RecordSyntaxError::ResourceType,
            "{json}"
        );
    }
}

#[test]
fn a_record_that_ends_too_early_is_told_apart() {
    let json = r#"{"resourceType":"Basic","x":[1.5e3,true,null,"\ud83d\ude00ü",{"a":{}}]}"#;
    for end in 0..json.len() {
        let error = Record::parse(&json.as_bytes()[..end]).unwrap_err();
        assert_eq!(error, RecordSyntaxError::Truncated, "{end}");
    }
}

#[test]
fn nesting_ends_where_serde_json_ends() {
    for depth in [1, 125, 126, 127, 128, 5000] {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let inner = [&open.repeat(depth), "1", &close.repeat(depth)].concat();
            let json = format!(r#"{{"resourceType":"Basic","x":{inner}}}"#);
            let expected = serde_json::from_str::<Value>(&json).is_ok();
            assert_eq!(parse(&json).is_ok(), expected, "{depth}");
            assert_eq!(expected, depth <= 126);
        }
    }
}

#[test]
fn more_elements_than_any_resource_has_are_refused() {
    let with = |count: usize| {
        let elements: Vec<String> = (1..count).map(|n| format!(r#","x{n}":0"#)).collect();
        let elements = elements.concat();
        parse(&format!(r#"{{"resourceType":"Basic"{elements}}}"#))
    };
    assert_eq!(with(512).unwrap().fields().count(), 512);
    assert_eq!(with(513).unwrap_err(), RecordSyntaxError::TooManyElements);
}

/// Prints a value with white space wherever JSON allows it; `blanks` says what next.
fn print(value: &Value, blanks: &mut impl FnMut() -> &'static str, out: &mut String) {
    out.push_str(blanks());
    match value {
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                print(item, blanks, out);
            }
            out.push_str(blanks());
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (n, (name, value)) in members.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                print(&Value::from(name.as_str()), blanks, out);
                out.push(':');
                print(value, blanks, out);
            }
            out.push_str(blanks());
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
    out.push_str(blanks());
}

fn pretty(value: &Value, seed: u64) -> String {
    let mut state = seed;
    let mut out = String::new();
    let mut blanks = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let choices = [
            "",
            "",
            " ",
            "\n",
            "\r\n\t",
            "\n                                      ",
        ];
        choices[usize::try_from(state >> 60).unwrap() % choices.len()]
    };
    print(value, &mut blanks, &mut out);
    out
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // As many digits as `serde_json` reads exactly.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 64.0)),
        any::<String>().prop_map(Value::from),
        "[ -~äöü\"\\\\\n]{0,90}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,12}|.{0,40}", inner, 0..8)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

pub(crate) fn any_resource() -> impl Strategy<Value = Value> {
    let types = prop::sample::select(ResourceType::ALL);
    let elements = prop::collection::btree_map("[a-z]{1,12}", any_value(), 0..12);
    (types, elements).prop_map(|(resource_type, elements)| {
        let mut resource: Value = elements.into_iter().collect();
        resource["resourceType"] = resource_type.as_str().into();
        resource
    })
}

/// What our reading of these bytes implies for `serde_json`'s, and the other way round.
fn agrees_with_serde_json(json: &[u8]) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_slice::<Value>(json);
    match (Record::parse(json), theirs) {
        (Ok(ours), Ok(theirs)) => {
            prop_assert_eq!(
                serde_json::from_slice::<Value>(ours.json()).unwrap(),
                theirs
            );
        }
        // The grammar has no greatest number.
        (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("number out of range")),
        (Err(error), Ok(_)) => {
            let stricter = [
                RecordSyntaxError::Duplicate,
                RecordSyntaxError::Name,
                RecordSyntaxError::ResourceType,
            ];
            prop_assert!(stricter.contains(&error), "{error}");
        }
        (Err(_), Err(_)) => {}
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_resource_however_printed_comes_out_as_one_equal_line(resource in any_resource(), seed: u64) {
        let record = parse(&pretty(&resource, seed)).unwrap();
        prop_assert!(!record.json().contains(&b'\n'));
        prop_assert_eq!(serde_json::from_slice::<Value>(record.json()).unwrap(), resource.clone());
        prop_assert_eq!(text(&record), compact(&resource));
        for (name, value) in resource.as_object().unwrap() {
            prop_assert_eq!(&record.field(name).unwrap().parse::<Value>().unwrap(), value);
        }
        prop_assert_eq!(record.fields().count(), resource.as_object().unwrap().len());
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_panic(bytes: Vec<u8>) {
        let _ = Record::parse(&bytes);
    }

    #[test]
    fn any_text_of_json_characters_is_judged_like_serde_json_does(text in r#"\{"resourceType":"Basic"[,:\[\]{}"\\a0-2.eE+\- ]{0,12}\}"#) {
        agrees_with_serde_json(text.as_bytes())?;
    }

    #[test]
    fn any_number_is_judged_like_serde_json_does(number in "[-+]?[0-2]{0,3}[.]?[0-2]{0,3}[eE]?[-+]?[0-2]{0,2}") {
        agrees_with_serde_json(format!(r#"{{"resourceType":"Basic","x":{number}}}"#).as_bytes())?;
    }

    #[test]
    fn a_damaged_resource_is_judged_like_serde_json_does(
        resource in any_resource(),
        seed: u64,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4),
    ) {
        let mut json = pretty(&resource, seed).into_bytes();
        for (at, byte, how) in damage {
            let at = at.index(json.len());
            match how {
                0 => json[at] = byte,
                1 => json.insert(at, byte),
                _ => drop(json.remove(at)),
            }
            if json.is_empty() {
                break;
            }
        }
        agrees_with_serde_json(&json)?;
    }
}

/// As `pretty` without blanks.
fn compact(value: &Value) -> String {
    let mut out = String::new();
    print(value, &mut || "", &mut out);
    out
}
