use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::error::CliError;
use super::service;
use crate::wire::{ErrorBody, SCHEMA};

/// An answer larger than this is no answer of ours.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// Patience with what this machine answers by itself.
pub(super) const LOCAL: Duration = Duration::from_secs(30);

/// Patience with what goes out to the provider before it is answered.
pub(super) const PROVIDER: Duration = Duration::from_mins(3);

/// Where daemons may listen on this machine.
#[derive(Debug, Clone)]
pub struct Sockets {
    /// Ordinary daemons, the likeliest first.
    pub ordinary: Vec<PathBuf>,
    /// The daemon of `usaged run --sandbox`.
    pub sandbox: PathBuf,
}

/// One daemon, reached by its socket.
pub(super) struct Client {
    path: PathBuf,
    /// The connection that found it, for the first question.
    open: Cell<Option<UnixStream>>,
    /// Whether it was found in the sandbox without being asked for.
    pub(super) fell_back: bool,
    /// Where it is the machine's service that does not answer: who tells why.
    service: Option<service::Show>,
}

/// What the daemon said, byte for byte.
#[derive(Debug)]
pub(super) struct Said {
    path: PathBuf,
    pub(super) bytes: Bytes,
}

impl Client {
    /// A daemon at exactly this socket.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, open: Cell::new(None), fell_back: false, service: None }
    }

    /// The first ordinary daemon that answers; the sandbox's where none does and that one is there.
    pub(super) async fn find(sockets: &Sockets, show: service::Show) -> Self {
        let sandbox = std::iter::once((&sockets.sandbox, true));
        for (path, fell_back) in sockets.ordinary.iter().map(|path| (path, false)).chain(sandbox) {
            match UnixStream::connect(path).await {
                Ok(stream) => return Self { open: Cell::new(Some(stream)), fell_back, ..Self::at(path.clone()) },
                Err(error) if is_nobody(&error) => {}
                Err(_) => return Self { fell_back, ..Self::at(path.clone()) },
            }
        }
        let likeliest = sockets.ordinary.first().unwrap_or(&sockets.sandbox).clone();
        Self { service: Some(show), ..Self::at(likeliest) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Asks a question that changes nothing.
    pub(super) async fn get(&self, path: &str) -> Result<Said, CliError> {
        self.ask(Method::GET, path, Bytes::new(), LOCAL).await
    }

    /// Asks for something to be done.
    pub(super) async fn post<T: serde::Serialize + Sync>(
        &self,
        path: &str,
        body: &T,
        patience: Duration,
    ) -> Result<Said, CliError> {
        let json = serde_json::to_vec(body).map_err(io::Error::from)?;
        self.ask(Method::POST, path, json.into(), patience).await
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes, patience: Duration) -> Result<Said, CliError> {
        let stream = match self.open.take() {
            Some(stream) => stream,
            None => UnixStream::connect(&self.path).await.map_err(|source| self.unreachable(source))?,
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "usaged")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| self.lost(error))?;
        match tokio::time::timeout(patience, self.exchange(stream, request)).await {
            Ok(said) => said,
            Err(_) => Err(CliError::Silent { path: self.path.clone(), seconds: patience.as_secs() }),
        }
    }

    async fn exchange(&self, stream: UnixStream, request: Request<Full<Bytes>>) -> Result<Said, CliError> {
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.lost(error))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| self.unanswered(&error))?;
            self.read(response).await
        };
        tokio::pin!(answer, connection);
        // The connection does the work; it may end first, with the answer's last bytes still on their way to us.
        tokio::select! {
            biased;
            said = answer.as_mut() => said,
            _ = connection.as_mut() => answer.await,
        }
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Said, CliError> {
        let (parts, body) = response.into_parts();
        let bytes = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| self.lost(error))?.to_bytes();
        let said = Said { path: self.path.clone(), bytes };
        if parts.status.is_success() {
            return Ok(said);
        }
        let body: ErrorBody = said.cleaned()?;
        let retry_after = parts.headers.get(header::RETRY_AFTER);
        let retry_after_s = retry_after.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        Err(CliError::Answered { status: parts.status, retry_after_s, body })
    }

    fn unreachable(&self, source: io::Error) -> CliError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::PermissionDenied => CliError::NotAllowed { path, source },
            _ => CliError::NotReachable { path, source, service: self.service.and_then(service::hint) },
        }
    }

    /// A request that was canceled never left: the daemon had closed the connection, as it does where it has too many.
    fn unanswered(&self, error: &hyper::Error) -> CliError {
        if error.is_canceled() { CliError::TurnedAway { path: self.path.clone() } } else { self.lost(error) }
    }

    fn lost(&self, why: impl std::fmt::Display) -> CliError {
        CliError::Lost { path: self.path.clone(), why: why.to_string() }
    }
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

impl Said {
    /// The answer as its type, of a schema this program knows, with nothing in its texts that a terminal would obey.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        #[derive(serde::Deserialize)]
        struct Schema {
            schema: u32,
        }
        let Schema { schema } = self.cleaned()?;
        if schema != SCHEMA {
            let why = format!("it speaks schema {schema}, this usagectl {SCHEMA}");
            return Err(CliError::Unreadable { path: self.path.clone(), why });
        }
        self.cleaned()
    }

    /// The answer as metrics, to their end.
    pub(super) fn metrics(&self) -> Result<&[u8], CliError> {
        if self.bytes.ends_with(b"\n# EOF\n") {
            return Ok(&self.bytes);
        }
        let why = "these are no metrics, or not all of them".to_owned();
        Err(CliError::Unreadable { path: self.path.clone(), why })
    }

    fn cleaned<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        let unreadable =
            |error: serde_json::Error| CliError::Unreadable { path: self.path.clone(), why: error.to_string() };
        let mut value: serde_json::Value = serde_json::from_slice(&self.bytes).map_err(unreadable)?;
        clean(&mut value);
        serde_json::from_value(value).map_err(unreadable)
    }
}

/// Ids and sources come from whoever may record; one of them must not move the cursor of the person who looks.
fn clean(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) if text.contains(|c: char| c.is_control() && c != '\n') => {
            *text = text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}");
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(clean),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(clean),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_request_that_never_left_is_known_not_to_have_arrived() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let failure = runtime.block_on(async {
            let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            theirs.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").unwrap();
            drop(theirs);
            let ours = UnixStream::from_std(ours).unwrap();
            ours.readable().await.unwrap();
            let request = Request::builder().uri("/v1/usage").body(Full::new(Bytes::new())).unwrap();
            Client::at("usaged.sock".into()).exchange(ours, request).await.unwrap_err()
        });
        assert!(matches!(failure, CliError::TurnedAway { .. }), "{failure}");
        assert!(failure.is_passing() && !failure.may_have_arrived(), "{failure}");
    }
}
