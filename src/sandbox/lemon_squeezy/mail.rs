//! Events on their way to webhooks. <https://docs.lemonsqueezy.com/help/webhooks/webhook-requests>

use serde_json::json;

use super::super::SandboxError;
use super::super::books;
use super::super::courier::{Bell, Parcel, Sender};
use super::super::deliveries::{self, Delivery, Terms};
use super::super::signatures::sign;
use super::super::tampering::Tamper;
use super::Inner;
use super::errors::ApiError;
use super::events::{self, Event};
use super::webhooks::Webhook;

/// Documented: up to three more times, as after 5, 25 and 125 seconds; only a 200 ends it.
const TERMS: Terms = Terms { pause: 5, factor: 5, within: 86_400, tries: 4, is_taken: |status| status == 200 };

impl Sender for Inner {
    type Delivery = Delivery;

    fn bell(&self) -> &Bell {
        &self.bell
    }

    fn waiting(&self) -> Result<Vec<String>, SandboxError> {
        self.quietly_within(|tx, now| Ok(deliveries::waiting(tx, now)?))
    }

    fn pack(&self, endpoint: &str) -> Result<Option<Parcel<Delivery>>, SandboxError> {
        self.quietly_within(|tx, now| {
            while let Some(delivery) = deliveries::next(tx, endpoint, now)? {
                let webhook: Option<Webhook> = books::find(tx, endpoint)?;
                let (Some(webhook), Some(event)) = (webhook, events::find(tx, &delivery.event)?) else {
                    deliveries::give_up(tx, &delivery)?;
                    continue;
                };
                let tamper = self.bell.tamperings.take(&webhook.id, &event.name, delivery.can_wait());
                match tamper {
                    Some(Tamper::OutOfOrder) => deliveries::hold(tx, &delivery)?,
                    Some(Tamper::Late(seconds)) => deliveries::put_off(tx, &delivery, now.saturating_add(seconds))?,
                    tamper => return Ok(Some(parcel(delivery, &webhook, event, tamper.as_ref()))),
                }
            }
            Ok::<_, ApiError>(None)
        })
    }

    fn settle(&self, sent: &Delivery, status: Option<u16>) -> Result<(), SandboxError> {
        self.quietly_within(|tx, now| Ok(deliveries::settle(tx, sent, status, &TERMS, now)?))
    }
}

/// The same body each time, signed without a time.
fn parcel(delivery: Delivery, webhook: &Webhook, event: Event, tamper: Option<&Tamper>) -> Parcel<Delivery> {
    let meta = json!({ "event_name": event.name, "test_mode": true, "webhook_id": webhook.id });
    let body = json!({ "meta": meta, "data": event.data }).to_string();
    let forged = books::new_id("");
    let secret = if tamper == Some(&Tamper::Forged) { &forged } else { &webhook.secret };
    Parcel {
        delivery,
        url: webhook.url.clone(),
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("x-event-name", event.name),
            ("x-signature", sign(secret, &body)),
        ],
        copies: if tamper == Some(&Tamper::Twice) { 2 } else { 1 },
        body,
    }
}
