//! The directory at the end of a ZIP archive: read strictly, and written with one file more.
//!
//! What leaves room for doubt is refused. Two programs may read a crooked archive in two ways, and
//! one of them would miss files once its directory was rewritten.
//!
//! Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7 (local file header), 4.3.12 (central
//! directory), 4.3.14 to 4.3.16 (its end) and 4.5.3 (ZIP64).

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::{Buf, BufMut, BytesMut};
use memchr::memmem;

const LOCAL: u32 = 0x0403_4b50;
const ENTRY: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;

const LOCAL_SIZE: u64 = 30;
const ENTRY_SIZE: usize = 46;
const END_SIZE: usize = 22;
const END_64_SIZE: usize = 56;
const LOCATOR_64_SIZE: usize = 20;

/// What a ZIP64 end record says of its own size: all behind that number.
const END_64_REST: u64 = 44;
/// The extra field with the numbers that need 64 bits.
const EXTRA_64: u16 = 1;
/// The version of the format that knows ZIP64.
const VERSION_64: u16 = 45;
const VERSION_PLAIN: u16 = 10;

const STORED: u16 = 0;
const ENCRYPTED: u16 = 1;
/// The names in the directory are masked.
const MASKED: u16 = 1 << 13;

/// Stands for a number that is told elsewhere.
const ELSEWHERE_16: u16 = u16::MAX;
const ELSEWHERE_32: u32 = u32::MAX;

/// Why an archive is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// It does not end as archives do, or its parts do not fit together.
    #[error("it is cut off, or its directory contradicts itself")]
    Broken,
    /// The directory is larger than what is kept of a file while it passes.
    #[error("its directory is too large")]
    TooLarge,
    /// It is one of several parts, or its directory is encrypted.
    #[error("it is split, or its directory is encrypted")]
    Unsupported,
    /// A name leads out of the archive, or is none.
    #[error("a name in it is no plain path")]
    Name,
    /// Which of the two is meant nobody knows.
    #[error("two files in it have the same name")]
    Twice,
}

/// The directory of an archive, without its files.
#[derive(Debug)]
pub(super) struct Directory<'a> {
    /// Its entries, as they are.
    raw: &'a [u8],
    /// Where it begins in the archive: where the files end.
    offset: u64,
    count: u64,
    comment: &'a [u8],
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Plain,
    Zip64,
}

/// A file of an archive, as its directory tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// Its path within the archive; that of a folder ends in `/`.
    pub(super) name: Cow<'a, str>,
    /// Bytes once it is unpacked.
    pub(super) size: u64,
}

/// A file that is added to an archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Added<'a> {
    /// Its name, of ASCII.
    pub(super) name: &'a str,
    /// Bytes. They are not compressed.
    pub(super) size: u32,
    /// CRC-32 of its bytes.
    pub(super) crc: u32,
    /// When it was made.
    pub(super) time: DosTime,
}

/// A time as archives have it: to two seconds, without a zone.
#[derive(Debug, Clone, Copy)]
pub(super) struct DosTime {
    time: u16,
    date: u16,
}

impl DosTime {
    /// The time in UTC; years that archives do not know become the nearest they do.
    pub(super) fn of(moment: jiff::Timestamp) -> Self {
        let moment = jiff::tz::TimeZone::UTC.to_datetime(moment);
        let bits = |number: i8| u16::try_from(number).unwrap_or_default();
        let year = u16::try_from(moment.year().clamp(1980, 2107) - 1980).unwrap_or_default();
        Self {
            time: bits(moment.hour()) << 11
                | bits(moment.minute()) << 5
                | (bits(moment.second()) / 2),
            date: year << 9 | bits(moment.month()) << 5 | bits(moment.day()),
        }
    }
}

/// The numbers of an end record.
struct End {
    count: u64,
    size: u64,
    offset: u64,
}

