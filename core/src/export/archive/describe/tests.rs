//! Archives are given a description, and nothing else about them changes. What comes out is looked
//! at with another reader than our own.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use proptest::prelude::*;
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::*;
use crate::testkit::{at, patient};

const NAME: &str = "document_reference.ndjson";

/// What becomes of a file that comes in pieces of this size.
fn passed(file: &[u8], piece: usize) -> Vec<u8> {
    let mut passing = Passing::new();
    let mut out = Vec::new();
    for piece in file.chunks(piece) {
        if let Some(goes) = passing.pass(Bytes::copy_from_slice(piece)) {
            out.extend_from_slice(&goes);
        }
        if let Passing::Held(held, _) = &passing {
            assert!(held.len() <= 2 * HELD, "{} bytes are held", held.len());
        }
    }
    described(&passing.end()).for_each(|piece| out.extend_from_slice(&piece));
    out
}

fn described(end: &End) -> impl Iterator<Item = Bytes> {
    let id: &'static PatientId = Box::leak(Box::new(patient().id));
    end.described(About {
        key: Uuid::from_bytes([7; 16]),
        patient: id,
        description: "Scans of 1998",
        documentation: "https://ehi.example/documentation",
        now: at(86_400),
    })
}

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

/// An archive of these files, each compressed if that makes it smaller.
fn archive<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = match content.len() {
            0..100 => stored(),
            _ => SimpleFileOptions::default(),
        };
        if name.ends_with('/') {
            writer.add_directory(name, options).unwrap();
        } else {
            writer.start_file(name, options).unwrap();
            writer.write_all(content).unwrap();
        }
    }
    writer.set_comment("From the cellar").unwrap();
    writer.finish().unwrap().into_inner()
}

/// A file's name and content; no content where it is broken.
type File = (Vec<u8>, Option<Vec<u8>>);

/// Every file of an archive, in order, as the other reader has it.
fn files(archive: impl Read + Seek) -> Option<Vec<File>> {
    let mut archive = ZipArchive::new(archive).ok()?;
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let name = archive.by_index_raw(index).ok()?.name_raw().to_vec();
        let mut content = Vec::new();
        let read = (archive.by_index(index).ok())
            // Bounded, whatever a broken archive says.
            .and_then(|file| file.take(1 << 26).read_to_end(&mut content).ok());
        files.push((name, read.map(|_| content)));
    }
    Some(files)
}

/// The description in an archive, by the URL of each file.
fn description(archive: &[u8]) -> BTreeMap<String, Value> {
    let files = files(Cursor::new(archive)).unwrap();
    let (name, content) = files.last().unwrap();
    assert_eq!(name, NAME.as_bytes());
    let text = String::from_utf8(content.clone().unwrap()).unwrap();
    text.lines()
        .map(|line| {
            let resource: Value = serde_json::from_str(line).unwrap();
            let url = &resource["content"][0]["attachment"]["url"];
            (url.as_str().unwrap().to_owned(), resource)
        })
        .collect()
}

/// The same archive with one file more.
#[track_caller]
fn assert_added(before: &[u8], after: &[u8]) {
    let old = files(Cursor::new(before)).unwrap();
    let new = files(Cursor::new(after)).unwrap();
    assert_eq!(new.len(), old.len() + 1);
    assert_eq!(new[..old.len()], old);
    let comment = |archive| {
        let archive = ZipArchive::new(Cursor::new(archive)).unwrap();
        archive.comment().to_vec()
    };
    assert_eq!(comment(before), comment(after));
    assert!(new[old.len()].1.is_some(), "with the right checksum");
}

