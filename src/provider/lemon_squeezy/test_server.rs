//! What Lemon Squeezy's tests have the scripted server say, and how they speak to it.

use std::time::Duration;

use serde_json::{Value, json as object};

use super::LemonSqueezy;
use crate::config::{ApiKey, ProviderConfig, ProviderKind};
use crate::model::{Channel, CustomerId, ItemId};
use crate::provider::{Destination, Provider};

pub(super) use crate::provider::test_server::{Act, TestServer};

pub(super) const KEY: &str = "eyJ0eXAi.notARealKey.c2lnbmF0dXJl1234";

/// A usage-based item of customer 3.
pub(super) fn current_usage(item: &str) -> Destination {
    let (item, customer) = (ItemId::new(item).unwrap(), CustomerId::new("3").unwrap());
    Destination { item, customer, channel: Channel::CurrentUsage }
}

/// Speaks to the server.
pub(super) fn ask(server: &TestServer, timeout: Duration) -> Provider {
    provider(&server.base_url, timeout)
}

pub(super) fn provider(base_url: &str, timeout: Duration) -> Provider {
    let config = ProviderConfig {
        kind: ProviderKind::None,
        base_url: base_url.to_owned(),
        timeout,
        draft_grace: Duration::from_hours(1),
        periods: crate::config::Periods::Provider,
        quiet_before_end: Duration::from_mins(5),
        key: Some(ApiKey { secret: KEY.into(), from: "test".to_owned() }),
        on_payment_failed: crate::config::OnPaymentFailed::Alert,
    };
    Provider::LemonSqueezy(LemonSqueezy::new(&config).unwrap())
}

/// An answer with a body and the headers every answer of Lemon Squeezy has.
pub(super) fn json(status: u16, more_headers: &str, body: &Value) -> Act {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} Status\r\nDate: Thu, 05 Nov 2026 12:00:00 GMT\r\nContent-Type: application/vnd.api+json\r\n\
         Content-Length: {}\r\nConnection: close\r\n{more_headers}\r\n{body}",
        body.len()
    );
    Act::Answer(head.into_bytes())
}

/// A refusal.
pub(super) fn error(status: u16, detail: &str) -> Act {
    let error = object!({"detail": detail, "status": status.to_string(), "title": "Title"});
    json(status, "", &object!({"jsonapi": {"version": "1.0"}, "errors": [error]}))
}

/// The answer to a usage record.
pub(super) fn record(item: &str, quantity: i64, action: &str) -> Value {
    let item: i64 = item.parse().unwrap();
    object!({"jsonapi": {"version": "1.0"}, "data": {
        "type": "usage-records",
        "id": "1",
        "attributes": {
            "subscription_item_id": item,
            "quantity": quantity,
            "action": action,
            "created_at": "2026-11-05T12:00:00.000000Z",
            "updated_at": "2026-11-05T12:00:00.000000Z",
        },
    }})
}
