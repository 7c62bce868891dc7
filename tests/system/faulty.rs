//! A hospital's FHIR server that fails by chance.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::patients::{ByKey, key, of, patient, with};

/// How long it is silent in the middle of an answer: less than anybody loses patience in.
const SILENCE: Duration = Duration::from_millis(500);
/// How many attempts at one patient's record it spoils at most.
const SPOILED: usize = 3;
const PAGES: usize = 3;

/// A server of patients whose records follow from their ids.
#[derive(Debug)]
pub struct FaultySource {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    dice: Mutex<Dice>,
    spoiled: Mutex<BTreeMap<String, usize>>,
    struck: AtomicUsize,
    down: AtomicBool,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// An answer that it failed.
    Error,
    /// An answer that it is busy.
    Busy,
    /// The connection ends at once.
    Reset,
    /// The connection ends in the middle.
    Cut,
    /// Nothing comes for a while in the middle.
    Stall,
}

impl FaultySource {
    /// Starts it.
    pub fn start(dice: Dice) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            dice: Mutex::new(dice),
            spoiled: Mutex::default(),
            struck: AtomicUsize::new(0),
            down: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // Whoever hangs up hangs up.
                thread::spawn(move || state.answer(&stream));
            }
        });
        Self { address, state }
    }

    /// Its section of a configuration.
    pub fn config(&self) -> String {
        format!(
            "fhir_server = {{ base_url = 'http://{}', answer_timeout = '3s', read_timeout = '3s', \
             retries = {{ first_wait = '50ms', longest_wait = '200ms' }} }}",
            self.address
        )
    }

    /// No record comes from now on.
    pub fn break_down(&self) {
        self.state.down.store(true, Ordering::SeqCst);
    }

    /// How many requests failed.
    pub fn struck(&self) -> usize {
        self.state.struck.load(Ordering::SeqCst)
    }
}

/// The record of a patient.
pub fn record(id: &str) -> ByKey {
    let all = pages(id).into_iter().flatten();
    all.map(|resource| (key(&resource), resource)).collect()
}

fn pages(id: &str) -> Vec<Vec<Value>> {
    let mut pages = vec![vec![patient(id, "Pat", id)]];
    pages.resize(PAGES, Vec::new());
    for (number, page) in pages.iter_mut().enumerate() {
        page.extend((0..20).map(|each| {
            let observation = of(id, "Observation", &format!("o-{number}-{each}"), "subject");
            with(
                observation,
                json!({"code": {"text": format!("{each} of {id}")}}),
            )
        }));
    }
    pages
}

impl State {
    fn answer(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let mut host = String::new();
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some((_, value)) = line.split_once(": ").filter(|(name, _)| *name == "host") {
                value.clone_into(&mut host);
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let Some(id) = path.strip_prefix("/Patient/") else {
            return Self::send(stream, 404, "", &json!({}), None);
        };
        let (id, everything) = match id.split_once("/$everything") {
            Some((id, query)) => (id, Some(query)),
            None => (id, None),
        };
        if everything.is_some() && self.down.load(Ordering::SeqCst) {
            return Self::send(stream, 500, "", &json!({}), None);
        }
        let content = match everything {
            None => patient(id, "Pat", id),
            Some(query) => {
                let (_, page) = query.split_once("page=").unwrap_or(("", "0"));
                page_of(id, page.parse().unwrap_or_default(), &host)
            }
        };
        let fault = self.fault(id);
        match fault {
            Some(Fault::Reset) => Ok(set_socket_linger(stream, Some(Duration::ZERO))?),
            Some(Fault::Error) => Self::send(stream, 500, "", &json!({}), None),
            Some(Fault::Busy) => Self::send(stream, 503, "Retry-After: 1\r\n", &json!({}), None),
            fault => Self::send(stream, 200, "", &content, fault),
        }
    }

    /// What happens to a request for this patient, by chance.
    fn fault(&self, id: &str) -> Option<Fault> {
        let fault = match self.dice.lock().unwrap().below(10) {
            0 => Fault::Error,
            1 => Fault::Busy,
            2 => Fault::Reset,
            3 => Fault::Cut,
            4 => Fault::Stall,
            _ => return None,
        };
        if matches!(fault, Fault::Error | Fault::Cut) {
            let mut spoiled = self.spoiled.lock().unwrap();
            let times = spoiled.entry(id.to_owned()).or_default();
            if *times == SPOILED {
                return None;
            }
            *times += 1;
        }
        self.struck.fetch_add(1, Ordering::SeqCst);
        Some(fault)
    }

    fn send(
        mut stream: &TcpStream,
        status: u16,
        headers: &str,
        content: &Value,
        fault: Option<Fault>,
    ) -> std::io::Result<()> {
        let body = content.to_string();
        write!(
            stream,
            "HTTP/1.1 {status} As told\r\nContent-Type: application/fhir+json\r\nConnection: close\r\n\
             {headers}Content-Length: {}\r\n\r\n",
            body.len()
        )?;
        let (begin, end) = body.as_bytes().split_at(body.len() / 2);
        stream.write_all(begin)?;
        match fault {
            Some(Fault::Cut) => return Ok(()),
            Some(Fault::Stall) => thread::sleep(SILENCE),
            _ => {}
        }
        stream.write_all(end)
    }
}

fn page_of(id: &str, number: usize, host: &str) -> Value {
    let page = pages(id).into_iter().nth(number).unwrap_or_default();
    let entries: Vec<_> = page.iter().map(|one| json!({"resource": one})).collect();
    let mut links = Vec::new();
    if number + 1 < PAGES {
        let next = format!("http://{host}/Patient/{id}/$everything?page={}", number + 1);
        links.push(json!({"relation": "next", "url": next}));
    }
    json!({"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries})
}