#[test]
fn an_archive_is_given_a_description_of_each_of_its_files() {
    let text = b"a line of many\n".repeat(50);
    let before = archive([
        ("scans/", &b""[..]),
        ("scans/page 1.png", b"\x89PNG"),
        ("Röntgen.dcm", &text),
        ("ledger.csv", b"a,b\r\n"),
        ("README", b""),
    ]);
    let after = passed(&before, 7);
    assert_added(&before, &after);
    let told = description(&after);
    let urls: Vec<_> = told.keys().map(String::as_str).collect();
    assert_eq!(
        urls,
        [
            "R%C3%B6ntgen.dcm",
            "README",
            "ledger.csv",
            "scans/page%201.png"
        ]
    );
    let file = |url: &str| {
        let attachment = &told[url]["content"][0]["attachment"];
        let of = |name: &str| attachment[name].as_str().unwrap().to_owned();
        (
            of("title"),
            of("contentType"),
            attachment["size"].as_u64().unwrap(),
        )
    };
    let expected = |title: &str, kind: &str, size| (title.to_owned(), kind.to_owned(), size);
    assert_eq!(
        file("scans/page%201.png"),
        expected("scans/page 1.png", "image/png", 4)
    );
    assert_eq!(
        file("R%C3%B6ntgen.dcm"),
        expected("Röntgen.dcm", "application/dicom", 750)
    );
    assert_eq!(file("ledger.csv"), expected("ledger.csv", "text/csv", 5));
    assert_eq!(
        file("README"),
        expected("README", "application/octet-stream", 0)
    );
    let mut ids: Vec<_> = told.values().map(|one| one["id"].to_string()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    let one = &told["ledger.csv"];
    assert_eq!(one["resourceType"], "DocumentReference");
    assert_eq!(one["meta"]["tag"][0]["code"], "ehi-export");
    assert_eq!(one["subject"]["reference"], "Patient/p-1");
    assert_eq!(one["description"], "Scans of 1998: ledger.csv");
    assert_eq!(
        one["content"][0]["format"]["system"],
        "https://ehi.example/documentation"
    );
    assert_eq!(one["content"][0]["format"]["code"], "text/csv");
}

#[test]
fn what_describes_itself_or_is_no_archive_passes_as_it_is() {
    for file in [
        archive([("a.csv", &b"a"[..]), (NAME, b"{}\n")]),
        archive([
            ("a.csv", &b"a"[..]),
            ("export/Document_Reference.NDJSON", b"{}\n"),
        ]),
        archive([]),
        archive([("folder/", &b""[..])]),
        b"".to_vec(),
        b"PK".to_vec(),
        b"PK\x03\x04".to_vec(),
        b"a,b\r\n1,2\r\n".to_vec(),
    ] {
        for piece in [1, 3, 1000] {
            assert_eq!(passed(&file, piece), file);
        }
    }
}

/// An archive with one file whose name is replaced by one as long.
fn renamed(names: &[(&str, &str)]) -> Vec<u8> {
    let mut file = archive(names.iter().map(|(before, _)| (*before, &b"x"[..])));
    for (before, after) in names {
        assert_eq!(before.len(), after.len());
        let places: Vec<_> = memchr::memmem::find_iter(&file, before).collect();
        for at in places {
            file[at..at + after.len()].copy_from_slice(after.as_bytes());
        }
    }
    file
}

#[test]
fn an_archive_that_leaves_room_for_doubt_passes_as_it_is() {
    let good = archive([("a.csv", &b"abc"[..]), ("b.csv", b"def")]);
    assert_added(&good, &passed(&good, 64));
    let end = good.len() - "From the cellar".len() - 22;
    let with = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let entry = memchr::memmem::find(&good, b"PK\x01\x02").unwrap();
    let cases = [
        ("leads out", renamed(&[("seven-letters", "../../letters")])),
        (
            "is absolute",
            renamed(&[("seven-letters", "/even-letters")]),
        ),
        (
            "is one of Windows",
            renamed(&[("seven-letters", "a\\b\\c-letters")]),
        ),
        (
            "stands twice",
            renamed(&[("a.csv", "x.csv"), ("b.csv", "x.csv")]),
        ),
        ("has something in front", [ZIP, b"in front", &good].concat()),
        ("has something behind", [&good, &b"behind"[..]].concat()),
        ("is cut off", good[..good.len() - 1].to_vec()),
        ("is cut off in its directory", good[..end].to_vec()),
        ("lost its beginning", [ZIP, &good[20..]].concat()),
        ("is one of two parts", with(end + 4, &[1])),
        ("begins on another disk", with(end + 6, &[1])),
        ("counts too few", with(end + 8, &[1, 0, 1, 0])),
        ("counts too many", with(end + 8, &[3, 0, 3, 0])),
        ("has a larger directory", with(end + 12, &[255, 255])),
        ("has numbers that are elsewhere", with(end + 8, &[255; 4])),
        ("has its directory elsewhere", with(end + 16, &[255; 4])),
        ("has an encrypted directory", with(entry + 9, &[32])),
        ("says a file is larger", with(entry + 20, &[255])),
        (
            "says a stored file unpacks to more",
            with(entry + 24, &[255]),
        ),
        ("has a file elsewhere", with(entry + 42, &[255, 255])),
        (
            "has a far file that is not told",
            with(entry + 42, &[255; 4]),
        ),
        ("has a name without end", with(entry + 28, &[255, 255])),
    ];
    for (what, file) in cases {
        assert!(passed(&file, 50) == file, "one that {what} was changed");
    }
}

#[test]
fn a_directory_that_is_too_large_is_not_held() {
    let names: Vec<String> = (0..40_000).map(|n| format!("{n:0>200}")).collect();
    let file = archive(names.iter().map(|name| (name.as_str(), &b""[..])));
    assert!(file.len() > 4 * HELD);
    assert!(passed(&file, 1 << 20) == file);
}

#[test]
fn an_archive_far_larger_than_what_is_held_keeps_every_byte() {
    let noise: Vec<u8> = (0_u32..)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(5 * HELD)
        .collect();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("noise.bin", stored()).unwrap();
    writer.write_all(&noise).unwrap();
    let before = writer.finish().unwrap().into_inner();
    for piece in [100_000, 7 << 20] {
        let after = passed(&before, piece);
        assert!(after[..noise.len()] == before[..noise.len()]);
        assert_added(&before, &after);
    }
}

#[test]
fn the_number_of_files_may_need_zip64() {
    // The plain format tells up to 65,534 files: not one more, and not two that are there already.
    for count in [65_534, 65_536] {
        let names: Vec<String> = (0..count).map(|n| format!("{n:x}")).collect();
        let before = archive(names.iter().map(|name| (name.as_str(), &b""[..])));
        let after = passed(&before, 1 << 20);
        assert_eq!(description(&after).len(), count);
        let mut opened = ZipArchive::new(Cursor::new(&after)).unwrap();
        assert_eq!(opened.len(), count + 1);
        let last = opened.by_index(count - 1).unwrap();
        assert_eq!(last.name().unwrap(), names[count - 1]);
    }
}

/// The end of an archive whose directory begins behind `gap` bytes, as ZIP64 tells it.
fn far_end(small: &[u8], gap: u64) -> (Vec<u8>, u64) {
    let directory = memchr::memmem::find(small, b"PK\x01\x02").unwrap();
    let end = memchr::memmem::rfind(small, b"PK\x05\x06").unwrap();
    let mut tail = small[directory..end].to_vec();
    let (size, offset) = ((end - directory) as u64, directory as u64 + gap);
    for part in [
        &b"PK\x06\x06"[..],
        &44_u64.to_le_bytes(),
        &[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &1_u64.to_le_bytes(),
        &1_u64.to_le_bytes(),
        &size.to_le_bytes(),
        &offset.to_le_bytes(),
        b"PK\x06\x07\0\0\0\0",
        &(offset + size).to_le_bytes(),
        &[1, 0, 0, 0],
        b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0",
    ] {
        tail.extend_from_slice(part);
    }
    (tail, offset)
}

#[test]
fn an_archive_beyond_four_gigabytes_is_described_too() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("a.csv", stored()).unwrap();
    writer.write_all(b"a,b\r\n").unwrap();
    let small = writer.finish().unwrap().into_inner();
    let (tail, offset) = far_end(&small, 5 << 30);
    let end = End {
        tail: tail.into(),
        passed: offset,
    };
    // A sparse file: what lies between takes no room.
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&small[..memchr::memmem::find(&small, b"PK\x01\x02").unwrap()])
        .unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    for piece in described(&end) {
        file.write_all(&piece).unwrap();
    }
    let found = files(&file).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], (b"a.csv".to_vec(), Some(b"a,b\r\n".to_vec())));
    let told = String::from_utf8(found[1].1.clone().unwrap()).unwrap();
    assert!(found[1].0 == NAME.as_bytes() && told.contains("\"url\":\"a.csv\""));
}

