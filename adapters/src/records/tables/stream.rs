//! One run: the tables of one patient as a stream of documents.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ehi_core::fhir::Period;
use ehi_core::ports::{Document, DocumentStream, RecordError, SourceError};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row, raw_sql};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::csv::{Shape, end_row, field};
use super::error::record_error;
use super::plan::Plan;
use super::session::Session;

/// How many bytes are handed on at a time; one row can be more.
const CHUNK: usize = 64 * 1024;
/// How many chunks may wait for whoever takes them.
const CHUNKS_AHEAD: usize = 2;
/// How many rows are asked for at a time, at most and to begin with.
const MOST_ROWS: usize = 2000;
const FIRST_ROWS: usize = 100;

/// A table and the time that was asked for.
pub(super) type Wanted = (Arc<Plan>, Period);

/// What comes through a channel; `None` says that this was all.
type Step<T> = Option<Result<T, RecordError>>;

/// Streams the documents. A task reads ahead a little; it stops, and with it what the database
/// does for it, once neither the stream nor a document of it is held by anybody.
pub(super) fn documents(session: Session, tables: Vec<Wanted>, patient: String) -> DocumentStream {
    let (sender, receiver) = mpsc::channel(1);
    let asked = Arc::new(Notify::new());
    let pump = Pump {
        session,
        documents: sender,
        asked: Arc::clone(&asked),
        patient,
    };
    let stop = CancellationToken::new();
    let guard = Arc::new(stop.clone().drop_guard());
    tokio::spawn(async move { stop.run_until_cancelled(pump.run(tables)).await });
    stream::unfold(
        (until_end(receiver), asked, guard),
        async |(mut documents, asked, guard)| {
            asked.notify_one();
            let document = (documents.next().await?).map(|document| held_by(document, &guard));
            Some((document, (documents, asked, guard)))
        },
    )
    .boxed()
}

/// A document that keeps the task running while it is held.
fn held_by(document: Document, guard: &Arc<DropGuard>) -> Document {
    let guard = Arc::clone(guard);
    let content = document.content.inspect(move |_| {
        let _ = &guard;
    });
    Document {
        content: content.boxed(),
        ..document
    }
}

/// What comes out of the channel until it says that this was all. Without that word a task that
/// died would look like the end.
fn until_end<T: Send + 'static>(
    receiver: mpsc::Receiver<Step<T>>,
) -> std::pin::Pin<Box<dyn Stream<Item = Result<T, RecordError>> + Send>> {
    stream::unfold(Some(receiver), async |receiver| {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Some(item)) => {
                let is_last = matches!(&item, Err(RecordError::Source(_)));
                Some((item, (!is_last).then_some(receiver)))
            }
            Some(None) => None,
            None => {
                let error = SourceError::unavailable("the reading of tables stopped early");
                Some((Err(error.into()), None))
            }
        }
    })
    .boxed()
}

struct Pump {
    session: Session,
    documents: mpsc::Sender<Step<Document>>,
    /// Whether the next document was asked for.
    asked: Arc<Notify>,
    patient: String,
}

/// What became of one table.
enum Told {
    /// It is in a document, which may have been spoiled.
    Document,
    /// There is none.
    Nothing,
    /// There was one, and the next was asked for before its end.
    Interrupted,
}

impl Pump {
    async fn run(mut self, tables: Vec<Wanted>) {
        let mut told = Told::Document;
        for (plan, period) in tables {
            if matches!(told, Told::Document) {
                self.asked.notified().await;
            }
            let mut outlet = Outlet::new(&plan, &self.documents, &self.asked);
            let read = read(&mut self.session, &mut outlet, &self.patient, period).await;
            let fatal = matches!(&read, Err(RecordError::Source(_)));
            told = outlet.close(read).await;
            if fatal {
                return;
            }
            if let Err(error) = self.session.clear().await {
                let error = record_error(&plan.table, error);
                drop(self.documents.send(Some(Err(error))).await);
                return;
            }
        }
        if let Err(error) = self.session.finish().await {
            // All was read; only the connection is of no more use.
            tracing::debug!(%error, "a connection could not be given back");
        }
        drop(self.documents.send(None).await);
    }
}

