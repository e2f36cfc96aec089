use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::loopback::ToLoopback;
use super::strangers::serve_strangers;
use super::{ApiError, Desk, Limits, metrics};

/// Connections at once. A scraper opens one, for one question.
const CONNECTIONS_MAX: usize = 8;

/// Answers `GET /metrics`, and nothing else, on a loopback address until `shutdown`. There are no credentials there, so
/// whoever is on this machine may read.
pub async fn serve_metrics(
    listener: TcpListener,
    desk: Arc<dyn Desk>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    serve_strangers(listener, router(desk), CONNECTIONS_MAX, limits, shutdown).await;
}

fn router(desk: Arc<dyn Desk>) -> Router {
    Router::new()
        .route("/metrics", get(answer))
        .fallback(nothing_else)
        .method_not_allowed_fallback(only_get)
        .with_state(desk)
}

async fn answer(_: ToLoopback, State(desk): State<Arc<dyn Desk>>) -> Result<impl IntoResponse, ApiError> {
    metrics::read(&*desk).await
}

async fn nothing_else(_: ToLoopback, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(80).collect();
    ApiError::not_found("unknown_path", format!("there is no {path} here"))
        .hint("there is /metrics; everything else is answered on the socket, see usagectl")
}

async fn only_get(_: ToLoopback) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "/metrics takes GET")
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};
    use std::thread::JoinHandle;
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::api::fake::{FakeDesk, answers};

    /// Answers on a port of its own until it goes.
    struct Served {
        address: SocketAddr,
        end: Option<oneshot::Sender<()>>,
        thread: Option<JoinHandle<()>>,
    }

    impl Served {
        fn start() -> Self {
            let mut limits = Limits::new(4_096, 5);
            limits.arrival_max = Duration::from_millis(200);
            let (end, ended) = oneshot::channel::<()>();
            let (ready, address) = std::sync::mpsc::channel();
            let thread = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async move {
                    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                    ready.send(listener.local_addr().unwrap()).unwrap();
                    let desk = Arc::new(FakeDesk::default());
                    serve_metrics(listener, desk, limits, async { _ = ended.await.is_ok() }).await;
                });
            });
            Self { address: address.recv().unwrap(), end: Some(end), thread: Some(thread) }
        }

        fn open(&self) -> TcpStream {
            let stream = TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream
        }

        /// What comes back for a head, its lines apart by `|`.
        fn say(&self, head: &str) -> String {
            let mut stream = self.open();
            stream.write_all(head.replace('|', "\r\n").as_bytes()).unwrap();
            rest_of(stream)
        }
    }

    impl Drop for Served {
        fn drop(&mut self) {
            drop(self.end.take());
            _ = self.thread.take().is_some_and(|thread| thread.join().is_ok());
        }
    }

    fn rest_of(mut stream: TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_scraper_that_names_this_machine_gets_the_metrics() {
        let served = Served::start();
        for host in ["localhost", "127.0.0.1:9477", "[::1]:9477"] {
            let answer = served.say(&format!("GET /metrics HTTP/1.1|Host: {host}||"));
            let (head, text) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/openmetrics-text"), "{head}");
            assert_eq!(text, super::super::exposition::of(answers::healthy()).unwrap(), "{host}");
        }
    }

    #[test]
    fn another_host_is_refused_on_every_path() {
        let served = Served::start();
        for head in [
            "GET /metrics HTTP/1.1|Host: evil.example||",
            "GET /metrics HTTP/1.1|Host: evil.example:9477||",
            "GET /nowhere HTTP/1.1|Host: evil.example||",
            "POST /metrics HTTP/1.1|Host: evil.example||",
            "GET /metrics HTTP/1.1|Host: localhost|Host: evil.example||",
            "GET http://evil.example/metrics HTTP/1.1|Host: localhost||",
            "GET /metrics HTTP/1.1||",
            "GET /metrics HTTP/1.0||",
        ] {
            let answer = served.say(head);
            assert!(answer.starts_with("HTTP/1.1 403") || answer.starts_with("HTTP/1.0 403"), "{head}: {answer}");
            assert!(answer.contains("foreign_host") && !answer.contains("usaged_"), "{head}: {answer}");
        }
    }

    #[test]
    fn there_is_nothing_else_to_be_had() {
        let served = Served::start();
        for path in ["/", "/v1/status", "/v1/usage", "/metrics/", "/v1/openapi.json"] {
            let answer = served.say(&format!("GET {path} HTTP/1.1|Host: localhost||"));
            assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("there is /metrics"), "{path}: {answer}");
        }
        let answer = served.say("POST /metrics HTTP/1.1|Host: localhost|Content-Length: 0||");
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    }

    #[test]
    fn one_who_asks_nothing_loses_its_place_and_one_too_many_is_told_to_come_back() {
        let served = Served::start();
        let idle: Vec<_> = (0..CONNECTIONS_MAX).map(|_| served.open()).collect();
        let turned_away = rest_of(served.open());
        assert!(turned_away.starts_with("HTTP/1.1 503") && turned_away.contains("Retry-After"), "{turned_away}");
        for stream in idle {
            assert_eq!(rest_of(stream), "", "a head that never comes is waited for no longer than the limit");
        }
        assert!(served.say("GET /metrics HTTP/1.1|Host: localhost||").starts_with("HTTP/1.1 200"));
    }
}
