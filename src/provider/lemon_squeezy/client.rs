//! Lemon Squeezy's headers and bodies around the wire.
//!
//! <https://docs.lemonsqueezy.com/api/getting-started/requests>

use std::time::Duration;

use reqwest::RequestBuilder;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::Timestamp;
use crate::provider::endpoint::Endpoint;
use crate::provider::http::{Exchange, Http};
use crate::provider::judge::{Judged, into_read};
use crate::provider::secret::Secret;
use crate::provider::{Answer, ProviderError, ReadAnswer};

use super::answer::judge;

/// JSON:API. Its own words: both headers "must be included with all requests".
const MEDIA_TYPE: &str = "application/vnd.api+json";

/// Speaks to one account.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
}

impl Client {
    pub(super) fn new(endpoint: Endpoint, key: Secret, timeout: Duration) -> Result<Self, ProviderError> {
        Ok(Self { http: Http::new(endpoint, key, timeout)? })
    }

    /// The key as people may see it.
    pub(super) fn key_label(&self) -> &str {
        self.http.key_label()
    }

    /// Host and port, for messages.
    pub(super) fn host(&self) -> &str {
        self.http.host()
    }

    /// Reads. `path` is made of ids, which hold no character with a meaning in a URL.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Exchange {
        if query.is_empty() {
            return self.send(self.http.get(path)).await;
        }
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        self.send(self.http.get(&format!("{path}?{query}"))).await
    }

    /// Changes something.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Exchange {
        self.send(self.http.post(path).body(body.to_string())).await
    }

    async fn send(&self, request: RequestBuilder) -> Exchange {
        self.http.send(request.header(ACCEPT, MEDIA_TYPE).header(CONTENT_TYPE, MEDIA_TYPE)).await
    }
}

/// A read that takes several requests. What every answer brings is the last one's.
pub(super) struct Reading<'a> {
    client: &'a Client,
    date: Option<Timestamp>,
    request_id: Option<String>,
    status: Option<u16>,
}

impl<'a> Reading<'a> {
    pub(super) fn by(client: &'a Client) -> Self {
        Self { client, date: None, request_id: None, status: None }
    }

    /// Asks for one more thing; `look` says what it holds, or what is unexpected about it.
    pub(super) async fn get<T: DeserializeOwned, U>(
        &mut self,
        path: &str,
        query: &[(&str, &str)],
        look: impl FnOnce(T) -> Result<U, String>,
    ) -> Judged<U> {
        let answer = judge(self.client, self.client.get(path, query).await, look);
        (self.date, self.request_id, self.status) = (answer.date.or(self.date), answer.request_id, answer.status);
        answer.value
    }

    /// All that was read.
    pub(super) fn done<T>(self, judged: Judged<T>) -> ReadAnswer<T> {
        let Self { date, request_id, status, .. } = self;
        Answer { value: into_read(judged), date, request_id, status }
    }
}
