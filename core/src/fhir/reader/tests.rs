use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fhir::record::tests::any_resource;

type Items = Vec<Result<Record, BrokenRecord>>;

/// Feeds the source in pieces of these sizes, the last one repeating.
fn read_in(layout: Layout, limit: usize, source: &[u8], pieces: &[usize]) -> Items {
    let mut reader = RecordReader::new(layout, limit);
    let mut items = Vec::new();
    let mut source = source;
    let mut pieces = pieces.iter().copied();
    let mut piece = 1;
    while !reader.is_done() {
        piece = pieces.next().unwrap_or(piece).max(1);
        let room = reader.room();
        let count = piece.min(room.len()).min(source.len());
        room[..count].copy_from_slice(&source[..count]);
        source = &source[count..];
        reader.filled(count);
        items.extend(reader.read());
    }
    items
}

/// Feeds a piece, and nothing about the source's end.
fn feed(reader: &mut RecordReader, mut piece: &[u8]) -> Items {
    let mut items = Vec::new();
    while !piece.is_empty() {
        let room = reader.room();
        let count = room.len().min(piece.len());
        room[..count].copy_from_slice(&piece[..count]);
        piece = &piece[count..];
        reader.filled(count);
        items.extend(reader.read());
    }
    items
}

fn read(layout: Layout, source: &[u8]) -> Items {
    read_in(layout, RecordReader::DEFAULT_LIMIT, source, &[usize::MAX])
}

fn bundle(source: &str) -> Items {
    read(Layout::Bundle, source.as_bytes())
}

/// Everything that is said about the items.
fn show(items: &Items) -> Vec<String> {
    let show = |item: &Result<Record, BrokenRecord>| match item {
        Ok(record) => std::str::from_utf8(record.json()).unwrap().to_owned(),
        Err(broken) => match broken.place {
            Some(place) => format!("{place}: {broken}"),
            None => broken.to_string(),
        },
    };
    items.iter().map(show).collect()
}

const PATIENT: &str = r#"{"resourceType":"Patient","id":"1"}"#;
const BASIC: &str = r#"{"resourceType":"Basic"}"#;

#[test]
fn the_order_of_the_bundles_elements_does_not_matter() {
    for source in [
        format!(
            r#"{{"resourceType":"Bundle","type":"batch","entry":[{{"fullUrl":"u","resource":{PATIENT}}},{{"resource":{BASIC},"request":{{}}}}]}}"#
        ),
        format!(
            "\u{feff} {{\"entry\" : [ {{ \"resource\" : {PATIENT} , \"fullUrl\":\"u\" }} , {{\"resource\":{BASIC}}} ] ,\n \"link\":[{{}}], \"type\":\"batch\" , \"resourceType\" : \"Bundle\" }} \n"
        ),
    ] {
        assert_eq!(show(&bundle(&source)), [PATIENT, BASIC]);
    }
}

