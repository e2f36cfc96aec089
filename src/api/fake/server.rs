use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::FakeDesk;
use crate::api::{Access, Limits, bind, serve};

/// The API on a socket of its own, served from a thread of its own, stopped when it goes.
pub(crate) struct Server {
    pub(crate) desk: Arc<FakeDesk>,
    pub(crate) directory: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// An answer, as a client sees it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    /// Null where it is something else.
    pub(crate) json: serde_json::Value,
    pub(crate) text: String,
}

impl Server {
    /// With the rights of the user that runs the test.
    pub(crate) fn start(desk: FakeDesk) -> Self {
        Self::with(desk, |_| Access::new(rustix::process::geteuid().as_raw(), None), Limits::new(4_096, 5))
    }

    pub(crate) fn with(desk: FakeDesk, access: impl FnOnce(&Path) -> Access, limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let desk = Arc::new(desk);
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, listens) = std::sync::mpsc::channel();
        let (path, access, served) =
            (directory.path().join("usaged.sock"), access(directory.path()), Arc::clone(&desk));
        let thread = std::thread::spawn(move || {
            runtime().block_on(async move {
                let socket = bind(&path).await.unwrap();
                ready.send(()).unwrap();
                serve(socket, served, access, limits, async move { _ = stopped.await.is_ok() }).await;
            });
        });
        listens.recv().expect("the server listens");
        Self { desk, directory, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("usaged.sock")
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.desk.asked.lock().unwrap().clone()
    }

    pub(crate) fn get(&self, path: &str) -> Answered {
        self.send(Request::get(path), "")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answered {
        self.send(Request::post(path), body)
    }

    pub(crate) fn send(&self, request: hyper::http::request::Builder, body: &str) -> Answered {
        let request = request.header(header::HOST, "usaged").body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        runtime().block_on(async {
            let stream = UnixStream::connect(self.path()).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            let mut driven = tokio::task::JoinSet::new();
            driven.spawn(connection);
            let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let is_json = parts.headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind == "application/json");
            let json = || serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
            let json = if is_json { json() } else { serde_json::Value::Null };
            Answered { status: parts.status.as_u16(), headers: parts.headers, json, text }
        })
    }

    /// Asks it to stop, without waiting for its end.
    pub(crate) fn ask_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            _ = stop.send(()).is_ok();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    pub(crate) fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            _ = thread.join().is_ok();
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
