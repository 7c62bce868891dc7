//! Appends, many entries with one flush.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use ehi_core::audit::Link;
use ehi_core::ports::StoreError;
use tokio::sync::{mpsc, oneshot};

use super::segment::{self, Line, Segment};

/// A file of the log is followed by the next one from this size on.
const SEGMENT: u64 = 8 << 20;

/// How many entries wait at most, and are written together.
const TOGETHER: usize = 1_000;

/// Hands entries to the one thread that writes.
#[derive(Debug, Clone)]
pub(super) struct Writer(mpsc::Sender<Waiting>);

/// An entry that somebody waits for.
struct Waiting {
    text: String,
    written: oneshot::Sender<Result<(), Arc<io::Error>>>,
}

impl Writer {
    /// Starts the thread; it ends with the last handle.
    pub fn start(folder: Arc<Path>) -> io::Result<Self> {
        let (sender, waiting) = mpsc::channel(TOGETHER);
        let tail = Tail::of(folder, SEGMENT)?;
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write(tail, waiting))?;
        Ok(Self(sender))
    }

    /// Done when the entry is on disk.
    pub async fn append(&self, text: String) -> Result<(), StoreError> {
        let gone = || StoreError::unavailable("the audit log's thread ended");
        let (written, waits) = oneshot::channel();
        let waiting = Waiting { text, written };
        self.0.send(waiting).await.map_err(|_| gone())?;
        let written = waits.await.map_err(|_| gone())?;
        written.map_err(StoreError::unavailable)
    }
}

fn write(mut tail: Tail, mut waiting: mpsc::Receiver<Waiting>) {
    let mut together = Vec::new();
    while let Some(first) = waiting.blocking_recv() {
        together.push(first);
        while together.len() < TOGETHER
            && let Ok(next) = waiting.try_recv()
        {
            together.push(next);
        }
        let texts = together.iter().map(|waiting| waiting.text.as_str());
        let written = tail.append(texts).map_err(Arc::new);
        for waiting in together.drain(..) {
            // Whoever went away does not want to know.
            let _ = waiting.written.send(written.clone());
        }
    }
}

/// The end of the log.
pub(super) struct Tail {
    folder: Arc<Path>,
    lock: File,
    /// A file is followed by the next one from this size on.
    segment: u64,
    /// As we left it. Another process may have gone on from there.
    open: Option<Open>,
}

struct Open {
    segment: Segment,
    file: File,
    size: u64,
    last: Link,
}

impl Tail {
    /// The end of the log in this folder.
    pub fn of(folder: Arc<Path>, segment: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true);
        Ok(Self {
            lock: segment::private(&folder.join("lock"), options)?,
            folder,
            segment,
            open: None,
        })
    }

    /// Appends entries; they are on disk when this returns.
    pub fn append<'a>(&mut self, texts: impl Iterator<Item = &'a str>) -> io::Result<()> {
        self.lock.lock()?;
        let written = self.append_locked(texts);
        self.lock.unlock()?;
        if written.is_err() {
            self.open = None;
        }
        written
    }

    fn append_locked<'a>(&mut self, texts: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) if open.is_the_end(&self.folder)? => open,
            _ => Open::find(&self.folder)?,
        };
        if open.size >= self.segment {
            open = Open::begin(&self.folder, open.last)?;
        }
        let mut lines = String::new();
        let mut last = open.last;
        for text in texts {
            last = Line::append(last, text, &mut lines)?;
        }
        let written = (open.file.write_all(lines.as_bytes()))
            .and_then(|()| open.file.sync_data())
            .and_then(|()| remember(&self.folder, last));
        if let Err(error) = written {
            // Some of it may be there (the disk is full): nobody was told that it is.
            let _ = open.file.set_len(open.size);
            return Err(error);
        }
        open.size += lines.len() as u64;
        open.last = last;
        self.open = Some(open);
        Ok(())
    }
}

impl Open {
    /// Whether nobody went on from where we left it.
    fn is_the_end(&self, folder: &Path) -> io::Result<bool> {
        let same = match std::fs::metadata(self.segment.file()) {
            Ok(found) => found.len() == self.size,
            Err(_) => false,
        };
        Ok(same && Segment::all(folder)?.last() == Some(&self.segment))
    }

    /// Finds the end of the log. A line that was not finished is taken off.
    fn find(folder: &Path) -> io::Result<Self> {
        let mut segments = Segment::all(folder)?;
        let Some(segment) = segments.pop() else {
            return Self::begin(folder, Link::START);
        };
        let text = segment.text()?;
        let before = segments.last().filter(|_| text.is_empty());
        let mut file = OpenOptions::new().write(true).open(segment.file())?;
        let size = text.len() as u64;
        file.set_len(size)?;
        file.seek(SeekFrom::End(0))?;
        // One that was begun and into which nothing got goes on from the one before it.
        let before = before.map(Segment::text).transpose()?;
        let line = before.as_deref().unwrap_or(&text).lines().next_back();
        let last = line.map(Line::parse).transpose()?;
        let last = last.map_or(Link::START, |line| line.link());
        Ok(Self {
            segment,
            file,
            size,
            last,
        })
    }

    /// Begins the next file.
    fn begin(folder: &Path, last: Link) -> io::Result<Self> {
        let segment = Segment::new(folder, last.number + 1);
        let mut options = OpenOptions::new();
        let file = segment::private(segment.file(), options.create_new(true).write(true))?;
        File::open(folder)?.sync_all()?;
        Ok(Self {
            segment,
            file,
            size: 0,
            last,
        })
    }
}

/// Remembers the newest link apart from the entries. It may be lost with the machine, and is then
/// older than the log, never newer.
fn remember(folder: &Path, last: Link) -> io::Result<()> {
    let next = folder.join("head.next");
    let mut options = OpenOptions::new();
    let mut file = segment::private(&next, options.create(true).truncate(true).write(true))?;
    writeln!(file, "{last}")?;
    std::fs::rename(next, segment::head_file(folder))
}
