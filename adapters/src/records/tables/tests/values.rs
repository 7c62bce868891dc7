//! What becomes of values.

use super::*;

/// A value of SQL, its type as the dictionary tells it, and its field.
const VALUES: &[(&str, &str, &str)] = &[
    ("true", "boolean", "true"),
    ("false", "boolean", "false"),
    ("(-32768)::smallint", "smallint", "-32768"),
    ("2147483647", "integer", "2147483647"),
    ("9223372036854775807", "bigint", "9223372036854775807"),
    ("4294967295::oid", "oid", "4294967295"),
    ("0.1::real", "real", "0.1"),
    (
        "0.1::float8 + 0.2",
        "double precision",
        "0.30000000000000004",
    ),
    ("'NaN'::float8", "double precision", "NaN"),
    (
        "12345678901234567890.12345678901234567890",
        "numeric",
        "12345678901234567890.12345678901234567890",
    ),
    ("1.500::numeric(6,3)", "numeric", "1.500"),
    ("'NaN'::numeric", "numeric", "NaN"),
    ("1234.5::money", "money", "1234.50"),
    ("'ö\u{1F600}'::text", "text", "ö\u{1F600}"),
    (
        "'a,\"b\"'::varchar(9)",
        "character varying",
        "\"a,\"\"b\"\"\"",
    ),
    ("'ab'::char(4)", "character", "ab"),
    ("'a'::\"char\"", "\"char\"", "a"),
    ("'n'::name", "name", "n"),
    ("E'1\\r\\n2'", "text", "\"1\r\n2\""),
    ("''", "text", "\"\""),
    ("NULL::text", "text", ""),
    ("NULL::int", "integer", ""),
    (
        "'6c5d9ca9-54d7-42f5-bfae-a7c19cd217f2'::uuid",
        "uuid",
        "6c5d9ca9-54d7-42f5-bfae-a7c19cd217f2",
    ),
    ("DATE '2019-05-03'", "date", "2019-05-03"),
    ("TIME '10:30:00.5'", "time without time zone", "10:30:00.5"),
    ("TIMETZ '10:30:00+02'", "time with time zone", "10:30:00+02"),
    (
        "TIMESTAMP '2019-05-03 10:30:00.25'",
        "timestamp without time zone",
        "2019-05-03T10:30:00.25",
    ),
    (
        "TIMESTAMPTZ '2019-05-03 10:30:00+02'",
        "timestamp with time zone",
        "2019-05-03T08:30:00+00:00",
    ),
    ("INTERVAL '1 day 2 hours'", "interval", "P1DT2H"),
    ("'\\x00ff10'::bytea", "bytea", "AP8Q"),
    ("''::bytea", "bytea", "\"\""),
    (
        "repeat('a', 100)::bytea",
        "bytea",
        "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYQ==",
    ),
    (
        "'{\"a\" : 1.10, \"b c\": [ 1 ]}'::json",
        "json",
        "\"{\"\"a\"\":1.10,\"\"b c\"\":[1]}\"",
    ),
    (
        "'{\"a\": \"x y\"}'::jsonb",
        "jsonb",
        "\"{\"\"a\"\":\"\"x y\"\"}\"",
    ),
    ("'null'::jsonb", "jsonb", "null"),
    ("ARRAY[1, NULL, 3]", "integer[]", "\"[1,null,3]\""),
    (
        "ARRAY['a b', '\"']",
        "text[]",
        "\"[\"\"a b\"\",\"\"\\\"\"\"\"]\"",
    ),
    (
        "ARRAY[1.10, 12345678901234567890.1]",
        "numeric[]",
        "\"[1.10,12345678901234567890.1]\"",
    ),
    (
        "ARRAY[DATE '2019-05-03']",
        "date[]",
        "\"[\"\"2019-05-03\"\"]\"",
    ),
    ("'{}'::int[]", "integer[]", "[]"),
    ("'10.0.0.0/8'::cidr", "cidr", "10.0.0.0/8"),
    ("'10.0.0.1'::inet", "inet", "10.0.0.1/32"),
    (
        "'08:00:2b:01:02:03'::macaddr",
        "macaddr",
        "08:00:2b:01:02:03",
    ),
    ("B'101'", "bit", "101"),
    ("'<a/>'::xml", "xml", "<a/>"),
    ("'calm'::mood", "mood", "calm"),
    ("ARRAY['calm'::mood]", "mood[]", "\"[\"\"calm\"\"]\""),
    ("'12'::code", "text", "12"),
];

#[tokio::test]
async fn every_type_is_written_exactly_and_named_in_the_dictionary() {
    let database = TestDatabase::create().await;
    database
        .run("CREATE TYPE mood AS ENUM ('calm'); CREATE DOMAIN code AS text CHECK (value <> '')")
        .await;
    let names: Vec<String> = (0..VALUES.len()).map(|n| format!("c{n}")).collect();
    let columns: Vec<String> = (VALUES.iter().zip(&names))
        .map(|((sql, ..), name)| format!("{sql} AS {name}"))
        .collect();
    let sql = format!("SELECT {} WHERE $patient = 'a-b.c'", columns.join(", "));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let source = open(&database, &query(&sql, &names)).await.unwrap();

    let dictionary = &source.formats()[0];
    assert_eq!(
        (
            dictionary.format.code.as_str(),
            dictionary.format.display.as_str()
        ),
        ("table", "Table")
    );
    assert_eq!(dictionary.description, "A table");
    for (column, (sql, kind, _)) in dictionary.columns.iter().zip(VALUES) {
        assert_eq!(&column.data_type, kind, "{sql}");
        assert_eq!(column.meaning, format!("what {} means", column.name));
    }
    let fields: Vec<&str> = VALUES.iter().map(|(.., field)| *field).collect();
    let expected = format!("{}\r\n{}\r\n", names.join(","), fields.join(","));
    let found = all(&source, "a-b.c", &everything()).await;
    assert_eq!(found, [("t.csv".to_owned(), expected)]);
}

#[tokio::test]
async fn a_type_nobody_has_told_how_to_write_is_refused_at_the_start() {
    let database = TestDatabase::create().await;
    database.run("CREATE TYPE pair AS (a int, b int)").await;
    for value in [
        "point(1, 2)",
        "int4range(1, 5)",
        "ROW(1, 2)::pair",
        "to_tsvector('a')",
        "ARRAY['x'::bytea]",
        "ARRAY[point(1, 2)]",
    ] {
        let file = query(
            &format!("SELECT {value} AS odd WHERE $patient <> ''"),
            &["odd"],
        );
        let error = open(&database, &file).await.unwrap_err().to_string();
        assert!(
            error.contains("'t'") && error.contains("'odd'") && error.contains("odd::text"),
            "{error}"
        );
        let file = query(
            &format!("SELECT ({value})::text AS odd WHERE $patient <> ''"),
            &["odd"],
        );
        assert!(open(&database, &file).await.is_ok(), "{value}");
    }
}

#[tokio::test]
async fn names_of_columns_may_be_anything() {
    let database = TestDatabase::create().await;
    let sql = "SELECT 1 AS \"a \"\"b\"\", c\", 2 AS \"Größe\" WHERE $patient <> '' -- the end";
    let source = open(&database, &query(sql, &["a \"b\", c", "Größe"]))
        .await
        .unwrap();
    let found = all(&source, "p", &everything()).await;
    assert_eq!(found[0].1, "\"a \"\"b\"\", c\",Größe\r\n1,2\r\n");
}
