//! Events on their way: what the courier takes to an endpoint, and how it is signed. <https://docs.stripe.com/webhooks>

use super::books;
use super::courier::{Bell, Parcel, Sender};
use super::deliveries::{self, Delivery, Terms};
use super::events::{self, Event};
use super::exchange::pretty;
use super::tampering::Tamper;
use super::webhook_endpoints::{self, Endpoint};
use super::{Inner, SandboxError, signatures};

/// Up to three days at growing pauses is documented; how long they are is not.
const TERMS: Terms =
    Terms { pause: 300, factor: 2, within: 3 * 86_400, tries: i64::MAX, is_taken: |status| matches!(status, 200..300) };

impl Sender for Inner {
    type Delivery = Delivery;

    fn bell(&self) -> &Bell {
        &self.bell
    }

    fn waiting(&self) -> Result<Vec<String>, SandboxError> {
        self.quietly_within(deliveries::waiting)
    }

    fn pack(&self, endpoint: &str) -> Result<Option<Parcel<Delivery>>, SandboxError> {
        self.quietly_within(|tx, now| {
            while let Some(delivery) = deliveries::next(tx, endpoint, now)? {
                let endpoint: Option<Endpoint> = books::find(tx, endpoint)?;
                let event = events::find(tx, &delivery.event)?;
                let (Some(endpoint), Some(event)) = (endpoint.filter(|one| !one.disabled), event) else {
                    deliveries::give_up(tx, &delivery)?;
                    continue;
                };
                let tamper = self.bell.tamperings.take(&endpoint.id, &event.kind, delivery.can_wait());
                match tamper {
                    Some(Tamper::OutOfOrder) => deliveries::hold(tx, &delivery)?,
                    Some(Tamper::Late(seconds)) => deliveries::put_off(tx, &delivery, now.saturating_add(seconds))?,
                    tamper => {
                        let body = pretty(&event.render(tx, endpoint.version.as_deref())?);
                        return Ok(Some(parcel(delivery, &endpoint, &event, body, tamper.as_ref(), now)));
                    }
                }
            }
            Ok(None)
        })
    }

    fn settle(&self, sent: &Delivery, status: Option<u16>) -> Result<(), SandboxError> {
        self.quietly_within(|tx, now| deliveries::settle(tx, sent, status, &TERMS, now))
    }
}

fn parcel(
    delivery: Delivery,
    endpoint: &Endpoint,
    event: &Event,
    body: String,
    tamper: Option<&Tamper>,
    now: i64,
) -> Parcel<Delivery> {
    let good = |at| signatures::header(endpoint.secrets(now), at, &body);
    let signature = match tamper {
        Some(Tamper::Old(seconds)) => good(now.saturating_sub(*seconds)),
        Some(Tamper::Forged) => signatures::header([webhook_endpoints::new_secret().as_str()], now, &body),
        Some(Tamper::Bogus) => {
            let none = signatures::version_one(&event.id, now, &body);
            good(now).replacen(",v1=", &format!(",v1=potato,v0={none},v1="), 1)
        }
        _ => good(now),
    };
    Parcel {
        delivery,
        url: endpoint.url.clone(),
        headers: vec![
            ("content-type", "application/json; charset=utf-8".to_owned()),
            ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)".to_owned()),
            ("stripe-signature", signature),
        ],
        copies: if tamper == Some(&Tamper::Twice) { 2 } else { 1 },
        body,
    }
}
