//! How many connections there may be. Those at which nothing is being done give way to new ones,
//! the one that waits longest first: whoever opens thousands and leaves them idle keeps nobody out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ehi_core::auth::Network;
use tokio::sync::Notify;
use tokio::time::Instant;

/// All connections of a listener.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    most_per_network: usize,
    started: Instant,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    seats: HashMap<u64, Arc<Seat>>,
    per_network: HashMap<Network, usize>,
}

/// A connection as its listener knows it.
#[derive(Debug)]
struct Seat {
    network: Option<Network>,
    /// [`WORKING`], [`LEAVING`], or since how many milliseconds of the listener it waits.
    state: AtomicU64,
    leave: Notify,
}

const WORKING: u64 = u64::MAX;
const LEAVING: u64 = u64::MAX - 1;

/// There is no room: every connection that counts is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Connections {
    /// Room for so many, of which so many from one network.
    pub fn new(most: usize, most_per_network: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_per_network,
            started: Instant::now(),
            table: Mutex::default(),
        })
    }

    /// Lets a connection in. `None` for a trusted proxy, which stands for many.
    pub fn admit(self: &Arc<Self>, network: Option<Network>) -> Result<Place, Full> {
        let mut table = self.table();
        let crowd = network.map_or(0, |network| {
            table.per_network.get(&network).copied().unwrap_or_default()
        });
        if crowd >= self.most_per_network {
            table.send_away(|seat| seat.network == network)?;
        } else if table.seats.len() >= self.most {
            table.send_away(|_| true)?;
        }
        let id = table.next;
        table.next += 1;
        let seat = Arc::new(Seat {
            network,
            state: AtomicU64::new(self.now()),
            leave: Notify::new(),
        });
        table.seats.insert(id, seat.clone());
        if let Some(network) = network {
            *table.per_network.entry(network).or_default() += 1;
        }
        Ok(Place {
            id,
            seat,
            connections: self.clone(),
        })
    }

    /// Asks whoever waits longest to leave, when the system has no room left.
    pub fn send_one_away(&self) -> Result<(), Full> {
        self.table().send_away(|_| true)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(LEAVING - 1)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn send_away(&mut self, may: impl Fn(&Seat) -> bool) -> Result<(), Full> {
        loop {
            let waiting = self.seats.iter().filter(|(_, seat)| may(seat));
            let waiting = waiting.map(|(id, seat)| (seat.state.load(Ordering::Acquire), *id));
            let (since, id) = waiting
                .filter(|(state, _)| *state < LEAVING)
                .min()
                .ok_or(Full)?;
            let seat = self.seats.get(&id).ok_or(Full)?;
            // A request may have come in between; then it is somebody else's turn.
            if seat.becomes(since, LEAVING) {
                seat.leave.notify_one();
                self.remove(id);
                return Ok(());
            }
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(seat) = self.seats.remove(&id) else {
            return;
        };
        if let Some(network) = seat.network
            && let Some(count) = self.per_network.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                self.per_network.remove(&network);
            }
        }
    }
}

impl Seat {
    fn becomes(&self, from: u64, to: u64) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        self.state
            .compare_exchange(from, to, success, failure)
            .is_ok()
    }
}

/// The place of a connection; dropping it makes room.
#[derive(Debug)]
pub struct Place {
    id: u64,
    seat: Arc<Seat>,
    connections: Arc<Connections>,
}

impl Place {
    /// Done when the connection is to make room for another one.
    pub async fn asked_to_leave(&self) {
        self.seat.leave.notified().await;
    }

    /// The connection's way to say that it is at work.
    pub fn work(&self) -> Work {
        Work {
            seat: self.seat.clone(),
            connections: self.connections.clone(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.table().remove(self.id);
    }
}

/// A connection's way to say that it is at work.
#[derive(Debug, Clone)]
pub struct Work {
    seat: Arc<Seat>,
    connections: Arc<Connections>,
}

impl Work {
    /// From now on it is, until this is dropped. `None` for one that is about to leave.
    pub fn begin(&self) -> Option<Working> {
        let before = self.seat.state.load(Ordering::Acquire);
        let begun = before < LEAVING && self.seat.becomes(before, WORKING);
        begun.then(|| Working(self.clone()))
    }
}

/// A connection is at work.
#[derive(Debug)]
pub struct Working(Work);

impl Drop for Working {
    fn drop(&mut self) {
        let Work { seat, connections } = &self.0;
        seat.becomes(WORKING, connections.now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::{advance, timeout};

    fn network(last: u8) -> Network {
        Network::of([192, 0, 2, last].into())
    }

    async fn leaves(place: &Place) -> bool {
        let asked = place.asked_to_leave();
        timeout(Duration::ZERO, asked).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_longest_makes_room_and_who_works_does_not() {
        let connections = Connections::new(3, 3);
        let working = connections.admit(Some(network(1))).unwrap();
        let _at_work = working.work().begin().unwrap();
        advance(Duration::from_secs(1)).await;
        let patient = connections.admit(Some(network(2))).unwrap();
        advance(Duration::from_secs(1)).await;
        let recent = connections.admit(Some(network(3))).unwrap();
        advance(Duration::from_secs(1)).await;
        let new = connections.admit(Some(network(4))).unwrap();
        assert!(leaves(&patient).await && patient.work().begin().is_none());
        assert!(!leaves(&working).await && !leaves(&recent).await && !leaves(&new).await);
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_work_nobody_else_gets_in_until_one_is_done() {
        let connections = Connections::new(2, 2);
        let places = [1, 2].map(|last| connections.admit(Some(network(last))).unwrap());
        let mut work = places.each_ref().map(|place| place.work().begin());
        assert_eq!(connections.admit(Some(network(3))).unwrap_err(), Full);
        assert_eq!(connections.send_one_away(), Err(Full));
        work[0] = None;
        connections.admit(Some(network(3))).unwrap();
        assert!(leaves(&places[0]).await && !leaves(&places[1]).await);
    }

    #[tokio::test(start_paused = true)]
    async fn one_network_has_its_share_and_its_own_have_to_make_room() {
        let connections = Connections::new(10, 2);
        let other = connections.admit(Some(network(9))).unwrap();
        let mine = [1, 1].map(|last| connections.admit(Some(network(last))).unwrap());
        let third = connections.admit(Some(network(1))).unwrap();
        assert!(leaves(&mine[0]).await || leaves(&mine[1]).await);
        assert!(!leaves(&other).await && !leaves(&third).await);
        // A trusted proxy stands for many.
        let many: Vec<_> = (0..5).map(|_| connections.admit(None).unwrap()).collect();
        drop((many, mine, third, other));
        let table = connections.table();
        assert!(table.seats.is_empty() && table.per_network.is_empty());
    }
}
