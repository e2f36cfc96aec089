//! What time does: periods end, invoices are made, become final and are paid, unpaid beginnings expire.
//!
//! Nothing runs in the background. Every request first catches up with the clock, in the order in which things were
//! due, so that it finds the books as if somebody had kept them all along.

use rusqlite::Connection;

use super::behaviour;
use super::books::{self, Record};
use super::collection;
use super::errors::ApiError;
use super::events::{self, Cause, Moment};
use super::invoices::{self, Invoice, Status as InvoiceStatus};
use super::item_periods;
use super::items;
use super::lines::{self, Line, Stretch};
use super::payments;
use super::subscriptions::{Status, Subscription};
use super::test_clocks::{self, TestClock};
use super::trials;
use super::usage_records;

/// The name under which the books remember the last invoice number.
const LAST_NUMBER: &str = "last_invoice_number";

/// Does everything that was due by now, by the sandbox's own time.
pub(super) fn catch_up(books: &Connection, now: i64) -> Result<(), ApiError> {
    while let Some(due) = do_first(books, None, now)? {
        events::tell(books, Moment { at: due, sandbox_at: due }, &Cause::default())?;
    }
    Ok(())
}

/// Does everything that was due by now on a test clock; the sandbox's own time is another.
pub(super) fn catch_up_on(books: &Connection, clock: &str, now: i64, sandbox_now: i64) -> Result<(), ApiError> {
    while let Some(due) = do_first(books, Some(clock), now)? {
        events::tell(books, Moment { at: due, sandbox_at: sandbox_now }, &Cause::default())?;
    }
    Ok(())
}

/// Does what was due first on a test clock, or on none, and says when that was.
fn do_first(books: &Connection, clock: Option<&str>, now: i64) -> Result<Option<i64>, ApiError> {
    let Some((kind, id, due)) = books::first_due(books, clock, now)? else { return Ok(None) };
    match kind.as_str() {
        Subscription::KIND => end_stage(books, books::get(books, &id)?, due)?,
        TestClock::KIND => test_clocks::remove(books, &id)?,
        _ => end_wait(books, books::get(books, &id)?, due)?,
    }
    Ok(Some(due))
}

fn end_wait(books: &Connection, mut invoice: Invoice, due: i64) -> Result<(), ApiError> {
    match invoice.status {
        InvoiceStatus::Draft => finalize(books, &mut invoice, due),
        _ => collection::retry(books, &mut invoice, due),
    }
}

fn end_stage(books: &Connection, mut subscription: Subscription, due: i64) -> Result<(), ApiError> {
    if subscription.pause.is_some_and(|pause| pause.resumes_at.is_some_and(|at| at <= due)) {
        subscription.pause = None;
        return books::put(books, &subscription);
    }
    if trials::told_at(&subscription).is_some_and(|at| at <= due) {
        return trials::tell(books, &mut subscription);
    }
    if subscription.status != Status::Incomplete {
        return end_period(books, subscription);
    }
    subscription.status = Status::IncompleteExpired;
    subscription.ended_at = Some(due);
    for mut invoice in invoices::of_subscription(books, &subscription.id)? {
        if invoice.status != InvoiceStatus::Paid {
            invoice.status = InvoiceStatus::Void;
            invoice.voided_at = Some(due);
            books::put(books, &invoice)?;
        }
    }
    books::put(books, &subscription)
}

fn end_period(books: &Connection, mut subscription: Subscription) -> Result<(), ApiError> {
    let (ended, _) = stretches(&subscription);
    if trials::ends_unpayable(books, &mut subscription)? {
        return books::put(books, &subscription);
    }
    let (metered, lines) = period_lines(books, &subscription, None)?;
    subscription.pending.clear();
    if subscription.ends_with_period() {
        subscription.status = Status::Canceled;
        subscription.ended_at = Some(ended.end);
    } else {
        if subscription.status == Status::Trialing {
            subscription.status = Status::Active;
        }
        item_periods::move_on(books, &mut subscription)?;
    }
    let mut invoice = promised(&mut subscription, "subscription_cycle", ended, lines, ended.end);
    invoice.finalize_at = Some(final_at(books, ended.end)?);
    for line in &metered {
        usage_records::close(books, line, &invoice.id)?;
    }
    subscription.latest_invoice = Some(invoice.id.clone());
    books::put(books, &invoice)?;
    collection::decide(books, &subscription, &mut invoice, ended.end)?;
    books::put(books, &invoice)?;
    books::put(books, &subscription)
}

/// When a draft made at this moment becomes final. It takes events of meters meanwhile, but no usage records.
fn final_at(books: &Connection, made: i64) -> Result<i64, ApiError> {
    Ok(made.saturating_add(behaviour::of(books)?.draft_grace_s))
}

/// The period that is open, and the one after it.
fn stretches(subscription: &Subscription) -> (Stretch, Stretch) {
    let open = subscription.period();
    let after = subscription.anchor.next_after(subscription.interval, open.end);
    (open, Stretch { start: open.end, end: subscription.no_later(after) })
}

