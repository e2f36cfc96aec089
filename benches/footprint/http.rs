//! Just enough HTTP to ask the daemon, so that what is measured is not a client library.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// `GET /v1/status`.
pub(crate) fn status(socket: &Path) -> Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: usaged\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "status answered {head}");
    Ok(serde_json::from_str(body)?)
}

/// A connection that stays open.
pub(crate) struct Connection {
    stream: tokio::net::UnixStream,
    answer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(socket: &Path) -> Result<Self> {
        Ok(Self { stream: tokio::net::UnixStream::connect(socket).await?, answer: Vec::new() })
    }

    /// `POST /v1/usage`; fails unless every record was accepted.
    pub(crate) async fn record(&mut self, lines: &str, records: usize) -> Result<()> {
        let request = format!(
            "POST /v1/usage HTTP/1.1\r\nHost: usaged\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n{lines}",
            lines.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.read().await?;
        let answer = std::str::from_utf8(&self.answer)?;
        let accepted = answer.matches("\"accepted\"").count();
        // Once for each record, and once as the name of their sum.
        ensure!(accepted == records + 1, "{} of {records} accepted: {answer}", accepted.saturating_sub(1));
        Ok(())
    }

    async fn read(&mut self) -> Result<()> {
        self.answer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.answer).await? > 0, "the connection was cut");
            if whole(&self.answer)? {
                return Ok(());
            }
        }
    }
}

fn whole(answer: &[u8]) -> Result<bool> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(false) };
    let head = std::str::from_utf8(answer.get(..end).unwrap_or_default())?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).context("no length")?;
    let length: usize = length.trim().parse()?;
    Ok(answer.len() >= end + 4 + length)
}
