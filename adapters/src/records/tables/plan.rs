//! Queries, checked against the database: what is run, and what its columns mean.

use std::collections::HashSet;

use ehi_core::export::{AttachmentName, Protection};
use ehi_core::ports::{ColumnDescription, DocumentFormat, FormatDescription};
use sqlx::postgres::{PgConnection, PgStatement, PgTypeInfo};
use sqlx::{AssertSqlSafe, Column as _, Either, Executor, SqlSafeStr, Statement, TypeInfo};

use super::TablesError;
use super::column::{DateType, as_text, quoted};
use super::csv::Shape;
use super::definition::{PatientQuery, Query, statement};
use super::error::advice;

/// A query that can be run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) table: String,
    pub(super) file_name: AttachmentName,
    pub(super) protections: Vec<Protection>,
    /// Every column as text. `$1` is the patient; where it has dates, `$2` and `$3` are the time
    /// that was asked for.
    pub(super) sql: String,
    pub(super) has_dates: bool,
    pub(super) shapes: Vec<Shape>,
    pub(super) dictionary: FormatDescription,
}

impl Plan {
    /// Prepares a query, and holds it against its dictionary.
    pub(super) async fn check(
        query: &Query,
        connection: &mut PgConnection,
    ) -> Result<Self, TablesError> {
        let wrong = |problem: String| query.wrong(problem);
        let file_name = (query.file_name()).ok_or_else(|| wrong("its name is none".to_owned()))?;
        let bound = query.bound_sql().map_err(wrong)?;
        let prepared = prepare(connection, &bound, wrong).await?;
        let parameters = match prepared.parameters() {
            Some(Either::Left(types)) => types.len(),
            Some(Either::Right(count)) => count,
            None => 0,
        };
        if parameters != 1 {
            return Err(wrong(
                "its SQL does not use $patient, so it would export everybody's rows: compare it with the patient's id".to_owned(),
            ));
        }
        let columns = columns_of(&prepared, wrong)?;
        if let Some(stray) =
            (query.columns.keys()).find(|name| !columns.iter().any(|(column, _)| column == *name))
        {
            return Err(wrong(format!(
                "the dictionary explains a column '{stray}' that the query does not return: remove it, or correct its name"
            )));
        }
        let (mut expressions, mut shapes, mut formats) = (Vec::new(), Vec::new(), Vec::new());
        for (name, kind) in &columns {
            let meaning = query
                .columns
                .get(name)
                .filter(|text| !text.trim().is_empty());
            let meaning = meaning.ok_or_else(|| {
                wrong(format!(
                    "its column '{name}' is not explained: say under [query.columns] what it means"
                ))
            })?;
            let sql_type = type_name(connection, kind).await?;
            let (sql, shape) = as_text(kind, &format!("q.{}", quoted(name))).ok_or_else(|| {
                wrong(format!(
                    "its column '{name}' has the type {sql_type}, of which nobody has said how it is written: cast it in the SQL, such as {name}::text"
                ))
            })?;
            expressions.push(sql);
            shapes.push(shape);
            formats.push(ColumnDescription {
                name: name.clone(),
                data_type: sql_type,
                meaning: meaning.clone(),
            });
        }
        let filter = date_filter(query, &columns).map_err(wrong)?;
        // The line breaks keep a comment at the end of the SQL from going on.
        let sql = format!(
            "SELECT {} FROM (\n{bound}\n) AS q{filter}",
            expressions.join(", ")
        );
        prepare(connection, &sql, wrong).await?;
        Ok(Self {
            table: query.name.clone(),
            file_name,
            protections: (query.protected_by.iter())
                .map(|&key| Protection::Authorization(key))
                .collect(),
            sql,
            has_dates: query.dates.is_some(),
            shapes,
            dictionary: FormatDescription {
                format: DocumentFormat {
                    code: query.format.code.clone(),
                    display: query.format.display.clone(),
                },
                part: query.part,
                document_type: query.document_type.clone(),
                description: query.description.clone(),
                columns: formats,
            },
        })
    }