/// The metered lines of the period that ends, as previews see them at `seen_at` or as they are, and all lines of the
/// invoice made at its end.
fn period_lines(
    books: &Connection,
    subscription: &Subscription,
    seen_at: Option<i64>,
) -> Result<(Vec<Line>, Vec<Line>), ApiError> {
    let mut metered = Vec::new();
    let mut licensed = Vec::new();
    let (end, goes_on) = (subscription.period().end, !subscription.ends_with_period());
    for item in items::live(books, &subscription.id)? {
        let seen = subscription.seen_by(&item);
        let (ended, next) = stretches(&seen);
        let ends_now = ended.end == end;
        // Nothing goes on after the last period, and what does not end yet is billed then.
        if ends_now || !goes_on {
            let ended = Stretch { end, ..ended };
            metered.extend(lines::in_arrears(books, &seen, &item, ended, seen_at)?);
        }
        if ends_now && goes_on {
            let active = Subscription { status: Status::Active, ..seen };
            licensed.extend(lines::in_advance(books, &active, &item, next)?);
        }
    }
    let all = subscription.pending.iter().chain(&metered).chain(&licensed).cloned().collect();
    Ok((metered, all))
}

/// The invoice that would be made if the period ended as it stands, with the events of meters that are seen at a moment
/// of the sandbox's time. Not stored.
pub(super) fn preview(books: &Connection, subscription: &Subscription, seen_at: i64) -> Result<Invoice, ApiError> {
    let (ended, _) = stretches(subscription);
    let (_, lines) = period_lines(books, subscription, Some(seen_at))?;
    let mut invoice = draft(subscription, "upcoming", ended, lines, ended.end);
    invoice.finalize_at = Some(final_at(books, ended.end)?);
    Ok(invoice)
}

/// Bills what is metered up to now, and closes the books of the items.
pub(super) fn invoice_now(books: &Connection, subscription: &mut Subscription, now: i64) -> Result<(), ApiError> {
    let period = Stretch { start: subscription.period_start, end: now };
    let mut metered = Vec::new();
    for item in items::live(books, &subscription.id)? {
        let seen = subscription.seen_by(&item);
        let so_far = Stretch { start: seen.period_start, end: now };
        metered.extend(lines::in_arrears(books, &seen, &item, so_far, None)?);
    }
    let lines = subscription.pending.drain(..).chain(metered.iter().cloned()).collect();
    let mut invoice = promised(subscription, "manual", period, lines, now);
    for line in &metered {
        usage_records::close(books, line, &invoice.id)?;
    }
    subscription.latest_invoice = Some(invoice.id.clone());
    books::put(books, subscription)?;
    collection::issue(books, subscription, &mut invoice, now)
}

/// As [`draft`], under the id that was promised where usage was closed before. A discount for one invoice is used up.
pub(super) fn promised(
    subscription: &mut Subscription,
    reason: &str,
    period: Stretch,
    lines: Vec<Line>,
    now: i64,
) -> Invoice {
    let mut invoice = draft(subscription, reason, period, lines, now);
    if let Some(id) = subscription.promised_invoice.take() {
        invoice.id = id;
    }
    subscription.discount.take_if(|discount| discount.is_used_up() || !discount.holds_at(now));
    invoice
}

/// A new invoice, not stored.
pub(super) fn draft(subscription: &Subscription, reason: &str, period: Stretch, lines: Vec<Line>, now: i64) -> Invoice {
    Invoice {
        id: books::new_id("in_"),
        created: now,
        number: None,
        customer: subscription.customer.clone(),
        subscription: subscription.id.clone(),
        status: InvoiceStatus::Draft,
        billing_reason: reason.to_owned(),
        currency: subscription.currency.clone(),
        lines,
        amount_paid: 0,
        period_start: period.start,
        period_end: period.end,
        finalize_at: None,
        finalized_at: None,
        paid_at: None,
        paid_out_of_band: false,
        voided_at: None,
        payment_intent: None,
        days_until_due: subscription.days_until_due,
        uncollectible_at: None,
        attempts: 0,
        next_attempt: None,
        discount: subscription.discount.clone().filter(|discount| discount.holds_at(now)),
    }
}

/// A draft becomes final: it is paid where nothing is due or somebody pays by itself, and otherwise open.
pub(super) fn finalize(books: &Connection, invoice: &mut Invoice, now: i64) -> Result<(), ApiError> {
    open(books, invoice, now)?;
    let subscription: Option<Subscription> = books::find(books, &invoice.subscription)?;
    let Some(mut subscription) = subscription else { return Ok(()) };
    let payer = if invoice.days_until_due.is_none() { payments::payer(books, &subscription)? } else { None };
    let payer = payer.filter(|method| payments::pays(method));
    if invoice.amount_due() == 0 || payer.is_some() {
        payments::settle(books, invoice, payer.as_deref(), now)?;
        return collection::revive(books, &mut subscription, invoice);
    }
    if invoice.days_until_due.is_none() {
        collection::fail(books, &mut subscription, invoice, now)?;
    }
    Ok(())
}

/// A draft becomes final and waits to be paid.
pub(super) fn open(books: &Connection, invoice: &mut Invoice, now: i64) -> Result<(), ApiError> {
    for line in &mut invoice.lines {
        line.settle(books, &invoice.customer)?;
    }
    invoice.number = Some(next_number(books)?);
    invoice.status = InvoiceStatus::Open;
    invoice.finalized_at = Some(now);
    invoice.finalize_at = None;
    if invoice.amount_due() > 0 {
        invoice.payment_intent = Some(payments::intend(books, invoice, now)?);
    }
    books::put(books, invoice)
}

/// Counted, so that no number comes back when the invoices of a test clock go.
fn next_number(books: &Connection) -> Result<String, ApiError> {
    let number = books::recall::<u64>(books, LAST_NUMBER)?.unwrap_or(0).saturating_add(1);
    books::remember(books, LAST_NUMBER, &number)?;
    Ok(format!("USAGED-{number:04}"))
}
