//! Codings, looked up in the raw JSON of an element.

use std::borrow::Cow;

use memchr::memchr2;

/// A FHIR `Coding`, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coding<'a> {
    /// The code system; empty where it is not named.
    pub system: Cow<'a, str>,
    /// The code within it.
    pub code: Cow<'a, str>,
}

/// Every coding in an element, however deep: each object with a `code` that is a text.
///
/// `raw` is a value of a [`Record`](super::Record), so it is known to be JSON. It is walked
/// through, not parsed: a number too large for any type, or a name that stands twice, hides
/// nothing. Where an object has several codes or systems, every combination is told.
pub fn codings(raw: &str) -> Vec<Coding<'_>> {
    let mut walk = Walk::default();
    let bytes = raw.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let Some(end) = string_end(bytes, at) else {
                    break;
                };
                if let Some(text) = raw.get(at..end) {
                    walk.text(text);
                }
                at = end + 1;
            }
            b'{' | b'[' => walk.open(byte == b'{'),
            b'}' | b']' => walk.close(),
            b',' => walk.awaits_name = walk.containers.last() == Some(&true),
            _ => {}
        }
    }
    walk.found
}

/// Where the string that begins at `at`, behind its quote, has its closing quote.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// What the last name says about the text behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Name {
    System,
    Code,
    #[default]
    Other,
}

#[derive(Debug, Default)]
struct Walk<'a> {
    /// The containers around the cursor; `true` for objects.
    containers: Vec<bool>,
    /// Whether the next text is the name of an element.
    awaits_name: bool,
    name: Name,
    /// Systems and codes of the objects around the cursor, with how deep they stand.
    texts: Vec<(usize, Name, Cow<'a, str>)>,
    found: Vec<Coding<'a>>,
}

impl<'a> Walk<'a> {
    fn open(&mut self, object: bool) {
        self.containers.push(object);
        self.awaits_name = object;
        self.name = Name::Other;
    }

    fn close(&mut self) {
        let depth = self.containers.len();
        let own = (self.texts.iter())
            .rposition(|(other, ..)| *other < depth)
            .map_or(0, |before| before + 1);
        let named = |wanted| {
            (self.texts.get(own..).unwrap_or_default().iter())
                .filter(move |(_, name, _)| *name == wanted)
                .map(|(.., text)| text)
        };
        for code in named(Name::Code) {
            let before = self.found.len();
            for system in named(Name::System) {
                self.found.push(Coding {
                    system: system.clone(),
                    code: code.clone(),
                });
            }
            if self.found.len() == before {
                self.found.push(Coding {
                    system: Cow::Borrowed(""),
                    code: code.clone(),
                });
            }
        }
        self.texts.truncate(own);
        self.containers.pop();
        self.awaits_name = false;
    }

    fn text(&mut self, raw: &'a str) {
        if self.awaits_name {
            self.awaits_name = false;
            self.name = match unescaped(raw).as_ref() {
                "system" => Name::System,
                "code" => Name::Code,
                _ => Name::Other,
            };
        } else if self.name != Name::Other && self.containers.last() == Some(&true) {
            let depth = self.containers.len();
            self.texts.push((depth, self.name, unescaped(raw)));
        }
    }
}

/// A string without its escapes. One that is broken stays as it is.
fn unescaped(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    serde_json::from_str(&format!("\"{raw}\"")).map_or(Cow::Borrowed(raw), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(raw: &str) -> Vec<(String, String)> {
        (codings(raw).into_iter())
            .map(|found| (found.system.into_owned(), found.code.into_owned()))
            .collect()
    }

    fn pair(system: &str, code: &str) -> (String, String) {
        (system.to_owned(), code.to_owned())
    }

    #[test]
    fn codings_are_found_in_every_shape() {
        let coding = r#"{"system":"s","code":"c","display":"d"}"#;
        for raw in [
            coding.to_owned(),
            format!("[{coding}]"),
            format!(r#"{{"coding":[{coding}],"text":"t"}}"#),
            format!(r#"[{{"coding":[{coding}]}}]"#),
            format!(r#"[{{"sequence":1E400,"code":{{"coding":[{coding}]}}}}]"#),
        ] {
            assert_eq!(pairs(&raw), [pair("s", "c")], "{raw}");
        }
        for raw in ["7", "\"x\"", "[7]", r#"{"coding":7}"#, r#"{"code":["c"]}"#] {
            assert_eq!(pairs(raw), [], "{raw}");
        }
    }

    #[test]
    fn nothing_hides_a_coding() {
        assert_eq!(pairs(r#"{"code":"c"}"#), [pair("", "c")]);
        assert_eq!(
            pairs(r#"{"c\u006fde":"\u0063","system":"a\/b"}"#),
            [pair("a/b", "c")]
        );
        assert_eq!(
            pairs(r#"{"code":"1","code":"2","system":"s"}"#),
            [pair("s", "1"), pair("s", "2")]
        );
        assert_eq!(
            pairs(r#"{"system":"s","extension":[{"code":"x","system":"t"}],"code":"c"}"#),
            [pair("t", "x"), pair("s", "c")]
        );
        assert_eq!(
            pairs(r#"{"code":"a\"b\\","display":"{\"code\":\"no\"}"}"#),
            [pair("", "a\"b\\")]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_walked_through(text: String) {
            codings(&text);
        }

        #[test]
        fn a_coding_is_found_as_it_was_written(system: String, code: String) {
            let raw = serde_json::json!([{"a": {"system": system, "code": code}}]).to_string();
            prop_assert_eq!(pairs(&raw), [pair(&system, &code)]);
        }
    }
}
