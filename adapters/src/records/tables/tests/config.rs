//! What is wrong with the file of queries is told at the start, with what to do.

use super::*;

fn refused(file: &str) -> String {
    TableQueries::parse(file).unwrap_err().to_string()
}

#[test]
fn mistakes_in_the_file_are_told() {
    let good = query("SELECT 1 AS a WHERE $patient = ''", &["a"]);
    assert!(TableQueries::parse(&good).is_ok());
    let with = |from: &str, to: &str| good.replace(from, to);
    for (file, told) in [
        (String::new(), "[[query]]"),
        (with("sql", "sequel"), "sequel"),
        (with("billing", "bills"), "bills"),
        (with("'t'", "'../t'"), "'../t' cannot be used: its name"),
        (with("'t'", "''"), "its name"),
        (with("'table'", "' '"), "code"),
        (format!("{good}\n{good}"), "rename one"),
        (
            format!("{good}\n{}", with("'t'", "'u'")),
            "a code of its own",
        ),
        (
            with("$patient", "$1"),
            "$1: the only placeholder is $patient",
        ),
        (with("$patient", "$patients"), "$patients"),
        (with("$patient", "$body$x$body$"), "$body"),
        (format!("[limits]\nconnections = 0\n{good}"), "1 to 86400"),
        (format!("[limits]\nmemory = 1\n{good}"), "memory"),
        (
            with(
                "sql",
                "type = { system = 'loinc', code = '1', display = 'x' }\nsql",
            ),
            "http://loinc.org",
        ),
        (with("sql", "protected_by = ['hivv']\nsql"), "hivv"),
    ] {
        let error = refused(&file);
        assert!(error.contains(told), "{error}");
    }
}

#[tokio::test]
async fn a_query_that_does_not_fit_the_database_is_named_with_what_to_do() {
    let database = TestDatabase::create().await;
    database
        .run("CREATE TABLE visits (id int, note text)")
        .await;
    let dated = |column: &str| {
        query(
            "SELECT id, note FROM visits WHERE note = $patient",
            &["id", "note"],
        )
        .replace("sql =", &format!("dates = {{ from = '{column}' }}\nsql ="))
    };
    for (file, told) in [
        (
            query("SELECT note FROM visit WHERE note = $patient", &["note"]),
            "\"visit\" does not exist",
        ),
        (
            query("SELECT id FROM visits WHERE id = $patient", &["id"]),
            "$patient::integer",
        ),
        (
            query("SELECT id FROM visits -- $patient", &["id"]),
            "everybody's rows",
        ),
        (
            query("SELECT id, '$patient' AS s FROM visits", &["id", "s"]),
            "everybody's rows",
        ),
        (
            query("SELECT id, note FROM visits WHERE note = $patient", &["id"]),
            "'note' is not explained",
        ),
        (
            query(
                "SELECT id FROM visits WHERE note = $patient",
                &["id", "old"],
            ),
            "'old' that the query does not return",
        ),
        (
            query(
                "SELECT id, note AS id FROM visits WHERE note = $patient",
                &["id"],
            ),
            "two of its columns",
        ),
        (query("SELECT WHERE $patient = ''", &[]), "no columns"),
        (
            query(
                "DELETE FROM visits WHERE note = $patient RETURNING id",
                &["id"],
            ),
            "syntax error",
        ),
        (
            query("SELECT 1 AS a WHERE $patient = ''; SELECT 2", &["a"]),
            "multiple commands",
        ),
        (
            query(
                "SELECT 1 AS a WHERE $patient = '') AS q; DROP TABLE visits; --",
                &["a"],
            ),
            "syntax error",
        ),
        (dated("id"), "'id', which is no column of type date"),
        (dated("when"), "'when', which is no column"),
        (
            format!(
                "[patient]\nsql = 'SELECT id FROM visits'\n{}",
                query("SELECT 1 AS a WHERE $patient = ''", &["a"])
            ),
            "id, name and birth_date",
        ),
        (
            format!(
                "[patient]\nsql = 'SELECT $patient AS id'\n{}",
                query("SELECT 1 AS a WHERE $patient = ''", &["a"])
            ),
            "leave $patient out",
        ),
    ] {
        let error = open(&database, &file).await.unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        assert!(
            error.contains("'t'") || error.contains("[patient]"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_semicolon_a_comment_and_a_cast_are_fine() {
    let database = TestDatabase::create().await;
    let sql = "WITH one AS (SELECT 7 AS id)\nSELECT id FROM one -- $patient too\n WHERE id = $patient::integer AND $patient <> '';\n";
    let source = open(&database, &query(sql, &["id"])).await.unwrap();
    assert_eq!(all(&source, "7", &everything()).await[0].1, "id\r\n7\r\n");
    assert_eq!(all(&source, "8", &everything()).await.len(), 0);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_told_without_its_password() {
    let file = format!(
        "[limits]\nconnect_seconds = 1\n{}",
        query("SELECT 1 AS a WHERE $patient = ''", &["a"])
    );
    let queries = TableQueries::parse(&file).unwrap();
    for url in [
        "postgres://u:geheim@localhost/x?host=/nonexistent",
        "postgres://u:geheim@127.0.0.1:1/x",
        "mysql://u:geheim@x",
    ] {
        let error = TableDocuments::connect(&url.to_owned().into(), &queries)
            .await
            .unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(told.contains("URL") && !told.contains("geheim"), "{told}");
    }
}