impl<'a> Directory<'a> {
    /// Finds the directory in the last bytes of an archive of `length` bytes, and checks it.
    pub(super) fn read(tail: &'a [u8], length: u64) -> Result<Self, Unfit> {
        let before = length - tail.len() as u64;
        let window = tail.len().saturating_sub(END_SIZE + usize::from(u16::MAX));
        let end_at = memmem::rfind(&tail[window..], &END.to_le_bytes()).ok_or(Unfit::Broken)?;
        let (head, end) = tail.split_at(window + end_at);
        if end.len() < END_SIZE {
            return Err(Unfit::Broken);
        }
        let (mut fields, comment) = end.split_at(END_SIZE);
        fields.advance(4);
        let (disk, first_disk) = (fields.get_u16_le(), fields.get_u16_le());
        let (here, count) = (fields.get_u16_le(), fields.get_u16_le());
        let (size, offset) = (fields.get_u32_le(), fields.get_u32_le());
        if usize::from(fields.get_u16_le()) != comment.len() {
            return Err(Unfit::Broken);
        }
        let single = |disk| disk == 0 || disk == ELSEWHERE_16;
        if here != count || !single(disk) || !single(first_disk) {
            return Err(Unfit::Unsupported);
        }
        let (head, end, format) = if let Some((head, end)) = end_64(head, before)? {
            let same = (count == ELSEWHERE_16 || u64::from(count) == end.count)
                && (size == ELSEWHERE_32 || u64::from(size) == end.size)
                && (offset == ELSEWHERE_32 || u64::from(offset) == end.offset);
            if !same {
                return Err(Unfit::Broken);
            }
            (head, end, Format::Zip64)
        } else {
            let end = End {
                count: count.into(),
                size: size.into(),
                offset: offset.into(),
            };
            (head, end, Format::Plain)
        };
        // The directory ends where its end record begins; anything in between, or in front of the
        // archive, would move.
        if end.offset.checked_add(end.size) != Some(before + head.len() as u64) {
            return Err(Unfit::Broken);
        }
        let at = end.offset.checked_sub(before).ok_or(Unfit::TooLarge)?;
        let at = usize::try_from(at).map_err(|_| Unfit::Broken)?;
        let directory = Self {
            raw: head.get(at..).ok_or(Unfit::Broken)?,
            offset: end.offset,
            count: end.count,
            comment,
            format,
        };
        directory.check()?;
        Ok(directory)
    }

    /// Goes through all entries once.
    fn check(&self) -> Result<(), Unfit> {
        let mut names = HashSet::new();
        let mut count = 0;
        for entry in self.walk() {
            if !names.insert(entry?.name) {
                return Err(Unfit::Twice);
            }
            count += 1;
        }
        (count == self.count).then_some(()).ok_or(Unfit::Broken)
    }

    fn walk(&self) -> impl Iterator<Item = Result<Entry<'a>, Unfit>> + use<'a> {
        let (mut rest, files_end) = (self.raw, self.offset);
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let entry = entry(&mut rest, files_end);
            if entry.is_err() {
                rest = &[];
            }
            Some(entry)
        })
    }

    /// Its entries, files and folders, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        // All were read when it was checked.
        self.walk().filter_map(Result::ok)
    }

    /// Where the files end, and an added one begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// What stands in front of the bytes of an added file.
    pub(super) fn local_header(added: &Added<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_u32_le(LOCAL);
        put_common(&mut out, added, VERSION_PLAIN, 0);
        out.put_slice(added.name.as_bytes());
        out
    }

    /// What follows the old directory: the entry of the added file, and the end of the archive.
    pub(super) fn closing(&self, added: &Added<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        let far = u32::try_from(self.offset).map_or(ELSEWHERE_32, |offset| offset);
        let (version, extra) = match far {
            ELSEWHERE_32 => (VERSION_64, 12),
            _ => (VERSION_PLAIN, 0),
        };
        out.put_u32_le(ENTRY);
        // Made by: a program that writes names as FAT does.
        out.put_u16_le(version);
        put_common(&mut out, added, version, extra);
        // No comment, the first disk, no attributes.
        out.put_bytes(0, 10);
        out.put_u32_le(far);
        out.put_slice(added.name.as_bytes());
        if extra > 0 {
            out.put_u16_le(EXTRA_64);
            out.put_u16_le(8);
            out.put_u64_le(self.offset);
        }
        let end = End {
            count: self.count + 1,
            size: self.raw.len() as u64 + out.len() as u64,
            offset: self.offset + LOCAL_SIZE + added.name.len() as u64 + u64::from(added.size),
        };
        self.put_end(&mut out, &end);
        out
    }

    fn put_end(&self, out: &mut BytesMut, end: &End) {
        let count = u16::try_from(end.count).unwrap_or(ELSEWHERE_16);
        let size = u32::try_from(end.size).unwrap_or(ELSEWHERE_32);
        let offset = u32::try_from(end.offset).unwrap_or(ELSEWHERE_32);
        let elsewhere = count == ELSEWHERE_16 || size == ELSEWHERE_32 || offset == ELSEWHERE_32;
        if elsewhere || self.format == Format::Zip64 {
            out.put_u32_le(END_64);
            out.put_u64_le(END_64_REST);
            out.put_u16_le(VERSION_64);
            out.put_u16_le(VERSION_64);
            // On the first disk, which is the only one.
            out.put_u64_le(0);
            out.put_u64_le(end.count);
            out.put_u64_le(end.count);
            out.put_u64_le(end.size);
            out.put_u64_le(end.offset);
            out.put_u32_le(LOCATOR_64);
            out.put_u32_le(0);
            out.put_u64_le(end.offset + end.size);
            out.put_u32_le(1);
        }
        out.put_u32_le(END);
        out.put_u32_le(0);
        out.put_u16_le(count);
        out.put_u16_le(count);
        out.put_u32_le(size);
        out.put_u32_le(offset);
        // It fitted in front of the same comment before.
        out.put_u16_le(u16::try_from(self.comment.len()).unwrap_or_default());
        out.put_slice(self.comment);
    }

    /// Its entries, as they are in the archive.
    pub(super) fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

