//! An endpoint of somebody's, which notes what comes and answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::{Serving, wait_until};

pub(crate) struct Receiver {
    pub(crate) url: String,
    inbox: Arc<Inbox>,
    _serving: Serving,
}

#[derive(Default)]
struct Inbox {
    came: Mutex<Vec<Letter>>,
    /// What the next ones are answered with; 200 where nothing is said.
    answers: Mutex<VecDeque<u16>>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    headers: HeaderMap,
    pub(crate) body: String,
}

impl Letter {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn receive(State(inbox): State<Arc<Inbox>>, headers: HeaderMap, body: String) -> StatusCode {
    inbox.came.lock().unwrap().push(Letter { headers, body });
    let status = inbox.answers.lock().unwrap().pop_front().unwrap_or(200);
    StatusCode::from_u16(status).unwrap()
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let inbox = Arc::<Inbox>::default();
        let app = axum::Router::new().route("/hook", axum::routing::post(receive)).with_state(inbox.clone());
        let mut serving = Serving::new();
        serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, inbox, _serving: serving }
    }

    pub(crate) fn answer(&self, statuses: &[u16]) {
        self.inbox.answers.lock().unwrap().extend(statuses);
    }

    pub(crate) fn came(&self) -> Vec<Letter> {
        self.inbox.came.lock().unwrap().clone()
    }

    /// Waits until so many came in all, and no more.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Letter> {
        wait_until(&format!("{count} deliveries"), || self.came().len() >= count).await;
        let came = self.came();
        assert_eq!(came.len(), count, "{came:?}");
        came
    }
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
