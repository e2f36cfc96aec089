//! What Stripe's tests have the scripted server say, and how they speak to it.

use std::time::Duration;

use crate::config::{ApiKey, ProviderConfig, ProviderKind};
use crate::model::{BillingMeter, BillingMeterId, Channel, CustomerId, Formula, ItemId};
use crate::provider::{Destination, Provider};

pub(super) use crate::provider::test_server::{Act, TestServer};

pub(super) const KEY: &str = "rk_test_notARealKey1234";

/// A legacy item of `cus_1`.
pub(super) fn usage_records(item: &str) -> Destination {
    let (item, customer) = (ItemId::new(item).unwrap(), CustomerId::new("cus_1").unwrap());
    Destination { item, customer, channel: Channel::UsageRecords }
}

/// An item of `cus_1` on the meter `mtr_1`, whose payload names both fields in its own way.
pub(super) fn metered(formula: Formula) -> Destination {
    let meter = BillingMeter {
        id: BillingMeterId::new("mtr_1").unwrap(),
        event_name: "compute hours".to_owned(),
        customer_key: "stripe_customer_id".to_owned(),
        value_key: "hours".to_owned(),
        formula,
    };
    Destination { channel: Channel::Meter(meter), ..usage_records("si_1") }
}

impl TestServer {
    /// Speaks to it with a patience that no test outlasts, unless it says so.
    pub(super) fn provider(&self) -> Provider {
        self.impatient_provider(Duration::from_mins(1))
    }

    pub(super) fn impatient_provider(&self, timeout: Duration) -> Provider {
        Provider::new(&config(&self.base_url, timeout)).unwrap()
    }

    /// Speaks to it by meters.
    pub(super) fn meters(&self) -> Provider {
        let kind = ProviderKind::StripeMeters;
        Provider::new(&ProviderConfig { kind, ..config(&self.base_url, Duration::from_mins(1)) }).unwrap()
    }
}

pub(super) fn config(base_url: &str, timeout: Duration) -> ProviderConfig {
    ProviderConfig {
        kind: ProviderKind::StripeUsageRecords,
        base_url: base_url.to_owned(),
        timeout,
        draft_grace: Duration::from_hours(1),
        periods: crate::config::Periods::Provider,
        quiet_before_end: Duration::from_mins(5),
        key: Some(ApiKey { secret: KEY.into(), from: "test".to_owned() }),
        on_payment_failed: crate::config::OnPaymentFailed::Alert,
    }
}

/// An answer with a JSON body and the headers every answer of Stripe has.
pub(super) fn json(status: u16, more_headers: &str, body: &str) -> Act {
    Act::Answer(
        format!(
            "HTTP/1.1 {status} Status\r\nDate: Thu, 05 Nov 2026 12:00:00 GMT\r\nRequest-Id: req_1\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{more_headers}\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}
