//! A loopback server that follows a script, byte by byte: it can cut, stall and answer nonsense.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

/// What one connection gets.
pub(super) enum Act {
    /// These bytes after the request was read, then the end of the connection.
    Answer(Vec<u8>),
    /// The end of the connection after the request was read.
    Cut,
    /// Nothing, until the client gives up.
    Stall,
}

/// One connection after the other, one act each; ends with what was asked.
pub(super) struct TestServer {
    pub(super) base_url: String,
    served: JoinHandle<Vec<String>>,
}

impl TestServer {
    pub(super) fn play(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let served = thread::spawn(move || acts.into_iter().map(|act| serve(&listener, &act)).collect());
        Self { base_url, served }
    }

    /// The requests, as they came.
    pub(super) fn requests(self) -> Vec<String> {
        self.served.join().unwrap()
    }
}

fn serve(listener: &TcpListener, act: &Act) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let request = read_request(&mut stream);
    match act {
        // The client may have gone away in the middle of it, which is what some tests are about.
        Act::Answer(bytes) => drop(stream.write_all(bytes)),
        Act::Cut => {}
        Act::Stall => drop(stream.read_to_end(&mut Vec::new())),
    }
    request
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, length)| length.parse::<usize>().unwrap());
            if body.len() >= length {
                return text.into_owned();
            }
        }
        match stream.read(&mut buffer).unwrap() {
            0 => panic!("the request ended early: {text}"),
            n => request.extend_from_slice(&buffer[..n]),
        }
    }
}