/// Reads one table through a cursor: nothing is computed or sent that nobody has asked for yet,
/// and the time-out counts the database's time, not that of a slow taker.
async fn read(
    session: &mut Session,
    outlet: &mut Outlet<'_>,
    patient: &str,
    period: Period,
) -> Result<(), RecordError> {
    let plan = outlet.plan;
    let failed = |error| record_error(&plan.table, error);
    let connection = session.connection().map_err(failed)?;
    let declare = format!("DECLARE ehi_rows NO SCROLL CURSOR FOR {}", plan.sql);
    let mut declare = sqlx::query(AssertSqlSafe(declare)).bind(patient);
    if plan.has_dates {
        let (start, end) = (period.start.map(moment), period.end.map(moment));
        declare = declare.bind(start).bind(end);
    }
    (declare.persistent(false).execute(&mut **connection).await).map_err(failed)?;
    let mut count = FIRST_ROWS;
    loop {
        let fetch = AssertSqlSafe(format!("FETCH FORWARD {count} FROM ehi_rows"));
        let (mut rows, mut bytes) = (0, 0);
        let mut fetched = raw_sql(fetch).fetch(&mut **connection);
        while let Some(row) = fetched.try_next().await.map_err(failed)? {
            rows += 1;
            bytes += outlet.row(&row).await?;
            if !outlet.is_wanted() {
                // The few rows on their way are passed over when the connection is used next.
                return Ok(());
            }
        }
        if rows < count {
            return Ok(());
        }
        count = (4 * CHUNK / (bytes / rows).max(1)).clamp(1, MOST_ROWS);
    }
}

/// As the database reads it. It counts microseconds and rounds, which could make the last moment
/// of a day the first of the next.
fn moment(moment: Timestamp) -> String {
    let whole = moment.as_nanosecond().div_euclid(1000);
    let whole = i64::try_from(whole)
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok());
    whole.unwrap_or(moment).to_string()
}

/// Where the rows of one table go.
struct Outlet<'a> {
    plan: &'a Plan,
    documents: &'a mpsc::Sender<Step<Document>>,
    asked: &'a Notify,
    /// Of the document, once there is one.
    content: Option<mpsc::Sender<Step<Bytes>>>,
    buffer: BytesMut,
    /// Whether the next document was asked for in the middle of this one.
    interrupted: bool,
}

impl<'a> Outlet<'a> {
    fn new(plan: &'a Plan, documents: &'a mpsc::Sender<Step<Document>>, asked: &'a Notify) -> Self {
        Self {
            plan,
            documents,
            asked,
            content: None,
            buffer: BytesMut::new(),
            interrupted: false,
        }
    }

    /// Whether somebody still takes the rows.
    fn is_wanted(&self) -> bool {
        !self.interrupted && !self.content.as_ref().is_some_and(mpsc::Sender::is_closed)
    }

    /// Adds a row; the first opens the document. Returns its length in bytes.
    async fn row(&mut self, row: &PgRow) -> Result<usize, RecordError> {
        if self.content.is_none() {
            self.open().await;
        }
        let before = self.buffer.len();
        for (index, shape) in self.plan.shapes.iter().enumerate() {
            let value: Option<&str> =
                (row.try_get(index)).map_err(|error| record_error(&self.plan.table, error))?;
            field(&mut self.buffer, index == 0, *shape, value);
        }
        end_row(&mut self.buffer);
        let length = self.buffer.len() - before;
        if self.buffer.len() >= CHUNK {
            self.flush().await;
        }
        Ok(length)
    }

    async fn open(&mut self) {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        for (index, name) in self.plan.header().enumerate() {
            field(&mut self.buffer, index == 0, Shape::Text, Some(name));
        }
        end_row(&mut self.buffer);
        let document = Document {
            name: self.plan.file_name.clone(),
            content_type: "text/csv; charset=utf-8".to_owned(),
            description: self.plan.dictionary.description.clone(),
            format: self.plan.dictionary.format.clone(),
            part: self.plan.dictionary.part,
            document_type: self.plan.dictionary.document_type.clone(),
            // Its rows were chosen by their dates already.
            period: None,
            protections: self.plan.protections.clone(),
            content: until_end(receiver),
        };
        // Where nobody listens any more, the content is closed as well.
        drop(self.documents.send(Some(Ok(document))).await);
        self.content = Some(sender);
    }

    async fn flush(&mut self) {
        let chunk = self.buffer.split().freeze();
        self.send(Some(Ok(chunk))).await;
    }

    async fn send(&mut self, step: Step<Bytes>) {
        if self.interrupted {
            return;
        }
        if let Some(content) = &self.content {
            tokio::select! {
                biased;
                // An error says that nobody takes it, which is_wanted tells.
                _ = content.send(step) => {}
                () = self.asked.notified() => self.interrupted = true,
            }
        }
    }

    /// Ends the document, well or not, or reports why there is none.
    async fn close(mut self, read: Result<(), RecordError>) -> Told {
        match (read, &self.content) {
            (Ok(()), None) => return Told::Nothing,
            (Ok(()), Some(_)) => {
                self.flush().await;
                self.send(None).await;
            }
            (Err(error), Some(_)) => self.send(Some(Err(error))).await,
            (Err(error), None) => drop(self.documents.send(Some(Err(error))).await),
        }
        if self.interrupted {
            Told::Interrupted
        } else {
            Told::Document
        }
    }
}
