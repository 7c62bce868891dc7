//! Requests byte by byte, for what no well-behaved client would send.

use std::io::{Read, Write};
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
