//! Checks of passwords take turns: a crowd costs neither all of the memory nor every core.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use ehi_core::ports::LoginError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// Checks at once.
const AT_ONCE: usize = 4;

/// Checks that may wait for their turn.
const WAITING: usize = 64;

/// The turns of this process: of everybody who has a password, wherever its hash is kept.
pub(super) static TURNS: LazyLock<Turns> = LazyLock::new(|| Turns::new(AT_ONCE, WAITING));

/// The memory of a check, some 19 MiB. What one check has used, the next one uses again.
pub(super) type Blocks = Vec<Block>;

/// Who may check a password now, and who may wait.
#[derive(Debug)]
pub(super) struct Turns {
    free: Arc<Semaphore>,
    queue: Semaphore,
    spare: Arc<Mutex<Vec<Blocks>>>,
}

impl Turns {
    pub(super) fn new(at_once: usize, waiting: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(at_once)),
            queue: Semaphore::new(waiting),
            spare: Arc::default(),
        }
    }

    /// Does this work, on a thread where it is in nobody's way, once it is its turn. Where too
    /// many wait already, that is told at once.
    pub(super) async fn take<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Blocks) -> R + Send + 'static,
    ) -> Result<R, LoginError> {
        let turn = self.turn().await?;
        let spare = self.spare.clone();
        let done = tokio::task::spawn_blocking(move || {
            let lock = || spare.lock().unwrap_or_else(PoisonError::into_inner);
            let mut blocks = lock().pop().unwrap_or_default();
            let done = work(&mut blocks);
            lock().push(blocks);
            // Here and not where the answer is awaited: whoever asked may be gone, and the work
            // goes on.
            drop(turn);
            done
        });
        done.await.map_err(unavailable)
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, LoginError> {
        match self.free.clone().try_acquire_owned() {
            Ok(turn) => Ok(turn),
            Err(TryAcquireError::Closed) => Err(unavailable(TryAcquireError::Closed)),
            Err(TryAcquireError::NoPermits) => {
                let _place = self.queue.try_acquire().map_err(|_| {
                    LoginError::Unavailable("too many passwords wait to be checked".into())
                })?;
                self.free.clone().acquire_owned().await.map_err(unavailable)
            }
        }
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> LoginError {
    LoginError::Unavailable(error.into())
}

/// Whether this password has this hash.
pub(super) fn matches(password: &[u8], hash: &str, blocks: &mut Blocks) -> bool {
    try_match(password, hash, blocks).unwrap_or(false)
}

/// `None` for what is no hash.
fn try_match(password: &[u8], hash: &str, blocks: &mut Blocks) -> Option<bool> {
    let hash = PasswordHash::new(hash).ok()?;
    let (salt, expected) = (hash.salt.as_ref()?, hash.hash.as_ref()?);
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    let version = match hash.version {
        Some(version) => Version::try_from(version).ok()?,
        None => Version::default(),
    };
    let params = Params::try_from(&hash).ok()?;
    let needed = params.block_count();
    if blocks.len() < needed {
        blocks.resize(needed, Block::default());
    }
    let mut buffer = [0; Output::MAX_LENGTH];
    let output = buffer.get_mut(..expected.len())?;
    Argon2::new(algorithm, version, params)
        .hash_password_into_with_memory(password, salt, output, blocks.get_mut(..needed)?)
        .ok()?;
    // Outputs are compared in constant time.
    Some(Output::new(output).ok()? == *expected)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use argon2::password_hash::phc::ParamsString;
    use argon2::password_hash::{PasswordHasher, PasswordVerifier};
    use tokio::sync::oneshot;

    use super::*;

    /// Work that lasts until it is let go; it says when it begins.
    fn work() -> (
        impl FnOnce(&mut Blocks) -> usize + Send + 'static,
        oneshot::Receiver<()>,
        mpsc::Sender<()>,
    ) {
        let (begins, begun) = oneshot::channel();
        let (go, gone) = mpsc::channel::<()>();
        let work = move |blocks: &mut Blocks| {
            let _ = begins.send(());
            let _ = gone.recv();
            blocks.push(Block::default());
            blocks.len()
        };
        (work, begun, go)
    }

    #[tokio::test]
    async fn a_check_keeps_its_turn_when_whoever_asked_is_gone() {
        let turns = Arc::new(Turns::new(1, 1));
        let (first, begun, go) = work();
        let asked = tokio::spawn({
            let turns = turns.clone();
            async move { turns.take(first).await }
        });
        begun.await.unwrap();
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        assert_eq!(turns.free.available_permits(), 0, "it is still at work");
        drop(go);
        let memory = turns.take(|blocks| blocks.len()).await.unwrap();
        assert_eq!(memory, 1, "the memory of the first is used again");
    }

    #[tokio::test]
    async fn a_crowd_waits_and_what_is_too_much_is_told_so_at_once() {
        let turns = Arc::new(Turns::new(1, 1));
        let (first, begun, go) = work();
        let ask = |work| {
            let turns = turns.clone();
            tokio::spawn(async move { turns.take(work).await })
        };
        let first = ask(first);
        begun.await.unwrap();
        let (second, _, go_second) = work();
        let mut second = std::pin::pin!(turns.take(second));
        assert!(futures::poll!(&mut second).is_pending());
        let third = turns.take(|_| ()).await;
        assert!(
            matches!(third, Err(LoginError::Unavailable(_))),
            "{third:?}"
        );
        drop((go, go_second));
        assert_eq!(first.await.unwrap().unwrap(), 1);
        assert_eq!(second.await.unwrap(), 2);
        turns.take(|_| ()).await.unwrap();
    }

    #[test]
    fn memory_that_was_used_before_changes_no_answer() {
        let hash = |params: &str| {
            let params = Params::try_from(&params.parse::<ParamsString>().unwrap()).unwrap();
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon2.hash_password(b"right").unwrap().to_string()
        };
        let mut blocks = Blocks::new();
        for params in ["m=64,t=2,p=2", "m=8,t=1,p=1", "m=128,t=1,p=4"] {
            let hash = hash(params);
            for (password, right) in [("right", true), ("wrong", false), ("right", true)] {
                let password = password.as_bytes();
                assert_eq!(matches(password, &hash, &mut blocks), right, "{params}");
                let theirs = Argon2::default().verify_password(password, hash.as_str());
                assert_eq!(theirs.is_ok(), right, "{params}");
            }
        }
        assert!(!matches(b"right", "no hash", &mut blocks));
    }
}