/// The fields that local headers and entries have in common.
fn put_common(out: &mut BytesMut, added: &Added<'_>, version: u16, extra: u16) {
    out.put_u16_le(version);
    out.put_u16_le(0);
    out.put_u16_le(STORED);
    out.put_u16_le(added.time.time);
    out.put_u16_le(added.time.date);
    out.put_u32_le(added.crc);
    out.put_u32_le(added.size);
    out.put_u32_le(added.size);
    out.put_u16_le(u16::try_from(added.name.len()).unwrap_or_default());
    out.put_u16_le(extra);
}

/// The ZIP64 end record behind the directory, and what is in front of it; `None` where there is
/// none.
fn end_64(head: &[u8], before: u64) -> Result<Option<(&[u8], End)>, Unfit> {
    let Some((front, mut locator)) = split_end(head, LOCATOR_64_SIZE) else {
        return Ok(None);
    };
    if locator.get_u32_le() != LOCATOR_64 {
        return Ok(None);
    }
    let (disk, at, disks) = (
        locator.get_u32_le(),
        locator.get_u64_le(),
        locator.get_u32_le(),
    );
    let (front, mut record) = split_end(front, END_64_SIZE).ok_or(Unfit::Broken)?;
    if record.get_u32_le() != END_64
        || record.get_u64_le() != END_64_REST
        || at != before + front.len() as u64
    {
        return Err(Unfit::Broken);
    }
    record.advance(4);
    let (this, first) = (record.get_u32_le(), record.get_u32_le());
    let (here, count) = (record.get_u64_le(), record.get_u64_le());
    if disk != 0 || disks > 1 || this != 0 || first != 0 || here != count {
        return Err(Unfit::Unsupported);
    }
    let end = End {
        count,
        size: record.get_u64_le(),
        offset: record.get_u64_le(),
    };
    Ok(Some((front, end)))
}

/// The last `size` bytes, and what is in front of them.
fn split_end(bytes: &[u8], size: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.len().checked_sub(size)?)
}

