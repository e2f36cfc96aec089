//! How an invoice is collected, or not: paused collection, declined payments and further tries, void and uncollectible.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::{self, WhenRetriesFail};
use super::billing;
use super::books;
use super::call::Call;
use super::errors::ApiError;
use super::form::Form;
use super::invoices::{self, Invoice, Status as InvoiceStatus};
use super::payments;
use super::subscriptions::{Status, Subscription};
use super::usage_records;

/// `pause_collection`: invoices are made, and nobody pays them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pause {
    behavior: Behavior,
    pub(super) resumes_at: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Behavior {
    KeepAsDraft,
    MarkUncollectible,
    Void,
}

impl Pause {
    pub(super) fn render(self) -> Value {
        json!({ "behavior": self.behavior, "resumes_at": self.resumes_at })
    }
}

/// Applies `pause_collection[...]`; an empty `pause_collection` resumes.
pub(super) fn update_pause(subscription: &mut Subscription, form: &Form, now: i64) -> Result<(), ApiError> {
    match form.raw("pause_collection") {
        Some("") => subscription.pause = None,
        Some(_) => return Err(ApiError::uncoded("pause_collection", "Invalid object")),
        None => {}
    }
    if !form.has("pause_collection[behavior]") && !form.has("pause_collection[resumes_at]") {
        return Ok(());
    }
    let word = form.word("pause_collection[behavior]", &["keep_as_draft", "mark_uncollectible", "void"])?;
    let behavior = match word.ok_or_else(|| ApiError::missing("pause_collection[behavior]"))? {
        "keep_as_draft" => Behavior::KeepAsDraft,
        "void" => Behavior::Void,
        _ => Behavior::MarkUncollectible,
    };
    let resumes_at = form.natural("pause_collection[resumes_at]")?;
    if resumes_at.is_some_and(|at| at <= now) {
        return Err(ApiError::uncoded("pause_collection[resumes_at]", "Invalid timestamp: must be in the future."));
    }
    subscription.pause = Some(Pause { behavior, resumes_at });
    Ok(())
}

/// Gives a new draft its fate: where the subscription is unpaid or its collection paused, it does not become final by
/// itself, or at once for nothing.
pub(super) fn decide(
    books: &Connection,
    subscription: &Subscription,
    invoice: &mut Invoice,
    now: i64,
) -> Result<(), ApiError> {
    let Some(pause) = subscription.pause else {
        if subscription.status == Status::Unpaid {
            invoice.finalize_at = None;
        }
        return Ok(());
    };
    invoice.finalize_at = None;
    match pause.behavior {
        Behavior::KeepAsDraft => Ok(()),
        Behavior::Void => {
            billing::open(books, invoice, now)?;
            end(books, invoice, InvoiceStatus::Void, now)
        }
        Behavior::MarkUncollectible => {
            billing::open(books, invoice, now)?;
            end(books, invoice, InvoiceStatus::Uncollectible, now)
        }
    }
}

/// A new invoice that is to be collected at once, unless collection is paused. The subscription is stored already.
pub(super) fn issue(
    books: &Connection,
    subscription: &Subscription,
    invoice: &mut Invoice,
    now: i64,
) -> Result<(), ApiError> {
    invoice.finalize_at = Some(now);
    books::put(books, invoice)?;
    decide(books, subscription, invoice, now)?;
    if invoice.finalize_at.is_some() {
        return billing::finalize(books, invoice, now);
    }
    books::put(books, invoice)
}

/// Nobody pays an invoice any more.
pub(super) fn end(books: &Connection, invoice: &mut Invoice, status: InvoiceStatus, now: i64) -> Result<(), ApiError> {
    invoice.status = status;
    invoice.next_attempt = None;
    match status {
        InvoiceStatus::Uncollectible => invoice.uncollectible_at = Some(now),
        _ => invoice.voided_at = Some(now),
    }
    books::put(books, invoice)
}