proptest! {
    #[test]
    fn any_archive_keeps_its_files_and_gets_a_description(
        contents in proptest::collection::btree_map("[a-zA-Zäß ]{1,9}(/[a-z]{1,5}){0,2}\\.(csv|pdf|x)", proptest::collection::vec(any::<u8>(), 0..300), 1..12),
        piece in 1_usize..600,
    ) {
        let before = archive(contents.iter().map(|(name, content)| (name.as_str(), content.as_slice())));
        let after = passed(&before, piece);
        assert_added(&before, &after);
        let told = description(&after);
        let titles: std::collections::BTreeSet<String> = (told.values())
            .map(|one| one["content"][0]["attachment"]["title"].as_str().unwrap().to_owned())
            .collect();
        prop_assert!(titles.iter().eq(contents.keys()));
        // What has a description gets no second one.
        prop_assert_eq!(passed(&after, piece), after);
    }

    #[test]
    fn a_damaged_archive_is_never_damaged_further(
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::weighted(0.2, any::<proptest::sample::Index>()),
    ) {
        let mut before = archive([("a/b.csv", &b"a,b\r\n"[..]), ("c.txt", &[b'c'; 300]), ("d", b"")]);
        for (at, byte) in damage {
            let at = at.index(before.len());
            before[at] = byte;
        }
        if let Some(cut) = cut {
            before.truncate(cut.index(before.len()));
        }
        let after = passed(&before, 100);
        if after != before {
            let (old, new) = (files(Cursor::new(&before)), files(Cursor::new(&after)));
            if let Some(old) = old {
                prop_assert_eq!(&new.unwrap()[..old.len()], old);
            }
        }
    }

    #[test]
    fn any_bytes_pass(bytes: Vec<u8>, piece in 1_usize..50) {
        let zip = [ZIP, &bytes].concat();
        prop_assert_eq!(passed(&zip, piece), zip);
        prop_assert_eq!(passed(&bytes, piece), bytes);
    }
}
