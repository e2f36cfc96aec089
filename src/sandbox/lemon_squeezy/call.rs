//! What a handler gets: the books inside a transaction, the time, and what was asked.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde_json::Value;

use super::behaviour::Behaviour;
use super::errors::ApiError;

/// One request on its way through a handler.
pub(super) struct Call<'a> {
    /// Inside the request's transaction.
    pub(super) books: &'a Connection,
    /// The sandbox's time, unix seconds.
    pub(super) now: i64,
    pub(super) behaviour: Behaviour,
    pub(super) query: &'a Query,
    pub(super) body: &'a [u8],
    /// The object that the path names; empty where it names none.
    pub(super) id: &'a str,
}

/// Does one thing and renders the document that answers.
pub(super) type Handler = fn(&Call<'_>) -> Result<Value, ApiError>;

/// The parameters of the query.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(encoded: &str) -> Self {
        Self(form_urlencoded::parse(encoded.as_bytes()).into_owned().collect())
    }

    /// Refuses what is not among these.
    pub(super) fn allow(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(ApiError::parameter(name, format!("Parameter {name} is not allowed."))),
            None => Ok(()),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A number of one or more.
    pub(super) fn count(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let count = text.parse().ok().filter(|count| *count > 0);
        let name = name.replace('[', ".").replace(']', "");
        count.map(Some).ok_or_else(|| ApiError::parameter(&name, format!("The {name} must be at least 1.")))
    }

    /// The paths that `include` names, each of which must be among these.
    pub(super) fn include(&self, kept: &[&str], known: &[&str]) -> Result<Vec<&str>, ApiError> {
        let Some(text) = self.text("include") else { return Ok(Vec::new()) };
        let paths: Vec<&str> = text.split(',').collect();
        match paths.iter().find(|path| !kept.contains(path)) {
            Some(path) if known.contains(path) => Err(ApiError::not_kept(&format!("include={path}"))),
            Some(path) => Err(ApiError::parameter("include", format!("Include path {path} is not allowed."))),
            None => Ok(paths),
        }
    }
}
