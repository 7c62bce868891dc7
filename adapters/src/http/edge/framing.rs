//! Where one request ends and the next begins, read more strictly than the parser does.
//!
//! When a proxy and the server behind it disagree about that, one request can be smuggled inside
//! another. So whatever can be read in two ways is refused, even where RFC 9112 would let a server
//! choose: line ends other than CRLF, a length given twice or in two ways, other codings than
//! `chunked`.
//!
//! Source: RFC 9112 sections 2.2, 3, 5, 6 and 11.2.

/// Follows the bytes of a connection from request to request.
#[derive(Debug, Default)]
pub struct Framing(Place);

/// What can be read in two ways, or not at all. The parser is not to see this byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Its place in what was read last.
    pub at: usize,
}

#[derive(Debug)]
enum Place {
    Head(Head),
    /// So many bytes of a body are to come.
    Body(u64),
    /// A chunked body. The connection ends with its request, so that nothing can follow unseen.
    Last,
}

impl Default for Place {
    fn default() -> Self {
        Self::Head(Head::default())
    }
}

/// How much of a line is kept: more than the lines that matter have.
const KEPT: usize = 64;

/// The head of a request as far as it came.
#[derive(Debug, Default)]
struct Head {
    /// The beginning of the line that is being read.
    line: Vec<u8>,
    /// Whether the last byte was a CR.
    cr: bool,
    /// Whether the request line was read.
    begun: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    /// Follows what was read.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.0 {
                Place::Last => return Ok(()),
                Place::Body(left) => {
                    let here = (bytes.len() - at) as u64;
                    let taken = here.min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.0 = Place::default();
                    }
                    at = if taken == here {
                        bytes.len()
                    } else {
                        // Less than what is here, so it fits.
                        at + usize::try_from(taken).unwrap_or(usize::MAX)
                    };
                }
                Place::Head(head) => {
                    let next = head.read(bytes[at]).map_err(|Refused| Malformed { at })?;
                    if let Some(next) = next {
                        self.0 = next;
                    }
                    at += 1;
                }
            }
        }
        Ok(())
    }
}

struct Refused;

impl Head {
    /// Reads a byte. What comes next, once the head is over.
    fn read(&mut self, byte: u8) -> Result<Option<Place>, Refused> {
        match (self.cr, byte) {
            (true, b'\n') => {
                self.cr = false;
                return self.end_line();
            }
            (true, _) | (false, b'\n' | b'\0') => return Err(Refused),
            (false, b'\r') => self.cr = true,
            (false, byte) => {
                if self.line.len() <= KEPT {
                    self.line.push(byte);
                }
            }
        }
        Ok(None)
    }

    fn end_line(&mut self) -> Result<Option<Place>, Refused> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            // Empty lines before a request are to be ignored.
            return if self.begun { self.end() } else { Ok(None) };
        }
        if !self.begun {
            self.begun = true;
            return Ok(None);
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (name, value) = match colon {
            Some(colon) => (&line[..colon], line[colon + 1..].trim_ascii()),
            // A long name; a line without a name is the parser's to refuse.
            None => (&line[..], &[][..]),
        };
        // Covers a line that goes on with the one before, and a space before the colon.
        if name.iter().any(u8::is_ascii_whitespace) {
            return Err(Refused);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = content_length(value).filter(|_| line.len() <= KEPT);
            let once = self.length.replace(length.ok_or(Refused)?);
            if once.is_some() {
                return Err(Refused);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let once = !std::mem::replace(&mut self.chunked, true);
            if !once || line.len() > KEPT || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refused);
            }
        }
        Ok(None)
    }

    fn end(&self) -> Result<Option<Place>, Refused> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Refused),
            (None, true) => Ok(Some(Place::Last)),
            (None | Some(0), false) => Ok(Some(Place::default())),
            (Some(length), false) => Ok(Some(Place::Body(length))),
        }
    }
}

/// Digits, and nothing else: no sign, no list.
fn content_length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits)?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many bytes pass.
    fn passes(bytes: &[u8]) -> usize {
        match Framing::default().read(bytes) {
            Ok(()) => bytes.len(),
            Err(Malformed { at }) => at,
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 2\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: \r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
        ] {
            assert!(passes(head.as_bytes()) < head.len(), "{head:?}");
        }
        let padded = format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding:{}chunked\r\n\r\n",
            " ".repeat(99)
        );
        assert!(passes(padded.as_bytes()) < padded.len());
    }

    #[test]
    fn what_comes_after_a_body_is_looked_at_and_a_body_is_not() {
        let good = "\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length:  3 \r\n\r\n\n\0\rGET / HTTP/1.1\r\n\r\n";
        assert_eq!(passes(good.as_bytes()), good.len());
        let bad = format!("{good}GET / HTTP/1.1\n\n");
        assert_eq!(passes(bad.as_bytes()), bad.len() - 2);
        let chunked =
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\n\n\n\n\r\n0\r\n\r\n";
        assert_eq!(passes(chunked.as_bytes()), chunked.len());
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "GET / HTTP/1.1\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
                    "\r\n", "\n", "\r", "hello", "X: y\r\n", " z\r\n", ":", "\0",
                ]),
                0..12,
            ),
            step in 1_usize..7,
        ) {
            let bytes = pieces.concat();
            let mut framing = Framing::default();
            let mut passed = 0;
            for chunk in bytes.as_bytes().chunks(step) {
                match framing.read(chunk) {
                    Ok(()) => passed += chunk.len(),
                    Err(Malformed { at }) => {
                        passed += at;
                        break;
                    }
                }
            }
            prop_assert_eq!(passed, passes(bytes.as_bytes()));
        }
    }
}
