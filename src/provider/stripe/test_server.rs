//! A loopback server that follows a script, byte by byte: it can cut, stall and answer nonsense.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config::{ApiKey, ProviderConfig, ProviderKind};
use crate::model::{BillingMeter, BillingMeterId, Channel, CustomerId, Formula, ItemId};
use crate::provider::{Destination, Provider};

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

/// What one connection gets.
pub(super) enum Act {
    /// These bytes after the request was read, then the end of the connection.
    Answer(Vec<u8>),
    /// The end of the connection after the request was read.
    Cut,
    /// Nothing, until the client gives up.
    Stall,
}

/// One connection after the other, one act each; ends with what was asked.
pub(super) struct TestServer {
    pub(super) base_url: String,
    served: JoinHandle<Vec<String>>,
}

impl TestServer {
    pub(super) fn play(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let served = thread::spawn(move || acts.into_iter().map(|act| serve(&listener, &act)).collect());
        Self { base_url, served }
    }

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

    /// The requests, as they came.
    pub(super) fn requests(self) -> Vec<String> {
        self.served.join().unwrap()
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
        webhook_secret: None,
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

fn serve(listener: &TcpListener, act: &Act) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let request = read_request(&mut stream);
    match act {
        // The client may have gone away in the middle of it, which is what some tests are about.
        Act::Answer(bytes) => drop(stream.write_all(bytes)),
        Act::Cut => {}
        Act::Stall => drop(stream.read_to_end(&mut Vec::new())),
    }
    request
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, length)| length.parse::<usize>().unwrap());
            if body.len() >= length {
                return text.into_owned();
            }
        }
        match stream.read(&mut buffer).unwrap() {
            0 => panic!("the request ended early: {text}"),
            n => request.extend_from_slice(&buffer[..n]),
        }
    }
}
