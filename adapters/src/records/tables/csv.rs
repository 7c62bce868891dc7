//! Rows as CSV: RFC 4180, UTF-8, with NULL and the empty text kept apart.

use bytes::{BufMut, BytesMut};

/// How a value gets into its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// As the database writes it.
    Text,
    /// JSON, without the white space between its tokens.
    Json,
}

/// Writes one field, with the comma in front unless it is the first.
///
/// NULL is nothing at all, the empty text is `""`. A row of a single NULL is an empty line, which
/// some readers pass over; RFC 4180 has no other way to write it.
pub(super) fn field(into: &mut BytesMut, is_first: bool, shape: Shape, value: Option<&str>) {
    if !is_first {
        into.put_u8(b',');
    }
    let Some(value) = value else { return };
    match shape {
        Shape::Json => text(into, &compact(value)),
        Shape::Text => text(into, value),
    }
}

/// Ends a row.
pub(super) fn end_row(into: &mut BytesMut) {
    into.put_slice(b"\r\n");
}

fn text(into: &mut BytesMut, value: &str) {
    let special = |byte: u8| matches!(byte, b'"' | b',' | b'\r' | b'\n');
    if !value.is_empty() && !value.bytes().any(special) {
        into.put_slice(value.as_bytes());
        return;
    }
    into.put_u8(b'"');
    for (index, piece) in value.split('"').enumerate() {
        if index > 0 {
            into.put_slice(b"\"\"");
        }
        into.put_slice(piece.as_bytes());
    }
    into.put_u8(b'"');
}

/// JSON without white space outside its strings. Numbers stay as they are written.
fn compact(json: &str) -> String {
    let mut compact = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string {
            in_string = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
        } else if c == '"' {
            in_string = true;
        } else if c.is_ascii_whitespace() {
            continue;
        }
        compact.push(c);
    }
    compact
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(fields: &[Option<&str>]) -> String {
        let mut bytes = BytesMut::new();
        for (index, value) in fields.iter().enumerate() {
            field(&mut bytes, index == 0, Shape::Text, *value);
        }
        end_row(&mut bytes);
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn null_is_nothing_and_the_empty_text_is_quoted() {
        assert_eq!(line(&[None, Some(""), Some("a"), None]), ",\"\",a,\r\n");
    }

    #[test]
    fn what_would_end_a_field_is_quoted() {
        assert_eq!(
            line(&[
                Some("a,b"),
                Some("say \"hi\""),
                Some("1\n2"),
                Some("\r"),
                Some(" ö ")
            ]),
            "\"a,b\",\"say \"\"hi\"\"\",\"1\n2\",\"\r\", ö \r\n"
        );
    }

    #[test]
    fn json_loses_only_its_white_space() {
        for (json, short) in [
            (
                r#"{"a": [1.10, 2] , "b c": "x \" y\\" , "d" : " "}"#,
                r#"{"a":[1.10,2],"b c":"x \" y\\","d":" "}"#,
            ),
            ("[ ]", "[]"),
            ("\"\\\\\" ", "\"\\\\\""),
        ] {
            assert_eq!(compact(json), short);
        }
    }

    proptest! {
        #[test]
        fn a_reader_of_csv_reads_what_was_written(
            rows in prop::collection::vec(prop::collection::vec(prop::option::of("(\\PC|[\"\\r\\n,])*"), 2..5), 1..9),
        ) {
            let written: String = rows.iter().map(|row| {
                line(&row.iter().map(Option::as_deref).collect::<Vec<_>>())
            }).collect();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(written.as_bytes());
            let read: Vec<Vec<String>> = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
            let expected: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|field| field.clone().unwrap_or_default()).collect()).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn compact_json_says_the_same(text in "\\PC*", numbers in prop::collection::vec(any::<i64>(), 0..5)) {
            let value = serde_json::json!({"a b": [text, numbers], "c": {" ": null}});
            let short = compact(&serde_json::to_string_pretty(&value).unwrap());
            prop_assert_eq!(short, value.to_string());
        }
    }
}
