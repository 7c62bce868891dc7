//! Clients that take their time, and clients in crowds: nobody keeps others out for long.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::net::{AddressFamily, SocketType, bind, connect as connect_to, socket};
use rustix::process::{Resource, getrlimit};

use crate::app::App;
use crate::browser::{http, send};
use crate::export::in_review;
use crate::patients::{ANNA, Records};
use crate::raw::{connect, read_to_end, statuses};
use crate::server::Server;
use crate::site::Site;
use crate::staff::Staff;
use crate::wait::until;

/// A connection from another address of this machine.
fn connect_from(server: &Server, last: u8) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let address = |last, port| std::net::SocketAddr::from(([127, 0, 0, last], port));
    bind(&socket, &address(last, 0)).unwrap();
    connect_to(&socket, &address(1, server.port())).unwrap();
    let stream = TcpStream::from(socket);
    let patience = Some(Duration::from_secs(40));
    stream.set_read_timeout(patience).unwrap();
    stream
}

/// Sends a byte at a time, without end. How long until the server has enough.
fn trickle(mut stream: TcpStream, byte: &[u8]) -> (Duration, String) {
    let begun = Instant::now();
    let mut reader = stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || read_to_end(&mut reader));
    while !reading.is_finished() && begun.elapsed() < Duration::from_secs(40) {
        if stream.write_all(byte).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    (begun.elapsed(), reading.join().unwrap())
}

#[test]
fn a_head_that_trickles_in_is_given_up() {
    let server = Site::new().start("[limits]\nhead_time = '2s'");
    let mut stream = connect(&server);
    write!(stream, "GET /fhir/metadata HTTP/1.1\r\nHost: a\r\nX: ").unwrap();
    let (lasted, answer) = trickle(stream, b"a");
    assert!(lasted < Duration::from_secs(10), "{lasted:?}");
    assert!(!statuses(&answer).contains(&200), "{answer}");
}

#[test]
fn a_connection_that_is_kept_and_not_used_ends() {
    let server = Site::new().start("[limits]\nhead_time = '2s'");
    let mut stream = connect(&server);
    write!(stream, "GET /fhir/metadata HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let begun = Instant::now();
    assert_eq!(statuses(&read_to_end(&mut stream)), [200]);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_body_that_trickles_in_is_given_up() {
    let server = Site::new().start("[limits]\nbody_time = '2s'");
    let head = "POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    for (framing, byte) in [
        ("Content-Length: 60000", b"a".as_slice()),
        ("Transfer-Encoding: chunked", b"1\r\na\r\n"),
    ] {
        let mut stream = connect(&server);
        write!(stream, "{head}{framing}\r\n\r\n").unwrap();
        let (lasted, answer) = trickle(stream, byte);
        assert!(lasted < Duration::from_secs(10), "{lasted:?}");
        assert!(
            matches!(statuses(&answer).as_slice(), [] | [400]),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_download_that_nobody_reads_is_given_up() {
    let server = Site::new().start("[limits]\nanswer_time = '2s'");
    let app = App::connect(&server, ANNA).await;
    let staff = Staff::log_in(&server).await;
    let job = in_review(&app).await;
    let large = vec![b'a'; 64 << 20];
    staff
        .add_files(&job, &[("large.txt", "text/plain", &large)])
        .await
        .expect(200);
    staff.approve(&job).await.expect(200);
    app.wait_for_manifest(&job).await;
    let mut stream = connect(&server);
    write!(
        stream,
        "GET /jobs/{}/download/attachments/large.txt HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n",
        job.id, app.token
    )
    .unwrap();
    until("the end of the download", async || {
        let log = server.log();
        log.contains("the answer is not being read").then_some(())
    })
    .await;
    let mut got = 0;
    let mut chunk = vec![0; 1 << 20];
    while let Ok(length @ 1..) = stream.read(&mut chunk) {
        got += length;
    }
    assert!(got < large.len(), "all of it came");
    // Whoever reads gets all of it.
    let url = server.url(&format!("/jobs/{}/download/attachments/large.txt", job.id));
    assert_eq!(app.get(&url).await.expect(200).body.len(), large.len());
}

#[tokio::test]
async fn ten_thousand_idle_connections_keep_nobody_out() {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let crowd = usize::try_from(files.saturating_sub(500))
        .unwrap()
        .min(10_000);
    let server = Site::new().start(&format!(
        "[limits]\nconnections = {crowd}\nconnections_per_address = {crowd}\nhead_time = '10 min'"
    ));
    let app = App::connect(&server, ANNA).await;
    let before = server.memory();
    let mut idle = Vec::new();
    for number in 0..crowd {
        let mut stream = connect(&server);
        // Some say nothing, and some begin to speak.
        if number % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
        }
        idle.push(stream);
    }
    for _ in 0..20 {
        let begun = Instant::now();
        send(http().get(server.url("/fhir/metadata")))
            .await
            .expect(200);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?} among {crowd}");
    }
    let job = app.kick_off("/no-form").await;
    app.wait_for(&job, "retrieved").await;
    let each = server.memory().saturating_sub(before) / crowd as u64;
    assert!(
        each <= 32,
        "{each} KiB for each of {crowd} idle connections"
    );
    // They were not all sent away: the one that came last is still there.
    let last = idle.last_mut().unwrap();
    last.set_nonblocking(true).unwrap();
    let read = last.read(&mut [0; 1]);
    assert!(read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn one_address_takes_no_more_than_its_share() {
    let server = Site::new().start("[limits]\nconnections_per_address = 3");
    // At work: their bodies are on the way.
    let post = "POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut working: Vec<_> = (0..3).map(|_| connect_from(&server, 2)).collect();
    for stream in &mut working {
        stream.write_all(post.as_bytes()).unwrap();
        let mut wanted = [0; 25];
        stream.read_exact(&mut wanted).unwrap();
        assert_eq!(&wanted, b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    let mut fourth = connect_from(&server, 2);
    let _ =
        fourth.write_all(b"GET /fhir/metadata HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(read_to_end(&mut fourth), "");
    send(http().request(Method::GET, server.url("/fhir/metadata")))
        .await
        .expect(200);
    // Those that were at work come to their end.
    for stream in &mut working {
        stream.write_all(b"a=b").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 400");
    }
    let mut idle = connect_from(&server, 2);
    idle.write_all(b"GET /fhir/metadata HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    assert_eq!(
        statuses(&read_to_end(&mut idle)),
        [200],
        "an idle one gave way"
    );
}

#[test]
fn a_crowd_at_the_demo_is_no_reason_to_end() {
    let server = Server::demo(&Records::small());
    let crowd: Vec<_> = (0..2_500).map(|_| connect(&server)).collect();
    let mut one_more = connect(&server);
    one_more
        .write_all(b"GET /fhir/metadata HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    assert_eq!(statuses(&read_to_end(&mut one_more)), [200]);
    drop(crowd);
    assert!(server.shutdown().success());
}
