//! Whether Stripe can be reached, and what the key in hand may do there.
//!
//! What a restricted key may read is tried by reading; what it may write, by a request with a parameter that Stripe does
//! not know, which it refuses after it has looked at the key. Nothing is changed by it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::caller::{Caller, decode};
use super::form::Form;
use super::payments::{self, PaymentsView};
use super::report::Names;
use super::{Kind, OperatorError};
use crate::clock::Reading;
use crate::provider::RefusalKind;

/// A parameter that nothing at Stripe has.
const UNKNOWN: &str = "usagectl_check";

const INVOICES: &str = "Invoices";

/// What is found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Host and port.
    pub host: String,
    /// The key as it may be shown.
    pub key: String,
    /// Whether it is restricted; a secret key may do everything.
    pub restricted: bool,
    /// Whose commands the key was held against: `operator` or `agent`.
    pub for_whom: &'static str,
    /// Whose account it is, where the key may tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountView>,
    /// The first request, with its connection, milliseconds.
    pub connected_ms: i64,
    /// A request on that connection, milliseconds: the middle one of those that were made.
    pub latency_ms: i64,
    /// Stripe's clock less this machine's, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ahead_s: Option<i64>,
    /// How payments go on the account; absent where the key may not read invoices, and for the agent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payments: Option<PaymentsView>,
    /// What was tried.
    pub permissions: Vec<Permission>,
    /// Needed, and not held: as `Prices: write`.
    pub missing: Vec<String>,
    /// Held, and more than the agent needs.
    pub beyond_agent: Vec<String>,
}

impl Names for CheckReport {
    fn named(&self) -> Option<&str> {
        None
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    /// `acct_…`.
    pub id: String,
    /// As `DE`.
    pub country: Option<String>,
    /// Whether it may take money.
    pub charges_enabled: Option<bool>,
}

/// What a key may do with one kind of object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Permission {
    /// As the dashboard lists it.
    pub name: &'static str,
    /// Whether it may read; absent where there is nothing to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<bool>,
    /// Whether it may write; absent where it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<bool>,
    /// What these commands need of it.
    pub operator: Need,
    /// What the agent needs of it.
    pub agent: Need,
}

/// See [`Permission::operator`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Not at all.
    Nothing,
    /// Not at all; to read is of use.
    BetterRead,
    /// Not at all; to write is of use.
    BetterWrite,
    /// To read.
    Read,
    /// To read; to write is of use, and it works without.
    ReadBetterWrite,
    /// To write, which is to read as well.
    Write,
}

/// A kind of object, and how a key is tried on it.
struct Area {
    name: &'static str,
    read: Option<&'static str>,
    write: Option<&'static str>,
    operator: Need,
    agent: Need,
    /// Where only one of them has it.
    only: Option<Kind>,
}

const fn area(name: &'static str, path: &'static str, operator: Need, agent: Need) -> Area {
    Area { name, read: Some(path), write: Some(path), operator, agent, only: None }
}

fn areas() -> [Area; 12] {
    let events = Area { read: None, ..area("Meter events", "/v1/billing/meter_events", Need::Nothing, Need::Write) };
    let records = area("Usage records", "/v1/subscription_items/si_check/usage_records", Need::Nothing, Need::Write);
    [
        Area { write: None, ..area("Balance", "/v1/balance", Need::Nothing, Need::Nothing) },
        // The agent shows the customer's name where it may.
        area("Customers", "/v1/customers", Need::Write, Need::BetterRead),
        area("Products", "/v1/products", Need::Write, Need::Nothing),
        area("Prices", "/v1/prices", Need::Write, Need::Nothing),
        // The agent writes its claim on an item where it may (rule S10).
        area("Subscriptions", "/v1/subscriptions", Need::Write, Need::ReadBetterWrite),
        Area { write: Some("/v1/invoices/in_check/pay"), ..area(INVOICES, "/v1/invoices", Need::Write, Need::Read) },
        area("Coupons", "/v1/coupons", Need::Write, Need::Nothing),
        area("Promotion codes", "/v1/promotion_codes", Need::Write, Need::Nothing),
        // The usage page opens it where the key may.
        area("Customer portal", "/v1/billing_portal/configurations", Need::Write, Need::BetterWrite),
        Area { only: Some(Kind::StripeMeters), ..area("Meters", "/v1/billing/meters", Need::Write, Need::Read) },
        Area { only: Some(Kind::StripeMeters), ..events },
        Area {
            read: Some("/v1/subscription_items/si_check/usage_record_summaries"),
            only: Some(Kind::StripeUsageRecords),
            ..records
        },
    ]
}

