//! Payment intents, as far as a first invoice needs one. Test cards always pay, or always are declined.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{self, Record};
use super::call::Call;
use super::changes;
use super::collection;
use super::customers;
use super::errors::ApiError;
use super::invoices::{Invoice, Status as InvoiceStatus};
use super::subscriptions::Subscription;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PaymentIntent {
    id: String,
    created: i64,
    amount: i64,
    currency: String,
    customer: String,
    invoice: String,
    pub(super) succeeded: bool,
    payment_method: Option<String>,
    secret: String,
    /// Whether the customer's bank asks who pays.
    #[serde(default)]
    pub(super) authenticating: bool,
}

/// Asks the customer's bank who pays, until a payment with it was once authenticated: 4000 0025 0000 3155.
/// <https://docs.stripe.com/testing#authentication-and-setup>
pub(super) const AUTHENTICATED: &str = "pm_card_authenticationRequiredOnSetup";
/// The same card after that.
const SET_UP: &str = "pm_card_authenticationRequiredOnSetup_set_up";

impl Record for PaymentIntent {
    const KIND: &'static str = "payment_intent";
    const NOUN: &'static str = "payment_intent";
    fn id(&self) -> &str {
        &self.id
    }
    fn owner(&self) -> Option<&str> {
        Some(&self.customer)
    }
    fn told(&self) -> Option<(&'static str, &str)> {
        Some((Self::KIND, &self.id))
    }
}

/// The intent to pay a final invoice.
pub(super) fn intend(books: &Connection, invoice: &Invoice, now: i64) -> Result<String, ApiError> {
    let id = books::new_id("pi_");
    let intent = PaymentIntent {
        created: now,
        amount: invoice.amount_due(),
        currency: invoice.currency.clone(),
        customer: invoice.customer.clone(),
        invoice: invoice.id.clone(),
        succeeded: false,
        payment_method: None,
        authenticating: false,
        secret: books::new_id(&format!("{id}_secret_")),
        id,
    };
    books::put(books, &intent)?;
    Ok(intent.id)
}

/// The invoice has been paid: its intent has succeeded, and its subscription goes on.
pub(super) fn settle(
    books: &Connection,
    invoice: &mut Invoice,
    method: Option<&str>,
    now: i64,
) -> Result<(), ApiError> {
    invoice.status = InvoiceStatus::Paid;
    invoice.amount_paid = invoice.amount_due();
    invoice.paid_at = Some(now);
    invoice.next_attempt = None;
    if let Some(id) = &invoice.payment_intent {
        let mut intent: PaymentIntent = books::get(books, id)?;
        (intent.succeeded, intent.authenticating) = (true, false);
        intent.payment_method = method.map(str::to_owned);
        books::put(books, &intent)?;
    }
    books::put(books, invoice)
}

/// As [`settle`], by the customer's own act.
pub(super) fn pay(call: &Call<'_>, invoice: &mut Invoice) -> Result<(), ApiError> {
    match invoice.status {
        InvoiceStatus::Open | InvoiceStatus::Uncollectible => {}
        InvoiceStatus::Paid => return Err(ApiError::refused("Invoice is already paid")),
        InvoiceStatus::Draft => super::billing::finalize(call.books, invoice, call.now)?,
        InvoiceStatus::Void => return Err(ApiError::refused("This invoice can no longer be paid.")),
    }
    let form = call.form;
    let subscription: Subscription = books::get(call.books, &invoice.subscription)?;
    let out_of_band = form.boolean("paid_out_of_band")?.unwrap_or(false);
    let method = match form.text("payment_method")? {
        Some("pm_card_chargeDeclined") => return Err(ApiError::declined()),
        Some(method) => Some(customers::payment_method("payment_method", method)?),
        None => payer(call.books, &subscription)?,
    };
    if method.is_none() && !out_of_band {
        return Err(no_payment_method());
    }
    if let Some(method) = method.as_deref().filter(|method| !pays(method) && !out_of_band) {
        return Err(not_paid(method, "invoice_payment_intent_requires_action"));
    }
    if invoice.status != InvoiceStatus::Paid {
        invoice.paid_out_of_band = out_of_band;
        settle(call.books, invoice, method.as_deref(), call.now)?;
    }
    let mut subscription: Subscription = books::get(call.books, &invoice.subscription)?;
    subscription.payment_method = method.or(subscription.payment_method);
    collection::revive(call.books, &mut subscription, invoice)
}

/// Whether a payment method pays by itself. The others can be kept and are declined when they are charged, or ask who pays.
pub(super) fn pays(method: &str) -> bool {
    !method.ends_with("_chargeCustomerFail") && method != AUTHENTICATED
}

/// Why a payment method does not pay by itself; the code is of a card that asks who pays.
pub(super) fn not_paid(method: &str, code: &'static str) -> ApiError {
    if method == AUTHENTICATED { ApiError::requires_action(code) } else { ApiError::declined() }
}

