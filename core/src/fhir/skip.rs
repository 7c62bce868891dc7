//! Passing over a JSON value without keeping it, however long it is.

use memchr::memchr2;

/// Finds the end of one JSON value over any number of pieces of its source.
///
/// Looks at brackets and strings only. It is for values that are given up anyway.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Skipper {
    depth: u64,
    in_string: bool,
    /// Number, `true`, `false` or `null` outside any container.
    in_word: bool,
    escaped: bool,
}

impl Skipper {
    /// Goes on with the next bytes. How many belong to the value, if it ends among them.
    pub(super) fn skip(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.escaped {
                self.escaped = false;
                at += 1;
                continue;
            }
            if self.in_string {
                at += memchr2(b'"', b'\\', &bytes[at..])?;
                self.escaped = bytes[at] == b'\\';
                self.in_string = self.escaped;
                at += 1;
                if !self.in_string && self.depth == 0 {
                    return Some(at);
                }
                continue;
            }
            let closing = matches!(byte, b'}' | b']');
            if self.depth == 0 && (closing || byte == b',' || byte.is_ascii_whitespace()) {
                if self.in_word {
                    return Some(at);
                }
                // Only white space can stand in front of a value; the rest is for the caller.
                if !byte.is_ascii_whitespace() {
                    return Some(at);
                }
            }
            at += 1;
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                _ if closing => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at);
                    }
                }
                _ => self.in_word |= self.depth == 0 && !byte.is_ascii_whitespace(),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_where_it_ends_however_it_is_cut() {
        for value in [
            r#"{"a":[1,{"b":"}]\"\\"}],"c":{}}"#,
            r#"["\\","]"]"#,
            r#""a\"b\\""#,
            "-1.5e3",
            "true",
            " \n {}",
        ] {
            let text = format!(r#"{value},{{"next":1}}]"#);
            for cut in 0..=value.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                let mut skipper = Skipper::default();
                let end = skipper
                    .skip(head)
                    .or_else(|| skipper.skip(tail).map(|end| cut + end));
                assert_eq!(end, Some(value.len()), "{value} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_value_without_end_does_not_end() {
        for text in ["", "{", "[[]", "\"abc", "\"\\\"", "12"] {
            assert_eq!(Skipper::default().skip(text.as_bytes()), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_skipped_without_panic(bytes: Vec<u8>) {
            let _ = Skipper::default().skip(&bytes);
        }
    }
}