/// A payment was declined, or there was nothing to pay with.
pub(super) fn fail(
    books: &Connection,
    subscription: &mut Subscription,
    invoice: &mut Invoice,
    now: i64,
) -> Result<(), ApiError> {
    let account = account::of(books)?;
    let wait = usize::try_from(invoice.attempts).ok().and_then(|tried| account.retry_days.get(tried));
    invoice.attempts = invoice.attempts.saturating_add(1);
    invoice.next_attempt = wait.map(|days| now.saturating_add(i64::from(*days).saturating_mul(86_400)));
    books::put(books, invoice)?;
    if !matches!(subscription.status, Status::Active | Status::PastDue) {
        return Ok(());
    }
    subscription.status = Status::PastDue;
    if wait.is_none() {
        match account.when_retries_fail {
            WhenRetriesFail::PastDue => {}
            WhenRetriesFail::Unpaid => subscription.status = Status::Unpaid,
            WhenRetriesFail::Canceled => {
                stop(books, subscription)?;
                subscription.status = Status::Canceled;
                (subscription.canceled_at, subscription.ended_at) = (Some(now), Some(now));
            }
        }
    }
    books::put(books, subscription)
}

/// The next try to be paid.
pub(super) fn retry(books: &Connection, invoice: &mut Invoice, now: i64) -> Result<(), ApiError> {
    let mut subscription: Subscription = books::get(books, &invoice.subscription)?;
    match payments::payer(books, &subscription)?.filter(|method| payments::pays(method)) {
        None => fail(books, &mut subscription, invoice, now),
        Some(method) => {
            payments::settle(books, invoice, Some(&method), now)?;
            revive(books, &mut subscription, invoice)
        }
    }
}

/// A subscription goes on when its first invoice, or the last that became final, has been paid.
pub(super) fn revive(books: &Connection, subscription: &mut Subscription, invoice: &Invoice) -> Result<(), ApiError> {
    let invoices = invoices::of_subscription(books, &subscription.id)?;
    let last = invoices.iter().rev().find(|one| one.finalized_at.is_some());
    let is_last = last.is_none_or(|last| last.id == invoice.id);
    let waits = match subscription.status {
        Status::Incomplete => true,
        Status::PastDue | Status::Unpaid => is_last,
        _ => false,
    };
    if waits {
        subscription.status = Status::Active;
        subscription.incomplete_until = None;
    }
    books::put(books, subscription)
}

/// No further tries for what a subscription that ends still owes, and no further invoice, also where one was promised.
pub(super) fn stop(books: &Connection, subscription: &mut Subscription) -> Result<(), ApiError> {
    if let Some(invoice) = subscription.promised_invoice.take() {
        usage_records::take_back(books, &invoice)?;
    }
    for mut invoice in invoices::of_subscription(books, &subscription.id)? {
        if invoice.next_attempt.take().is_some() {
            books::put(books, &invoice)?;
        }
    }
    Ok(())
}

/// `POST /v1/invoices/{id}/void`.
pub(super) fn void(call: &Call<'_>) -> Result<Value, ApiError> {
    give_up(call, InvoiceStatus::Void, "You can only void open or uncollectible invoices.")
}

/// `POST /v1/invoices/{id}/mark_uncollectible`.
pub(super) fn mark_uncollectible(call: &Call<'_>) -> Result<Value, ApiError> {
    give_up(call, InvoiceStatus::Uncollectible, "You can only mark open invoices uncollectible.")
}

fn give_up(call: &Call<'_>, status: InvoiceStatus, refusal: &str) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    let mut invoice: Invoice = books::get(call.books, call.id)?;
    let is_open = invoice.status == InvoiceStatus::Open;
    if !is_open && (invoice.status != InvoiceStatus::Uncollectible || status == InvoiceStatus::Uncollectible) {
        return Err(ApiError::refused(refusal));
    }
    end(call.books, &mut invoice, status, call.now)?;
    Ok(invoices::render(&invoice, call.version))
}
