//! Whatever a source sends, in whatever pieces: reading it ends, and what is read is JSON that
//! was there.
#![no_main]

use ehi_core::fhir::{Layout, RecordReader};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The longest record that is read here: small, so that the limit is met.
const LIMIT: usize = 4 << 10;

fuzz_target!(|input: &[u8]| {
    let Some((&first, source)) = input.split_first() else {
        return;
    };
    let layout = if first & 1 == 0 {
        Layout::Bundle
    } else {
        Layout::Ndjson
    };
    let piece = usize::from(first >> 1) + 1;
    let whole = read(layout, source, usize::MAX);
    let pieces = read(layout, source, piece);
    assert_eq!(whole, pieces, "pieces make a difference");
    for record in whole.iter().flatten() {
        let parsed: Value = serde_json::from_slice(record).expect("a record is JSON");
        assert!(parsed["resourceType"].is_string());
    }
});

/// The records, and a mark for each that could not be read.
fn read(layout: Layout, mut source: &[u8], piece: usize) -> Vec<Option<Vec<u8>>> {
    let mut reader = RecordReader::new(layout, LIMIT);
    let mut items = Vec::new();
    while !reader.is_done() {
        let room = reader.room();
        let count = piece.min(room.len()).min(source.len());
        room[..count].copy_from_slice(&source[..count]);
        source = &source[count..];
        reader.filled(count);
        let read = reader.read().into_iter();
        items.extend(read.map(|item| item.ok().map(|record| record.json().to_vec())));
    }
    items
}