/// The customer's bank asks who pays an invoice, where it is to be paid with such a card.
pub(super) fn ask_who_pays(books: &Connection, invoice: &Invoice, method: Option<&str>) -> Result<(), ApiError> {
    let Some(id) = invoice.payment_intent.as_ref().filter(|_| method == Some(AUTHENTICATED)) else { return Ok(()) };
    let intent: PaymentIntent = books::get(books, id)?;
    books::put(books, &PaymentIntent { authenticating: true, ..intent })?;
    changes::tell(books, Invoice::KIND, &invoice.id, "invoice.payment_action_required")
}

/// The customer has told the bank who pays, or has not: no call of Stripe's, where the customer does it in a browser.
pub(super) fn authenticate(books: &Connection, id: &str, succeeds: bool, now: i64) -> Result<Value, ApiError> {
    let intent: PaymentIntent = books::get(books, id)?;
    if !intent.authenticating {
        return Err(ApiError::refused("This payment intent does not wait to be authenticated."));
    }
    if !succeeds {
        books::put(books, &PaymentIntent { authenticating: false, ..intent })?;
        return Ok(render(&books::get(books, id)?));
    }
    let mut invoice: Invoice = books::get(books, &intent.invoice)?;
    settle(books, &mut invoice, Some(SET_UP), now)?;
    let mut subscription: Subscription = books::get(books, &invoice.subscription)?;
    subscription.payment_method = Some(SET_UP.to_owned());
    collection::revive(books, &mut subscription, &invoice)?;
    Ok(render(&books::get(books, id)?))
}

/// What a subscription's invoices are paid with.
pub(super) fn payer(books: &Connection, subscription: &Subscription) -> Result<Option<String>, ApiError> {
    let customer: customers::Customer = books::get(books, &subscription.customer)?;
    Ok(subscription.payment_method.clone().or(customer.payment_method))
}

pub(super) fn no_payment_method() -> ApiError {
    let message = "This customer has no attached payment source or default payment method. Please consider adding a \
                   default payment method. For more information, visit \
                   https://stripe.com/docs/billing/subscriptions/payment-methods-setting#missing-payment-method.";
    ApiError::refused_as("resource_missing", message)
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["client_secret"])?;
    Ok(render(&books::get(call.books, call.id)?))
}

/// `POST /v1/payment_intents/{id}/confirm`.
pub(super) fn confirm(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["payment_method", "return_url"])?;
    let intent: PaymentIntent = books::get(call.books, call.id)?;
    if intent.succeeded {
        let message =
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.";
        return Err(ApiError::refused_as("payment_intent_unexpected_state", message));
    }
    let mut invoice: Invoice = books::get(call.books, &intent.invoice)?;
    let subscription: Subscription = books::get(call.books, &invoice.subscription)?;
    let named = call.form.text("payment_method")?.map(str::to_owned);
    let method = named.or(payer(call.books, &subscription)?);
    if method.as_deref() == Some(AUTHENTICATED) {
        ask_who_pays(call.books, &invoice, method.as_deref())?;
        return Ok(render(&books::get(call.books, call.id)?));
    }
    pay(call, &mut invoice)?;
    Ok(render(&books::get(call.books, call.id)?))
}

/// What a page needs to let the customer pay, in the shape invoices carry it from basil on.
pub(super) fn confirmation_secret(books: &Connection, invoice: &str) -> Result<Value, ApiError> {
    let invoice: Invoice = books::get(books, invoice)?;
    let Some(id) = invoice.payment_intent else { return Ok(Value::Null) };
    let intent: PaymentIntent = books::get(books, &id)?;
    Ok(json!({ "client_secret": intent.secret, "type": "payment_intent" }))
}

pub(super) fn render(intent: &PaymentIntent) -> Value {
    let status = match (intent.succeeded, intent.authenticating) {
        (true, _) => "succeeded",
        (false, true) => "requires_action",
        (false, false) => "requires_payment_method",
    };
    let next_action = intent.authenticating.then(|| json!({ "type": "use_stripe_sdk", "use_stripe_sdk": {} }));
    json!({
        "id": intent.id,
        "object": "payment_intent",
        "amount": intent.amount,
        "amount_capturable": 0,
        "amount_received": if intent.succeeded { intent.amount } else { 0 },
        "capture_method": "automatic",
        "client_secret": intent.secret,
        "confirmation_method": "automatic",
        "created": intent.created,
        "currency": intent.currency,
        "customer": intent.customer,
        "description": "Subscription creation",
        "invoice": intent.invoice,
        "last_payment_error": null,
        "latest_charge": null,
        "livemode": false,
        "metadata": {},
        "next_action": next_action,
        "payment_method": intent.payment_method,
        "payment_method_types": ["card"],
        "setup_future_usage": "off_session",
        "status": status,
    })
}
