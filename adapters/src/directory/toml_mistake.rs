//! What is wrong with a file of settings, told without what stands in it: that may be a password.

use std::fmt;

/// A mistake in a TOML file: where it is, and what. Nothing of the line itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TomlMistake {
    line: usize,
    column: usize,
    /// The key at the beginning of the line, where there is one.
    key: Option<String>,
    message: String,
}

impl TomlMistake {
    /// What the parser said of `text`.
    pub fn of(text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or_default();
        let line_begin = before.rfind('\n').map_or(0, |end| end + 1);
        let (key, _) = text[line_begin..].split_once('=').unwrap_or_default();
        let key = key.trim();
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        Self {
            key: (!key.is_empty() && key.bytes().all(bare)).then(|| key.to_owned()),
            line: before.matches('\n').count() + 1,
            column: before[line_begin..].chars().count() + 1,
            message: without_value(error.message()),
        }
    }
}

/// Leaves out the value of `invalid type: string "…", expected …`.
fn without_value(message: &str) -> String {
    let value = message.split_once(": string \"");
    match value.and_then(|(kind, rest)| Some((kind, rest.rsplit_once("\", expected ")?.1))) {
        Some((kind, expected)) => format!("{kind}: a text, expected {expected}"),
        None => message.to_owned(),
    }
}

impl fmt::Display for TomlMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            key,
            message,
        } = self;
        write!(f, "line {line}, column {column}")?;
        if let Some(key) = key {
            write!(f, " ({key})")?;
        }
        write!(f, ": {message}")
    }
}

impl std::error::Error for TomlMistake {}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct File {
        database: Option<String>,
        tables: Option<Tables>,
        workers: Option<u8>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Tables {
        queries: String,
        database_url: Option<String>,
    }

    #[test]
    fn where_and_what_is_told_and_no_value() {
        for (text, told) in [
            (
                "database = \"postgres://ehi:hunter2@db\n",
                "line 1, column ",
            ),
            ("database = postgres://ehi:hunter2@db", "line 1, column "),
            (
                "\ntables = { database_url = \"hunter2\", querries = \"x\" }",
                "line 2, column 38 (tables): unknown field `querries`",
            ),
            (
                "tables = { database_url = \"hunter2\" }",
                "missing field `queries`",
            ),
            (
                "tables = \"a\\\", expected hunter2\"",
                "line 1, column 10 (tables): invalid type: a text, expected struct Tables",
            ),
            ("workers = \"hunter2\"", "invalid type: a text, expected u8"),
            ("password = \"hunter2\"", "unknown field `password`"),
        ] {
            let error = toml::from_str::<File>(text).unwrap_err();
            let mistake = TomlMistake::of(text, &error).to_string();
            assert!(mistake.contains(told), "{mistake}");
            assert!(!mistake.contains("hunter2"), "{mistake}");
        }
    }
}
