//! A hospital's FHIR server that keeps a record back until the test says so.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::patients::{ANNA, patient};
use crate::wait::until;

/// Anna's record behind a gate: a part of it comes at once, and the rest when the gate is open.
#[derive(Debug)]
pub struct GatedSource {
    address: SocketAddr,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    open: AtomicBool,
    /// How many exports came for the record.
    came: AtomicUsize,
    /// How many of them left before they had all of it.
    left: AtomicUsize,
}

impl GatedSource {
    /// Starts it with the gate closed.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Arc::new(Gate::default());
        let shared = gate.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let gate = shared.clone();
                // Whoever hangs up hangs up.
                thread::spawn(move || answer(stream, &gate));
            }
        });
        Self { address, gate }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets everybody have the rest.
    pub fn open(&self) {
        self.gate.open.store(true, Ordering::SeqCst);
    }

    /// Waits until this many exports came for the record.
    pub async fn came(&self, count: usize) {
        let came = || self.gate.came.load(Ordering::SeqCst) >= count;
        until("an export to begin", async || came().then_some(())).await;
    }

    /// Waits until this many exports left before they had all of it; how long that took.
    pub async fn left(&self, count: usize) -> Duration {
        let begun = Instant::now();
        while self.gate.left.load(Ordering::SeqCst) < count {
            assert!(begun.elapsed() < Duration::from_secs(20), "it goes on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        begun.elapsed()
    }
}

fn answer(mut stream: TcpStream, gate: &Gate) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let everything = head.windows(11).any(|part| part == b"$everything");
    let anna = patient(ANNA, "Anna", "Åström");
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nConnection: close\r\n\r\n"
    )?;
    if !everything {
        return write!(stream, "{anna}");
    }
    write!(
        stream,
        "{{\"resourceType\": \"Bundle\", \"type\": \"searchset\", \"entry\": [{{\"resource\": {anna}}}"
    )?;
    for number in 0..2_000 {
        let flag = json!({
            "resourceType": "Observation", "id": format!("o-{number}"), "status": "final",
            "code": {"text": "Pulse"}, "subject": {"reference": format!("Patient/{ANNA}")}
        });
        write!(stream, ", {{\"resource\": {flag}}}")?;
    }
    gate.came.fetch_add(1, Ordering::SeqCst);
    stream.set_read_timeout(Some(Duration::from_millis(5)))?;
    while !gate.open.load(Ordering::SeqCst) {
        match stream.read(&mut byte) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => {
                gate.left.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
        }
    }
    write!(stream, "]}}")
}
