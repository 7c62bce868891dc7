//! Thirty-two bytes of JSON at a time: which of them matter inside a string, which are blank.

#![expect(
    clippy::inline_always,
    reason = "the compiler leaves some of them as calls otherwise, which costs a sixth of the speed"
)]

use wide::u8x32;

/// How many bytes are looked at in one go.
pub(super) const BLOCK: usize = 32;

/// What stands in a block that may lie inside a string; bit `n` speaks of byte `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StringMarks {
    /// Quotes, backslashes and control characters: what a plain piece of string ends at.
    pub(super) stops: u32,
    /// Bytes outside ASCII.
    pub(super) high: u32,
}

/// See [`StringMarks`].
#[inline(always)]
pub(super) fn string_marks(block: &[u8; BLOCK]) -> StringMarks {
    let bytes = u8x32::from(*block);
    let control = bytes.min(u8x32::splat(0x1f)).simd_eq(bytes);
    let stops = control | equal(bytes, b'"') | equal(bytes, b'\\');
    StringMarks {
        stops: stops.to_bitmask(),
        high: bytes.to_bitmask(),
    }
}

/// The white space of JSON: space, tab, line feed, carriage return.
#[inline(always)]
pub(super) fn blank_marks(block: &[u8; BLOCK]) -> u32 {
    let bytes = u8x32::from(*block);
    let blanks = equal(bytes, b' ') | equal(bytes, b'\n') | equal(bytes, b'\r');
    (blanks | equal(bytes, b'\t')).to_bitmask()
}

#[inline(always)]
fn equal(bytes: u8x32, wanted: u8) -> u8x32 {
    bytes.simd_eq(u8x32::splat(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(block: [u8; BLOCK]) {
        let marks = |marked: fn(u8) -> bool| {
            (0..BLOCK).fold(0, |mask, n| mask | u32::from(marked(block[n])) << n)
        };
        let expected = StringMarks {
            stops: marks(|b| b < 0x20 || b == b'"' || b == b'\\'),
            high: marks(|b| b >= 0x80),
        };
        assert_eq!(string_marks(&block), expected);
        assert_eq!(blank_marks(&block), marks(|b| b" \t\r\n".contains(&b)));
    }

    #[test]
    fn every_byte_is_told_apart_at_every_position() {
        for byte in 0..=u8::MAX {
            for position in 0..BLOCK {
                for around in [0, b'x', b' ', b'"', 0x80, 0xff] {
                    let mut block = [around; BLOCK];
                    block[position] = byte;
                    check(block);
                }
            }
        }
    }
}
