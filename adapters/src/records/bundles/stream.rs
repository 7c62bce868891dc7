//! One file as a stream of records.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ehi_core::fhir::{BrokenRecord, Layout, Record, RecordReader, ResourceType};
use ehi_core::ports::{RecordError, RecordStream, SourceError, Unreadable};
use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::index::{Known, Stamp, layout_of};

/// How many pieces may wait for whoever takes the records. The reading thread stays ahead by
/// that much and then waits.
const PIECES_AHEAD: usize = 2;

/// A file, a window at a time.
#[derive(Debug)]
pub(super) struct Pieces<R> {
    source: R,
    reader: RecordReader,
}

impl<R: Read> Pieces<R> {
    pub(super) fn new(source: R, layout: Layout, record_limit: usize) -> Self {
        Self {
            source,
            reader: RecordReader::new(layout, record_limit),
        }
    }

    /// The records of the next piece, maybe none; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<Result<Record, BrokenRecord>>>> {
        if self.reader.is_done() {
            return Ok(None);
        }
        let count = loop {
            match self.source.read(self.reader.room()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.reader.filled(count);
        Ok(Some(self.reader.read()))
    }
}

/// Where in the folder it is, for staff.
pub(super) fn place(path: &Path, broken: &BrokenRecord) -> String {
    let file = path.file_name().unwrap_or_default().display();
    match broken.place {
        Some(place) => format!("{file}, {place}"),
        None => file.to_string(),
    }
}

/// Streams the records of a patient's file. A thread reads ahead a little; it stops as soon as
/// the stream is dropped.
pub(super) fn records(known: Known, record_limit: usize) -> RecordStream {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let thread = spawn_blocking(move || pump(&known, record_limit, &sender));
    stream::unfold(
        (receiver, Some(thread)),
        async |(mut receiver, mut thread)| {
            if let Some(items) = receiver.recv().await {
                return Some((items, (receiver, thread)));
            }
            // Without this a thread that died would look like the end of the record.
            let error = match thread.take()?.await {
                Ok(Ok(())) => return None,
                Ok(Err(error)) => error,
                Err(died) => SourceError::unavailable(died),
            };
            Some((vec![Err(error.into())], (receiver, thread)))
        },
    )
    .flat_map(stream::iter)
    .boxed()
}

type Items = Vec<Result<Record, RecordError>>;

/// Reads the file to its end, or until nobody takes the records any more.
fn pump(
    known: &Known,
    record_limit: usize,
    sender: &mpsc::Sender<Items>,
) -> Result<(), SourceError> {
    let file = File::open(&known.path).map_err(SourceError::unavailable)?;
    check_unchanged(known, &file)?;
    let layout = layout_of(&known.path).ok_or(SourceError::NotFound)?;
    let mut pieces = Pieces::new(&file, layout, record_limit);
    while let Some(items) = pieces.next().map_err(SourceError::unavailable)? {
        if sender.is_closed() {
            return Ok(());
        }
        if items.is_empty() {
            continue;
        }
        let is_strange = |record: &Record| {
            record.resource_type() == ResourceType::Patient
                && record.id() != Some(known.patient.id.as_str())
        };
        if items.iter().flatten().any(is_strange) {
            // The index knows better, unless somebody has changed the file under its hands.
            return Err(SourceError::unavailable("another patient in the file"));
        }
        let items = items.into_iter().map(|item| {
            item.map_err(|broken| {
                RecordError::Unreadable(Unreadable {
                    place: place(&known.path, &broken),
                    reason: broken.to_string(),
                })
            })
        });
        if sender.blocking_send(items.collect()).is_err() {
            return Ok(());
        }
    }
    check_unchanged(known, &file)
}

fn check_unchanged(known: &Known, file: &File) -> Result<(), SourceError> {
    let metadata = file.metadata().map_err(SourceError::unavailable)?;
    if Stamp::from(&metadata) == known.stamp {
        Ok(())
    } else {
        Err(SourceError::unavailable("the file has changed meanwhile"))
    }
}