#[test]
fn entries_without_a_resource_are_passed_over() {
    let items = bundle(&format!(
        r#"{{"resourceType":"Bundle","entry":[{{"request":{{"method":"DELETE"}}}},{{}},{{"resource":{BASIC}}}]}}"#
    ));
    assert_eq!(show(&items), [BASIC]);
    assert!(bundle(r#"{"resourceType":"Bundle"}"#).is_empty());
    assert!(bundle(r#"{"resourceType":"Bundle","entry":[]}"#).is_empty());
}

#[test]
fn what_stands_beside_a_resource_does_not_mar_it() {
    let items = bundle(&format!(
        "{{\"resourceType\":\"Bundle\",\"id\":\"\t\",\"entry\":[{{\"fullUrl\":\"\t\",\"resource\":{PATIENT},\"search\":\"\\x\"}}]}}"
    ));
    assert_eq!(show(&items), [PATIENT]);
}

#[test]
fn a_broken_entry_is_reported_and_the_next_one_is_read() {
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(130), "]".repeat(130));
    for (entry, reason) in [
        (r#"{"resource":{"id":"1"}}"#, "no resource type of FHIR R4"),
        (
            r#"{"resource":{"resourceType":"Odd"}}"#,
            "no resource type of FHIR R4",
        ),
        (r#"{"resource":null}"#, "no resource type of FHIR R4"),
        ("7", "no resource type of FHIR R4"),
        (
            r#"{"resource":{"resourceType":"Basic","id":"1","id":"2"}}"#,
            "an element stands in it twice",
        ),
        (
            &format!(r#"{{"resource":{BASIC},"resource":{BASIC}}}"#),
            "an element stands in it twice",
        ),
        (
            r#"{"resour\u0063e":{}}"#,
            "the name of an element in it is written with escapes",
        ),
        (
            &format!(r#"{{"resource":{deep}}}"#),
            "nested more than 127 levels deep",
        ),
        (
            "{\"resource\":{\"resourceType\":\"Basic\",\"x\":\"\n\"}}",
            "a string in it holds a raw control character, an invalid escape or bytes that are not UTF-8",
        ),
    ] {
        let items = bundle(&format!(
            r#"{{"resourceType":"Bundle","entry":[{{"resource":{PATIENT}}},{entry} , {{"resource":{BASIC}}}]}}"#
        ));
        assert_eq!(
            show(&items),
            [PATIENT, &format!("entry 2: {reason}"), BASIC],
            "{entry}"
        );
    }
}

#[test]
fn where_the_json_is_broken_reading_ends() {
    for entry in [
        r#"{"resource":{"resourceType":"Patient","x":01}}"#,
        r#"{"resource":{"resourceType":"Patient"]}"#,
    ] {
        let items = bundle(&format!(
            r#"{{"resourceType":"Bundle","entry":[{{"resource":{BASIC}}},{entry},{{"resource":{BASIC}}}]}}"#
        ));
        assert_eq!(
            show(&items),
            [
                BASIC,
                "entry 2: not valid JSON; nothing from here on was read"
            ]
        );
        let broken = items[1].as_ref().unwrap_err();
        assert!(broken.rest);
        assert_eq!(broken.resource_type, Some(ResourceType::Patient));
    }
}

#[test]
fn what_is_no_bundle_is_told() {
    for source in [
        "[]",
        "7",
        PATIENT,
        "{}",
        r#"{"entry":[]}"#,
        r#"{"resourceType":"Bundle","entry":{}}"#,
        r#"{"resourceType":"Bundle","resourceType":"Patient"}"#,
        r#"{"resourceType":null}"#,
    ] {
        let items = show(&bundle(source));
        assert_eq!(
            items,
            ["not a FHIR Bundle; nothing from here on was read"],
            "{source}"
        );
    }
    for source in ["", " ", "{", "\u{feff}", r#"{"resourceType":"Bundle""#] {
        let items = show(&bundle(source));
        assert_eq!(
            items,
            ["ends too early; nothing from here on was read"],
            "{source}"
        );
    }
    for source in [
        r#"{"resourceType":"Bundle"} x"#,
        r#"{"resourceType":"Bundle",}"#,
        "nope",
    ] {
        let last = bundle(source).pop().unwrap().unwrap_err();
        assert!(
            last.rest && last.reason != RecordSyntaxError::Truncated,
            "{source}"
        );
    }
    let twice = bundle(r#"{"resourceType":"Bundle","entry":[],"entry":[]}"#);
    assert_eq!(
        twice[0].as_ref().unwrap_err().reason,
        RecordSyntaxError::Duplicate
    );
}

/// What a Bundle with these members says of its next page.
fn next(members: &str, limit: usize) -> Result<Option<String>, RecordSyntaxError> {
    let mut reader = RecordReader::new(Layout::Bundle, limit);
    let source =
        format!(r#"{{"resourceType":"Bundle",{members},"entry":[{{"resource":{BASIC}}}]}}"#);
    let mut items = Vec::new();
    for piece in source.as_bytes().chunks(1000) {
        items.extend(feed(&mut reader, piece));
    }
    reader.filled(0);
    items.extend(reader.read());
    assert!(reader.is_done());
    assert_eq!(
        show(&items),
        [BASIC],
        "its link is no reason to refuse a record"
    );
    reader.next_link().map(|next| next.map(str::to_owned))
}

#[test]
fn a_bundle_tells_where_it_goes_on() {
    let limit = RecordReader::DEFAULT_LIMIT;
    for (members, expected) in [
        (r#""total":1"#, None),
        (r#""link":[]"#, None),
        (r#""link":[{"relation":"self","url":"a"},{}]"#, None),
        (
            "\"link\" : [ {\"relation\":\"self\",\"url\":\"a\"},\n {\"url\":\"b?c=\\u0064\",\"relation\":\"next\",\"id\":\"x\"}]",
            Some("b?c=d".to_owned()),
        ),
    ] {
        assert_eq!(next(members, limit), Ok(expected), "{members}");
    }
    assert_eq!(RecordReader::new(Layout::Ndjson, 9).next_link(), Ok(None));
}

#[test]
fn a_link_that_cannot_be_understood_is_not_taken_for_the_end() {
    let limit = RecordReader::DEFAULT_LIMIT;
    let one = r#"{"relation":"next","url":"a"}"#;
    let long = format!(
        r#""link":[{{"relation":"next","url":"{}"}}]"#,
        "x".repeat(70_000)
    );
    for (members, reason) in [
        (r#""link":7"#.to_owned(), RecordSyntaxError::Bundle),
        (
            r#""link":[{"relation":"next"}]"#.to_owned(),
            RecordSyntaxError::Bundle,
        ),
        (
            format!(r#""link":[{one},{one}]"#),
            RecordSyntaxError::Duplicate,
        ),
        (
            format!(r#""link":[{one}],"link":[]"#),
            RecordSyntaxError::Duplicate,
        ),
        (
            "\"link\":[{\"relation\":\"next\",\"url\":\"\t\"}]".to_owned(),
            RecordSyntaxError::Text,
        ),
        (
            format!(r#""link":{}{}"#, "[".repeat(130), "]".repeat(130)),
            RecordSyntaxError::TooDeep,
        ),
        (long.clone(), RecordSyntaxError::TooLong { limit: 65_536 }),
    ] {
        assert_eq!(next(&members, limit), Err(reason), "{members:.80}");
    }
    assert_eq!(
        next(&long, 1000),
        Err(RecordSyntaxError::TooLong { limit: 1000 })
    );
}

#[test]
fn ndjson_goes_on_at_the_next_line() {
    let source = format!(
        "\u{feff}{PATIENT}\n\n{{\"resourceType\":\n\"Basic\"}}\r\n  {BASIC}  \r\n{BASIC}{BASIC}\n{BASIC}"
    );
    assert_eq!(
        show(&read(Layout::Ndjson, source.as_bytes())),
        [
            PATIENT,
            "line 3: ends too early",
            "line 4: not valid JSON",
            BASIC,
            "line 6: not valid JSON",
            BASIC
        ]
    );
    assert!(read(Layout::Ndjson, b"").is_empty());
    let half = read(Layout::Ndjson, b"{\"resourceType\":\"Patient\",\"id\":");
    let broken = half[0].as_ref().unwrap_err();
    assert!(broken.rest && broken.resource_type == Some(ResourceType::Patient));
}

#[test]
fn a_record_over_the_limit_is_passed_over() {
    let long = format!(
        r#"{{"resourceType":"Binary","data":"{}\"]}}"}}"#,
        "x".repeat(5000)
    );
    let source = format!(
        r#"{{"signature":{long},"resourceType":"Bundle","entry":[{{"resource":{PATIENT}}},{{"resource":{long}}},{{"resource":{BASIC}}}]}}"#
    );
    for piece in [1, 7, 1000, usize::MAX] {
        let items = read_in(Layout::Bundle, 1000, source.as_bytes(), &[piece]);
        assert_eq!(
            show(&items),
            [PATIENT, "entry 2: longer than 1000 bytes", BASIC]
        );
        assert_eq!(
            items[1].as_ref().unwrap_err().resource_type,
            Some(ResourceType::Binary)
        );
        let lines = format!("{PATIENT}\n{long}\n{BASIC}");
        let items = read_in(Layout::Ndjson, 1000, lines.as_bytes(), &[piece]);
        assert_eq!(
            show(&items),
            [PATIENT, "line 2: longer than 1000 bytes", BASIC]
        );
    }
    // As long as the limit is not too long.
    let entry = r#"{"resource":{"resourceType":"Basic"}}"#;
    let source = format!(r#"{{"resourceType":"Bundle","entry":[{entry}]}}"#);
    let read = |limit| {
        show(&read_in(
            Layout::Bundle,
            limit,
            source.as_bytes(),
            &[usize::MAX],
        ))
    };
    assert_eq!(read(entry.len()), [BASIC]);
    assert_eq!(read(entry.len() - 1), ["entry 1: longer than 36 bytes"]);
}

#[test]
fn white_space_counts_towards_no_limit() {
    let blanks = " \n\r\t".repeat(100);
    let source = format!(
        r#"{{"resourceType":"Bundle"{blanks},{blanks}"entry":[{blanks}{{"resource":{BASIC}}}{blanks},{blanks}{{"resource":{PATIENT}}}{blanks}]{blanks}}}{blanks}"#
    );
    for piece in [1, 100, usize::MAX] {
        let items = read_in(Layout::Bundle, 100, source.as_bytes(), &[piece]);
        assert_eq!(show(&items), [BASIC, PATIENT]);
    }
}

#[test]
fn a_long_record_in_little_pieces_is_read_a_few_times_only() {
    let long = json!({"resourceType": "Binary", "data": "x".repeat(1 << 20)});
    let mut reader = RecordReader::new(Layout::Bundle, RecordReader::DEFAULT_LIMIT);
    let mut looks = Vec::new();
    let mut items = Vec::new();
    for piece in bundle_of(&[long]).as_bytes().chunks(100) {
        items.extend(feed(&mut reader, piece));
        looks.push(reader.worthwhile);
    }
    reader.filled(0);
    items.extend(reader.read());
    looks.dedup();
    assert_eq!(items.len(), 1);
    assert!(looks.len() < 30, "{looks:?}");
}

#[test]
fn memory_does_not_grow_with_the_source() {
    const LIMIT: usize = 4 << 20;
    let usual = json!({"resourceType": "Observation", "note": "x".repeat(3000)}).to_string();
    let long = json!({"resourceType": "Binary", "data": "x".repeat(LIMIT - 1000)}).to_string();
    let too_long = json!({"resourceType": "Binary", "data": "x".repeat(5 * LIMIT)}).to_string();
    let mut reader = RecordReader::new(Layout::Bundle, LIMIT);
    let (mut records, mut broken, mut fed, mut most) = (0_u64, 0_u64, 0, 0);
    let mut put = |reader: &mut RecordReader, piece: &[u8]| {
        fed += piece.len();
        for part in piece.chunks(WINDOW / 2) {
            for item in feed(reader, part) {
                match item {
                    Ok(_) => records += 1,
                    Err(_) => broken += 1,
                }
            }
            most = most.max(reader.buffer.capacity() + reader.batch.capacity());
        }
        (fed, most, records, broken)
    };
    put(&mut reader, br#"{"resourceType":"Bundle","entry":["#);
    let mut now = (0, 0, 0, 0);
    while now.0 < 100 << 20 {
        now = put(
            &mut reader,
            format!(r#"{{"resource":{usual}}},"#).as_bytes(),
        );
    }
    assert!(now.1 <= 4 * WINDOW, "{} bytes", now.1);
    while now.0 < 200 << 20 {
        for each in [&usual, &long, &usual, &too_long] {
            now = put(&mut reader, format!(r#"{{"resource":{each}}},"#).as_bytes());
        }
    }
    assert!(now.1 <= 4 * (LIMIT + WINDOW), "{} bytes", now.1);
    for _ in 0..1000 {
        put(
            &mut reader,
            format!(r#"{{"resource":{usual}}},"#).as_bytes(),
        );
    }
    now = put(
        &mut reader,
        format!(r#"{{"resource":{usual}}}]}}"#).as_bytes(),
    );
    let held = reader.buffer.capacity() + reader.batch.capacity();
    assert!(held <= 4 * WINDOW, "{held} bytes behind the long records");
    assert_eq!(now.2 + now.3, reader.number);
    assert!(now.3 > 3);
}

fn bundle_of(resources: &[Value]) -> String {
    let entries: Vec<Value> = (resources.iter())
        .map(|resource| json!({"fullUrl": "urn:uuid:0", "resource": resource, "request": {"method": "POST"}}))
        .collect();
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    serde_json::to_string_pretty(&bundle).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_source_reads_alike_however_it_is_cut(
        resources in prop::collection::vec(any_resource(), 0..5),
        pieces in prop::collection::vec(1..400_usize, 1..9),
        limit in 1..4000_usize,
        damage: prop::sample::Index,
        byte: u8,
    ) {
        let mut source = bundle_of(&resources).into_bytes();
        let lines: Vec<String> = resources.iter().map(Value::to_string).collect();
        let lines = lines.join("\n").into_bytes();
        prop_assert_eq!(read(Layout::Bundle, &source).len(), resources.len());
        for (layout, source) in [(Layout::Bundle, &source), (Layout::Ndjson, &lines)] {
            let items = read(layout, source);
            let values: Vec<Value> = (items.iter())
                .map(|item| serde_json::from_slice(item.as_ref().unwrap().json()).unwrap())
                .collect();
            prop_assert_eq!(&values, &resources);
            prop_assert_eq!(show(&read_in(layout, usize::MAX, source, &pieces)), show(&items));
        }
        let at = damage.index(source.len());
        source[at] = byte;
        for layout in [Layout::Bundle, Layout::Ndjson] {
            let whole = read_in(layout, limit, &source, &[usize::MAX]);
            prop_assert_eq!(show(&read_in(layout, limit, &source, &pieces)), show(&whole));
        }
    }

    #[test]
    fn a_source_cut_short_gives_what_is_whole_and_says_so(
        resources in prop::collection::vec(any_resource(), 1..4),
        end: prop::sample::Index,
    ) {
        let source = bundle_of(&resources);
        let all = show(&bundle(&source));
        let end = end.index(source.len());
        let mut cut = show(&read(Layout::Bundle, &source.as_bytes()[..end]));
        let last = cut.pop().unwrap();
        prop_assert!(last.ends_with("ends too early; nothing from here on was read"), "{}", last);
        prop_assert_eq!(&all[..cut.len()], cut);
    }

    #[test]
    fn any_bytes_are_read_without_panic_and_to_the_end(bytes: Vec<u8>, limit in 0..40_usize) {
        for layout in [Layout::Bundle, Layout::Ndjson] {
            read_in(layout, limit, &bytes, &[3]);
        }
    }
}
