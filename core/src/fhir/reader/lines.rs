//! The way through NDJSON, line by line.

use memchr::memchr;

use super::{Halt, RecordReader, RecordSyntaxError, Stop};

/// Where in the NDJSON reading stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    /// In front of a line; so many bytes of the window are known to have no line break.
    Line { searched: usize },
    /// In a line that is too long.
    LongLine,
}

impl RecordReader {
    pub(super) fn lines_step(&mut self) -> Result<(), Halt> {
        match self.state {
            super::State::Lines(State::Line { searched }) => self.line(searched),
            _ => self.long_line(),
        }
    }

    fn line(&mut self, searched: usize) -> Result<(), Halt> {
        let window = &self.buffer[self.window.clone()];
        let found = memchr(b'\n', &window[searched..]).map(|at| searched + at);
        let length = match found {
            Some(length) => length,
            None if window.len() <= self.limit && !self.ended => {
                let searched = window.len();
                self.state = super::State::Lines(State::Line { searched });
                return Err(Halt::More);
            }
            None => window.len(),
        };
        self.number += 1;
        let line = &window[..length.min(self.limit)];
        if !line.trim_ascii().is_empty() {
            let (outcome, read) = self.batch.scan(line, |scanner, elements| {
                scanner.record(elements)?;
                let end = scanner.written;
                match scanner.peek() {
                    Err(Stop::End) => Ok(Some(0..end)),
                    Ok(_) | Err(_) => Err(Stop::Syntax),
                }
            });
            let limit = self.limit;
            let reason = match read {
                _ if length > limit => Some(RecordSyntaxError::TooLong { limit }),
                Ok(()) => outcome.flaw,
                Err(stop) => Some(stop.into()),
            };
            if let Some(reason) = reason {
                // A last line that stops in the middle: somebody is still writing.
                let rest = reason == RecordSyntaxError::Truncated && found.is_none();
                self.broken(reason, outcome.resource_type, rest);
            }
        }
        if found.is_some() {
            self.window.start += length + 1;
            self.state = super::State::Lines(State::Line { searched: 0 });
        } else {
            self.window.start = self.window.end;
            self.state = super::State::Lines(State::LongLine);
        }
        Ok(())
    }

    fn long_line(&mut self) -> Result<(), Halt> {
        let Some(length) = memchr(b'\n', self.window()) else {
            self.window.start = self.window.end;
            return self.finish();
        };
        self.window.start += length + 1;
        self.state = super::State::Lines(State::Line { searched: 0 });
        Ok(())
    }
}
