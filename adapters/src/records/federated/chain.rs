//! The members' streams, one after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ehi_core::fhir::PatientId;
use ehi_core::ports::{RecordError, RecordSource, SourceError, Unreadable};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::Member;

/// What a member gives.
type Items<T> = BoxStream<'static, Result<T, RecordError>>;

/// Tells the errors of one member in one run.
#[derive(Debug)]
pub(super) struct Telling {
    member: Member,
    /// Whether its failure has been reported: several documents, and the stream behind them, may
    /// all fail for the same reason.
    is_reported: AtomicBool,
}

impl Telling {
    fn new(member: Member) -> Self {
        Self {
            member,
            is_reported: AtomicBool::new(false),
        }
    }

    /// An error in the middle of an item, which is lost in any case.
    pub(super) fn spoiled(&self, error: RecordError) -> RecordError {
        match error {
            RecordError::Unreadable(what) => self.unreadable(&what),
            RecordError::Source(error) => {
                self.is_reported.store(true, Ordering::Relaxed);
                self.failed(error)
            }
        }
    }

    fn failed(&self, error: SourceError) -> RecordError {
        if self.member.is_essential {
            return self.member.blame(error).into();
        }
        self.member.warn(&error);
        RecordError::Unreadable(Unreadable {
            place: self.member.name.clone(),
            reason: format!(
                "{} did not answer, and what it holds is missing or incomplete",
                self.member.name
            ),
        })
    }

    fn unreadable(&self, what: &Unreadable) -> RecordError {
        RecordError::Unreadable(Unreadable {
            place: format!("{}, {}", self.member.name, what.place),
            reason: what.reason.clone(),
        })
    }

    /// The failure of the whole member; `None` where it is reported already.
    fn over(&self, error: SourceError) -> Option<RecordError> {
        let is_reported = self.is_reported.swap(true, Ordering::Relaxed);
        (self.member.is_essential || !is_reported).then(|| self.failed(error))
    }
}

struct Chain<T, Open> {
    members: Arc<[Member]>,
    /// Which member comes next.
    next: usize,
    patient: PatientId,
    open: Open,
    current: Option<(Arc<Telling>, Items<T>)>,
    /// Whether some member did not say that there is no such patient.
    is_known: bool,
    is_over: bool,
}

/// Streams what `open` gives of each member, each item passed through `told`.
pub(super) fn chain<T, Open, Opening, Told>(
    members: Arc<[Member]>,
    patient: PatientId,
    open: Open,
    told: Told,
) -> Items<T>
where
    T: Send + 'static,
    Open: Fn(Arc<dyn RecordSource>, PatientId) -> Opening + Send + 'static,
    Opening: Future<Output = Result<Items<T>, SourceError>> + Send,
    Told: Fn(T, &Arc<Telling>) -> T + Send + 'static,
{
    let chain = Chain {
        members,
        next: 0,
        patient,
        open,
        current: None,
        is_known: false,
        is_over: false,
    };
    stream::unfold((chain, told), async |(mut chain, told)| {
        let (item, by) = chain.next().await?;
        let item = match by {
            Some(by) => item.map(|item| told(item, &by)),
            None => item,
        };
        Some((item, (chain, told)))
    })
    .boxed()
}

type Next<T> = Option<(Result<T, RecordError>, Option<Arc<Telling>>)>;

impl<T, Open, Opening> Chain<T, Open>
where
    Open: Fn(Arc<dyn RecordSource>, PatientId) -> Opening,
    Opening: Future<Output = Result<Items<T>, SourceError>>,
{
    async fn next(&mut self) -> Next<T> {
        while !self.is_over {
            let Some((telling, items)) = &mut self.current else {
                if let Some(item) = self.enter().await {
                    return Some(item);
                }
                continue;
            };
            let telling = Arc::clone(telling);
            match items.next().await {
                Some(Ok(item)) => return Some((Ok(item), Some(telling))),
                Some(Err(RecordError::Unreadable(what))) => {
                    return Some((Err(telling.unreadable(&what)), None));
                }
                Some(Err(RecordError::Source(error))) => {
                    self.current = None;
                    if let Some(error) = self.fails(&telling, error) {
                        return Some(error);
                    }
                }
                None => self.current = None,
            }
        }
        None
    }

    /// Turns to the next member. Gives what there is to report of it, or of all of them.
    async fn enter(&mut self) -> Next<T> {
        let Some(member) = self.members.get(self.next).cloned() else {
            self.is_over = true;
            return (!self.is_known).then(|| (Err(SourceError::NotFound.into()), None));
        };
        self.next += 1;
        let source = Arc::clone(&member.source);
        let ids = Arc::clone(&member.ids);
        let opened = match ids.theirs(&self.patient).await {
            Ok(Some(theirs)) => (self.open)(source, theirs).await,
            Ok(None) => Err(SourceError::NotFound),
            Err(error) => Err(error),
        };
        if !matches!(opened, Err(SourceError::NotFound)) {
            self.is_known = true;
        }
        let telling = Arc::new(Telling::new(member));
        match opened {
            Ok(items) => self.current = Some((telling, items)),
            Err(SourceError::NotFound) => {}
            Err(error) => return self.fails(&telling, error),
        }
        None
    }

    fn fails(&mut self, telling: &Telling, error: SourceError) -> Next<T> {
        self.is_over = telling.member.is_essential;
        telling.over(error).map(|error| (Err(error), None))
    }
}
