//! Customers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{self, Record};
use super::call::Call;
use super::errors::ApiError;
use super::form::Form;
use super::lists;
use super::payments;
use super::test_clocks;

/// Names and values a caller may attach.
pub(super) type Metadata = BTreeMap<String, String>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Customer {
    pub(super) id: String,
    created: i64,
    email: Option<String>,
    name: Option<String>,
    description: Option<String>,
    phone: Option<String>,
    pub(super) metadata: Metadata,
    /// What its invoices are paid with.
    pub(super) payment_method: Option<String>,
    /// That of its first subscription.
    pub(super) currency: Option<String>,
    /// Whose time it lives in.
    pub(super) test_clock: Option<String>,
}

impl Record for Customer {
    const KIND: &'static str = "customer";
    const NOUN: &'static str = "customer";
    fn id(&self) -> &str {
        &self.id
    }
    fn clock(&self) -> Option<&str> {
        self.test_clock.as_deref()
    }
    fn told(&self) -> Option<(&'static str, &str)> {
        Some((Self::KIND, &self.id))
    }
}

const FIELDS: [&str; 9] = [
    "email",
    "name",
    "description",
    "phone",
    "metadata",
    "metadata[*]",
    "payment_method",
    "source",
    "invoice_settings[default_payment_method]",
];

pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[&FIELDS[..], &["test_clock"]].concat())?;
    let test_clock = test_clocks::named(call)?;
    let mut customer = Customer { id: books::new_id("cus_"), created: call.now, test_clock, ..Customer::default() };
    change(&mut customer, call.form)?;
    books::put(call.books, &customer)?;
    Ok(render(&customer))
}

pub(super) fn update(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&FIELDS)?;
    let mut customer: Customer = books::get(call.books, call.id)?;
    change(&mut customer, call.form)?;
    books::put(call.books, &customer)?;
    Ok(render(&customer))
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    Ok(render(&books::get(call.books, call.id)?))
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["email", "test_clock", "limit", "starting_after", "ending_before"])?;
    let (email, clock) = (call.form.text("email")?, test_clocks::named(call)?);
    let customers: Vec<Customer> = books::all(call.books, None)?;
    let fits = |one: &&Customer| one.test_clock == clock && (email.is_none() || one.email.as_deref() == email);
    let kept = customers.iter().filter(fits);
    lists::page(call, "/v1/customers", kept.map(render).collect())
}

fn change(customer: &mut Customer, form: &Form) -> Result<(), ApiError> {
    let text = |name: &str, old: &mut Option<String>| {
        if let Some(new) = form.raw(name) {
            *old = Some(new.to_owned()).filter(|text| !text.is_empty());
        }
    };
    text("name", &mut customer.name);
    text("description", &mut customer.description);
    text("phone", &mut customer.phone);
    if let Some(email) = form.raw("email").filter(|email| !email.is_empty() && !email.contains('@')) {
        let error = ApiError::parameter("email", "email_invalid", format!("Invalid email address: {email}"));
        return Err(error);
    }
    text("email", &mut customer.email);
    for name in ["payment_method", "source", "invoice_settings[default_payment_method]"] {
        if let Some(method) = form.text(name)? {
            customer.payment_method = Some(payment_method(name, method)?);
        }
    }
    update_metadata(&mut customer.metadata, form)
}

/// Stripe's test payment methods: they always pay, but for those that can be kept and never pay by themselves.
pub(super) fn payment_method(param: &str, method: &str) -> Result<String, ApiError> {
    let pay = ["pm_card_visa", "pm_card_mastercard", "pm_card_amex", "tok_visa", "tok_mastercard"];
    let never = ["pm_card_chargeCustomerFail", "tok_chargeCustomerFail", payments::AUTHENTICATED];
    if pay.contains(&method) || never.contains(&method) {
        Ok(method.to_owned())
    } else {
        Err(ApiError::no_such_at(param, "PaymentMethod", method))
    }
}

/// Applies `metadata[...]`: an empty value takes its name away, an empty `metadata` takes all.
pub(super) fn update_metadata(metadata: &mut Metadata, form: &Form) -> Result<(), ApiError> {
    match form.raw("metadata") {
        Some("") => metadata.clear(),
        Some(_) => return Err(ApiError::uncoded("metadata", "Invalid hash")),
        None => {}
    }
    for (name, value) in form.map("metadata") {
        if name.chars().count() > 40 {
            let message = format!("Metadata keys must be at most 40 characters. \"{name}\" is too long.");
            return Err(ApiError::uncoded("metadata", message));
        }
        if value.chars().count() > 500 {
            let message =
                format!("Metadata values must be at most 500 characters, but the value of \"{name}\" is longer.");
            return Err(ApiError::uncoded("metadata", message));
        }
        if value.is_empty() {
            metadata.remove(name);
        } else {
            metadata.insert(name.to_owned(), value.to_owned());
        }
    }
    if metadata.len() > 50 {
        return Err(ApiError::uncoded("metadata", "You can only have up to 50 metadata keys."));
    }
    Ok(())
}

pub(super) fn render(customer: &Customer) -> Value {
    json!({
        "id": customer.id,
        "object": "customer",
        "address": null,
        "balance": 0,
        "created": customer.created,
        "currency": customer.currency,
        "default_source": null,
        "delinquent": false,
        "description": customer.description,
        "discount": null,
        "email": customer.email,
        "invoice_prefix": null,
        "invoice_settings": {
            "custom_fields": null,
            "default_payment_method": customer.payment_method,
            "footer": null,
            "rendering_options": null,
        },
        "livemode": false,
        "metadata": customer.metadata,
        "name": customer.name,
        "phone": customer.phone,
        "preferred_locales": [],
        "shipping": null,
        "tax_exempt": "none",
        "test_clock": customer.test_clock,
    })
}
