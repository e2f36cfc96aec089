//! JSON:API on the wire. <https://jsonapi.org/format/1.0/>

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::Timestamp;

/// The answer that one resource is.
#[derive(Deserialize)]
pub(super) struct Document<A> {
    pub(super) data: Resource<A>,
    #[serde(default)]
    pub(super) included: Vec<Resource<Value>>,
}

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct Page<A> {
    pub(super) data: Vec<Resource<A>>,
    #[serde(default)]
    pub(super) included: Vec<Resource<Value>>,
    meta: PageMeta,
}

#[derive(Deserialize)]
struct PageMeta {
    page: PageNumbers,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageNumbers {
    current_page: u32,
    last_page: u32,
}

#[derive(Deserialize)]
pub(super) struct Resource<A> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) attributes: A,
}

/// An id in an attribute: a number there, a text in `id`.
#[derive(Deserialize, Clone, Copy)]
pub(super) struct Number(u64);

impl Number {
    pub(super) fn is(self, id: &str) -> bool {
        self.0.to_string() == id
    }

    pub(super) fn text(self) -> String {
        self.0.to_string()
    }
}

impl<A> Page<A> {
    /// Whether another page follows. A page that is not the one asked for is nothing to go on from.
    pub(super) fn goes_on(&self, asked: u32) -> Result<bool, String> {
        let PageNumbers { current_page, last_page } = self.meta.page;
        if current_page != asked {
            return Err(format!("asked for page {asked}, it is page {current_page}"));
        }
        Ok(current_page < last_page)
    }
}

/// The attributes of what was included, if it is there.
pub(super) fn included<A: DeserializeOwned>(included: &[Resource<Value>], kind: &str, id: Number) -> Result<A, String> {
    let found = included.iter().find(|one| one.kind == kind && id.is(&one.id));
    let found = found.ok_or_else(|| format!("it does not include {kind} {}", id.text()))?;
    A::deserialize(&found.attributes).map_err(|error| format!("{kind} {}: {error}", found.id))
}

/// A time of an attribute. They come with `Z` and a fraction, and with an offset and none.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| error.to_string())
}