/// Takes the next entry off the directory.
fn entry<'a>(rest: &mut &'a [u8], files_end: u64) -> Result<Entry<'a>, Unfit> {
    let mut fields = take(rest, ENTRY_SIZE)?;
    if fields.get_u32_le() != ENTRY {
        return Err(Unfit::Broken);
    }
    // The versions it was made by and is for.
    fields.advance(4);
    let (flags, method) = (fields.get_u16_le(), fields.get_u16_le());
    // Time, date, CRC-32.
    fields.advance(8);
    let (packed, size) = (fields.get_u32_le(), fields.get_u32_le());
    let lengths = [0; 3].map(|_: u8| usize::from(fields.get_u16_le()));
    let disk = fields.get_u16_le();
    // Attributes.
    fields.advance(6);
    let at = fields.get_u32_le();
    let [name, extra, comment] = lengths;
    let (raw_name, extra) = (take(rest, name)?, take(rest, extra)?);
    take(rest, comment)?;
    if flags & MASKED != 0 || disk != 0 {
        return Err(Unfit::Unsupported);
    }
    let mut far = extra_64(extra)?;
    // Those that are told elsewhere stand there in this order.
    let size = wide(size, &mut far)?;
    let packed = wide(packed, &mut far)?;
    let at = wide(at, &mut far)?;
    let end = (at.checked_add(LOCAL_SIZE + raw_name.len() as u64))
        .and_then(|data| data.checked_add(packed));
    let fits = end.is_some_and(|end| end <= files_end);
    let honest = method != STORED || flags & ENCRYPTED != 0 || packed == size;
    if !fits || !honest {
        return Err(Unfit::Broken);
    }
    let name = decoded(raw_name);
    if !is_plain(&name) {
        return Err(Unfit::Name);
    }
    Ok(Entry { name, size })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Unfit> {
    rest.split_off(..length).ok_or(Unfit::Broken)
}

/// The content of the extra field with numbers of 64 bits; empty where there is none.
fn extra_64(mut extra: &[u8]) -> Result<&[u8], Unfit> {
    let mut found: Option<&[u8]> = None;
    // What is too short for a field is padding.
    while extra.len() >= 4 {
        let (kind, length) = (extra.get_u16_le(), extra.get_u16_le());
        let content = take(&mut extra, length.into())?;
        if kind == EXTRA_64 && found.replace(content).is_some() {
            return Err(Unfit::Broken);
        }
    }
    Ok(found.unwrap_or_default())
}

/// A number, or what the extra field says in its place.
fn wide(number: u32, far: &mut &[u8]) -> Result<u64, Unfit> {
    if number != ELSEWHERE_32 {
        return Ok(number.into());
    }
    far.try_get_u64_le().map_err(|_| Unfit::Broken)
}

/// A name as text: UTF-8 where it is that, whatever its flags say; the code page of DOS otherwise.
fn decoded(name: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(name).map_or_else(
        |_| Cow::Owned(name.iter().map(|&byte| of_dos(byte)).collect()),
        Cow::Borrowed,
    )
}

/// The upper half of code page 437.
const DOS: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

fn of_dos(byte: u8) -> char {
    let upper = usize::from(byte).checked_sub(128);
    upper
        .and_then(|index| DOS.chars().nth(index))
        .unwrap_or(char::from(byte))
}

/// Whether this is the path of a file or folder within the archive, and nothing else.
fn is_plain(name: &str) -> bool {
    let path = name.strip_suffix('/').unwrap_or(name);
    let drive = matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    !drive
        && !path.contains(|c: char| c == '\\' || c.is_control())
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_stays_within_its_archive() {
        for good in [
            "a",
            "a/b.csv",
            "folder/",
            "a b/ö (1).txt",
            "10:30.txt",
            "..a",
            ".profile",
        ] {
            assert!(is_plain(good), "{good}");
        }
        for bad in [
            "", "/", "/a", "..", "../x", "a/../b", "a//b", "./a", "a\\b", "C:a", "a\0", "a\nb",
        ] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_name_of_dos_is_read_as_people_saw_it() {
        assert_eq!(DOS.chars().count(), 128);
        assert_eq!(decoded(b"R\x94ntgen.png"), "Röntgen.png");
        assert_eq!(decoded("Röntgen.png".as_bytes()), "Röntgen.png");
    }

    #[test]
    fn the_time_of_an_added_file_is_that_of_utc() {
        let time = |text: &str| {
            let DosTime { time, date } = DosTime::of(text.parse().unwrap());
            (
                date >> 9,
                date >> 5 & 15,
                date & 31,
                time >> 11,
                time >> 5 & 63,
                time & 31,
            )
        };
        assert_eq!(time("2026-11-24T08:43:22Z"), (46, 11, 24, 8, 43, 11));
        assert_eq!(time("1970-01-02T00:00:00Z").0, 0);
        assert_eq!(time("9000-01-02T00:00:00Z").0, 127);
    }
}
