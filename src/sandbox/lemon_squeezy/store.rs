//! Whose everything is: one user, and the one store whose currency prices are in.

use serde_json::{Value, json};

use super::call::Call;
use super::document::{self, Shown};
use super::errors::ApiError;

/// The one store.
pub(super) const STORE: &str = "1";
/// ISO 4217. Prices have none of their own.
pub(super) const CURRENCY: &str = "EUR";

/// `GET /v1/users/me`.
pub(super) fn me(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&[])?;
    let attributes = json!({
        "name": "Sandbox",
        "email": "sandbox@example.com",
        "color": "#898FA9",
        "avatar_url": "https://example.com/avatar",
        "has_custom_avatar": false,
        "createdAt": document::time(0),
        "updatedAt": document::time(0),
    });
    let resource = document::resource("users", "1", &attributes, &[]);
    let mut document = document::one(call, Shown { resource, with: Vec::new() });
    if let Some(fields) = document.as_object_mut() {
        fields.insert("meta".to_owned(), json!({ "test_mode": true }));
    }
    Ok(document)
}

/// `GET /v1/stores/{id}`.
pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.query.allow(&[])?;
    if call.id != STORE {
        return Err(ApiError::not_found());
    }
    Ok(document::one(call, Shown { resource: render(), with: Vec::new() }))
}

pub(super) fn render() -> Value {
    let attributes = json!({
        "name": "Sandbox",
        "slug": "sandbox",
        "domain": "sandbox.example.com",
        "url": "https://sandbox.example.com",
        "avatar_url": null,
        "plan": "fresh",
        "country": "DE",
        "country_nicename": "Germany",
        "currency": CURRENCY,
        "total_sales": 0,
        "total_revenue": 0,
        "thirty_day_sales": 0,
        "thirty_day_revenue": 0,
        "created_at": document::time(0),
        "updated_at": document::time(0),
    });
    let related = ["products", "orders", "subscriptions", "discounts", "license-keys", "webhooks", "affiliates"];
    document::resource("stores", STORE, &attributes, &related)
}
