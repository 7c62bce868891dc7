//! The types of SQL, and how a value of each is written.

use sqlx::TypeInfo;
use sqlx::postgres::{PgTypeInfo, PgTypeKind};

use super::csv::Shape;

/// A name as SQL has it, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The SQL that makes text of `column`, and the shape of that text. `None` for a type of which
/// nobody has said how it is written.
///
/// The database writes its values itself: what it prints of a `numeric` is exact, and none of it
/// goes through a type of ours. The session says how it prints dates and intervals.
pub(super) fn as_text(kind: &PgTypeInfo, column: &str) -> Option<(String, Shape)> {
    let plain = |sql: String| Some((sql, Shape::Text));
    match kind.kind() {
        PgTypeKind::Domain(base) => as_text(base, column),
        PgTypeKind::Enum(_) => plain(format!("{column}::text")),
        PgTypeKind::Array(element) if is_json_able(element) => {
            Some((format!("array_to_json({column})::text"), Shape::Json))
        }
        PgTypeKind::Simple => match kind.name().to_uppercase().as_str() {
            "BYTEA" => plain(format!("translate(encode({column}, 'base64'), E'\\n', '')")),
            // As text it depends on the locale.
            "MONEY" => plain(format!("{column}::numeric::text")),
            // To JSON and back is how PostgreSQL writes ISO 8601 with its T.
            "TIMESTAMP" | "TIMESTAMPTZ" => plain(format!("to_json({column}) #>> '{{}}'")),
            "JSON" | "JSONB" => Some((format!("{column}::text"), Shape::Json)),
            name if AS_THEY_ARE.contains(&name) => plain(format!("{column}::text")),
            _ => None,
        },
        _ => None,
    }
}

/// Types whose text is what one expects.
const AS_THEY_ARE: &[&str] = &[
    "BOOL", "INT2", "INT4", "INT8", "OID", "FLOAT4", "FLOAT8", "NUMERIC", "TEXT", "VARCHAR",
    "CHAR", "\"CHAR\"", "NAME", "CITEXT", "XML", "UUID", "DATE", "TIME", "TIMETZ", "INTERVAL",
    "INET", "CIDR", "MACADDR", "MACADDR8", "BIT", "VARBIT",
];

/// Whether elements of an array become JSON without loss: bytes and money would become texts that
/// look otherwise than in a column of their own.
fn is_json_able(element: &PgTypeInfo) -> bool {
    let name = element.name().to_uppercase();
    as_text(element, "").is_some() && !matches!(name.as_str(), "BYTEA" | "MONEY")
}

/// The type of a column that says when something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DateType {
    /// A whole day.
    Day,
    /// A moment.
    Moment,
}

impl DateType {
    pub(super) fn of(kind: &PgTypeInfo) -> Option<Self> {
        match kind.kind() {
            PgTypeKind::Domain(base) => Self::of(base),
            _ => match kind.name() {
                "DATE" => Some(Self::Day),
                "TIMESTAMP" | "TIMESTAMPTZ" => Some(Self::Moment),
                _ => None,
            },
        }
    }

    /// SQL for whether what ends at `column` still goes on at `$2`.
    pub(super) fn ends_after_start(self, column: &str) -> String {
        match self {
            Self::Day => format!("({column} + 1)::timestamptz > $2::text::timestamptz"),
            Self::Moment => format!("{column}::timestamptz >= $2::text::timestamptz"),
        }
    }
}
