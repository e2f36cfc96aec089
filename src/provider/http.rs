//! One HTTPS client, one idle connection, and what became of each request on the wire.

use std::time::Duration;

use reqwest::RequestBuilder;

use super::ProviderError;
use super::endpoint::Endpoint;
use super::head::Head;
use super::secret::Secret;
use crate::https::{client, innermost};

/// A subscription with its items is some ten KiB; what is longer is not the provider's answer.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Speaks to one account at one address.
#[derive(Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    endpoint: Endpoint,
    key: Secret,
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Exchange {
    /// No connection came about, so the request never left.
    NotSent(String),
    /// It may have left, and no answer arrived.
    Lost(String),
    /// An answer arrived, at least its head.
    Answered(Response),
}

/// An answer off the wire.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) head: Head,
    /// The body, or why there is none, as the end of a sentence.
    pub(super) body: Result<Vec<u8>, String>,
}

impl Http {
    pub(super) fn new(endpoint: Endpoint, key: Secret, timeout: Duration) -> Result<Self, ProviderError> {
        let client = client(timeout, endpoint.is_plain()).map_err(|why| ProviderError::Tls { why })?;
        Ok(Self { client, endpoint, key })
    }

    /// The key as people may see it.
    pub(super) fn key_label(&self) -> &str {
        self.key.label()
    }

    /// Host and port, for messages.
    pub(super) fn host(&self) -> &str {
        self.endpoint.host()
    }

    /// A request to read. `path` is made of ids, which hold no character with a meaning in a URL.
    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.endpoint.url(path))
    }

    /// A request to change something.
    pub(super) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.endpoint.url(path))
    }

    /// A request to end something.
    pub(super) fn delete(&self, path: &str) -> RequestBuilder {
        self.client.delete(self.endpoint.url(path))
    }

    /// Sends it with the key, once.
    pub(super) async fn send(&self, request: RequestBuilder) -> Exchange {
        #[cfg(feature = "sandbox")]
        let _turn = crate::fuse::turn().await;
        match request.bearer_auth(self.key.expose()).send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let head = Head::read(response.headers());
                let body = read_body(response).await.map(|body| self.key.redact(body));
                Exchange::Answered(Response { status, head, body })
            }
            Err(error) if error.is_connect() || error.is_builder() => Exchange::NotSent(innermost(&error)),
            Err(error) if error.is_timeout() => Exchange::Lost("it took too long".to_owned()),
            Err(error) => Exchange::Lost(innermost(&error)),
        }
    }
}

async fn read_body(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) > BODY_BYTES_MAX => {
                return Err("its body is longer than 1 MiB".to_owned());
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) if error.is_timeout() => return Err("its body took too long".to_owned()),
            Err(error) => return Err(format!("its body was cut off: {}", innermost(&error))),
        }
    }
}