/// Tries everything that the commands or the agent need.
pub async fn check(caller: &Caller, for_agent: bool, clock: fn() -> Reading) -> Result<CheckReport, OperatorError> {
    let mut times = Vec::new();
    let account = timed(clock, &mut times, account(caller)).await?;
    let wall = clock().wall;
    let clock_ahead_s = caller.date().map(|date| date.secs().saturating_sub(wall.secs()));
    let restricted = caller.api().key_kind().starts_with("rk_");
    let mut permissions = Vec::new();
    for area in areas().into_iter().filter(|area| area.only.is_none_or(|only| only == caller.kind())) {
        let read = match area.read {
            Some(path) => Some(timed(clock, &mut times, may_read(caller, path)).await?),
            None => None,
        };
        let write = match area.write {
            Some(path) if restricted => Some(timed(clock, &mut times, may_write(caller, path)).await?),
            other => other.map(|_| true),
        };
        let Area { name, operator, agent, .. } = area;
        permissions.push(Permission { name, read, write, operator, agent });
    }
    let reads_invoices = permissions.iter().any(|one| one.name == INVOICES && one.read == Some(true));
    let payments = if reads_invoices && !for_agent {
        Some(payments::payments(caller, caller.date().unwrap_or(wall).secs()).await?)
    } else {
        None
    };
    let connected_ms = times.first().copied().unwrap_or_default();
    let mut rest: Vec<i64> = times.into_iter().skip(1).collect();
    rest.sort_unstable();
    Ok(CheckReport {
        host: caller.api().host().to_owned(),
        key: caller.api().key_kind().to_owned(),
        restricted,
        for_whom: if for_agent { "agent" } else { "operator" },
        account,
        connected_ms,
        latency_ms: rest.get(rest.len().div_euclid(2)).copied().unwrap_or(connected_ms),
        clock_ahead_s,
        payments,
        missing: permissions.iter().filter_map(|one| one.missing(for_agent)).collect(),
        beyond_agent: permissions.iter().filter_map(Permission::beyond_agent).collect(),
        permissions,
    })
}

async fn timed<T>(clock: fn() -> Reading, times: &mut Vec<i64>, work: impl Future<Output = T>) -> T {
    let before = clock().monotonic_us;
    let done = work.await;
    times.push(clock().monotonic_us.saturating_sub(before).div_euclid(1_000));
    done
}

/// `None` where the key may not tell.
async fn account(caller: &Caller) -> Result<Option<AccountView>, OperatorError> {
    let what = "cannot read the account";
    match caller.read(what, "/v1/account", &Form::new()).await {
        Ok(value) => decode(what, value).map(Some),
        Err(error) => is_allowed(Err(error)).map(|_| None),
    }
}

async fn may_read(caller: &Caller, path: &str) -> Result<bool, OperatorError> {
    // What is one object has no pages.
    let query = if path == "/v1/balance" { Form::new() } else { Form::new().with("limit", "1") };
    is_allowed(caller.read(&format!("cannot try to read {path}"), path, &query).await)
}

async fn may_write(caller: &Caller, path: &str) -> Result<bool, OperatorError> {
    let form = Form::new().with(UNKNOWN, "1");
    is_allowed(caller.ask(&format!("cannot try to write {path}"), path, &form).await)
}

/// Whether the key was not what stood against it.
fn is_allowed(answer: Result<Value, OperatorError>) -> Result<bool, OperatorError> {
    let Err(error) = answer else { return Ok(true) };
    let OperatorError::Asked { source, .. } = &error else { return Err(error) };
    match source.refusal.kind {
        RefusalKind::NotPermitted => Ok(false),
        RefusalKind::Network
        | RefusalKind::Untrusted
        | RefusalKind::RateLimited
        | RefusalKind::InFlight
        | RefusalKind::ProviderFault
        | RefusalKind::KeyRefused
        | RefusalKind::Unreadable => Err(error),
        _ => Ok(true),
    }
}

impl Permission {
    fn missing(&self, for_agent: bool) -> Option<String> {
        let need = if for_agent { self.agent } else { self.operator };
        let word = match need {
            Need::Write if self.write == Some(false) => "write",
            Need::Read | Need::ReadBetterWrite if self.read == Some(false) => "read",
            _ => return None,
        };
        Some(format!("{}: {word}", self.name))
    }

    fn beyond_agent(&self) -> Option<String> {
        let word = match self.agent {
            Need::Nothing | Need::BetterRead | Need::Read if self.write == Some(true) => "write",
            Need::Nothing if self.read == Some(true) => "read",
            _ => return None,
        };
        Some(format!("{}: {word}", self.name))
    }
}