    /// The names in the header.
    pub(super) fn header(&self) -> impl Iterator<Item = &str> {
        self.dictionary
            .columns
            .iter()
            .map(|column| column.name.as_str())
    }
}

/// Checks the query for patients; returns it as one whose columns are text.
pub(super) async fn check_patient(
    query: &PatientQuery,
    connection: &mut PgConnection,
) -> Result<String, TablesError> {
    let wrong = TablesError::Patient;
    if query.sql.contains("$patient") {
        return Err(wrong(
            "it lists everybody, so leave $patient out: it is filtered by what is asked".to_owned(),
        ));
    }
    let sql = statement(&query.sql);
    let prepared = prepare(connection, sql, wrong).await?;
    let columns = columns_of(&prepared, wrong)?;
    let mut names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if names != ["birth_date", "id", "name"] {
        return Err(wrong(
            "its columns have to be id, name and birth_date (NULL where it is not known)"
                .to_owned(),
        ));
    }
    let sql = format!(
        "SELECT q.id::text AS id, q.name::text AS name, q.birth_date::text AS birth_date FROM (\n{sql}\n) AS q"
    );
    prepare(connection, &sql, wrong).await?;
    Ok(sql)
}

async fn prepare(
    connection: &mut PgConnection,
    sql: &str,
    wrong: impl FnOnce(String) -> TablesError,
) -> Result<PgStatement, TablesError> {
    let sql = AssertSqlSafe(sql.to_owned()).into_sql_str();
    connection.prepare(sql).await.map_err(|error| match &error {
        sqlx::Error::Database(database) => wrong(advice(&**database)),
        _ => TablesError::Database(error),
    })
}

type Columns = Vec<(String, PgTypeInfo)>;

fn columns_of(
    prepared: &PgStatement,
    wrong: impl FnOnce(String) -> TablesError,
) -> Result<Columns, TablesError> {
    let columns: Columns = (prepared.columns().iter())
        .map(|column| (column.name().to_owned(), column.type_info().clone()))
        .collect();
    let mut seen = HashSet::new();
    match columns.iter().find(|(name, _)| !seen.insert(name)) {
        _ if columns.is_empty() => Err(wrong("it returns no columns: SELECT some".to_owned())),
        Some((twice, _)) => Err(wrong(format!(
            "two of its columns are called '{twice}': rename one with AS"
        ))),
        None => Ok(columns),
    }
}

/// The type's name as SQL has it.
async fn type_name(
    connection: &mut PgConnection,
    kind: &PgTypeInfo,
) -> Result<String, TablesError> {
    let Some(oid) = kind.oid() else {
        return Ok(kind.name().to_lowercase());
    };
    sqlx::query_scalar("SELECT format_type($1, NULL)")
        .bind(oid)
        .fetch_one(connection)
        .await
        .map_err(TablesError::Database)
}

/// What leaves out the rows of other times.
fn date_filter(query: &Query, columns: &Columns) -> Result<String, String> {
    let Some(dates) = &query.dates else {
        return Ok(String::new());
    };
    let find = |wanted: &str| {
        let column = columns.iter().find(|(name, _)| name == wanted);
        column
            .and_then(|(_, kind)| DateType::of(kind))
            .ok_or_else(|| {
                format!("its dates name '{wanted}', which is no column of type date or timestamp")
            })
    };
    find(&dates.from)?;
    let last = find(dates.to())?;
    let from = format!("q.{}", quoted(&dates.from));
    let to = format!("q.{}", quoted(dates.to()));
    Ok(format!(
        "\nWHERE ($2::text IS NULL OR {to} IS NULL OR {}) \
         AND ($3::text IS NULL OR {from} IS NULL OR {from}::timestamptz <= $3::text::timestamptz)",
        last.ends_after_start(&to)
    ))
}
