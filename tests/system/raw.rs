//! Requests byte by byte, for what no well-behaved client would send.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::server::Server;

/// Sends bytes as they are, which an HTTP client would tidy up, and reads the answer.
pub fn raw(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    // Some servers wait for the rest of a request they have refused: the status line is enough.
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") || request.contains("Connection: close")
    {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(length) => answer.extend_from_slice(&chunk[..length]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes as they are, and reads all answers until the server closes the connection.
pub fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut stream = connect(server);
    // It may close before it has read everything.
    let _ = stream.write_all(bytes);
    read_to_end(&mut stream)
}

/// A connection to a server, as it came.
pub fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(40)))
        .unwrap();
    stream
}

/// Everything that comes until the server closes the connection. One that stays open fails the
/// test.
pub fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&chunk[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let answer = String::from_utf8_lossy(&answer);
                panic!("the connection stays open after {answer:?}")
            }
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status codes of all answers in what came.
pub fn statuses(answers: &str) -> Vec<u16> {
    let lines = answers.split("HTTP/1.1 ").skip(1);
    lines
        .filter_map(|line| line.get(..3)?.parse().ok())
        .collect()
}
