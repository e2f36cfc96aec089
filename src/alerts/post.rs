//! Requests to the operator's own addresses.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, header};

use crate::config::Address;
use crate::https;

/// A whole request may take this long.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Clients, each made when it is needed first: the CA certificates of one are held in memory.
#[derive(Debug, Default)]
pub struct Web {
    plain: OnceLock<Client>,
    secure: OnceLock<Client>,
}

impl Web {
    /// Sends a body, and says why it was not taken where it was not. Taken is what is answered with 2xx.
    pub async fn post(&self, to: &Address, body: String, signature: Option<String>) -> Result<(), String> {
        let mut request = self.client(to)?.post(to.expose()).header(header::CONTENT_TYPE, "application/json");
        if let Some(signature) = signature {
            request = request.header("X-Usaged-Signature", signature);
        }
        send(request.body(body)).await
    }

    /// Asks for an address, which is all that is to be done there.
    pub async fn get(&self, at: &Address) -> Result<(), String> {
        send(self.client(at)?.get(at.expose())).await
    }

    fn client(&self, to: &Address) -> Result<&Client, String> {
        let slot = if to.is_plain() { &self.plain } else { &self.secure };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = https::client(TIMEOUT, to.is_plain())?;
        Ok(slot.get_or_init(|| client))
    }
}

/// No words of the answer are repeated: it may hold anything.
async fn send(request: RequestBuilder) -> Result<(), String> {
    #[cfg(feature = "sandbox")]
    let _turn = crate::fuse::turn().await;
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("it answered {}", answer.status().as_u16())),
        Err(error) if error.is_timeout() => Err("it took too long".to_owned()),
        Err(error) => Err(https::innermost(&error)),
    }
}
