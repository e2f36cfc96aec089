//! Products.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{self, Record};
use super::call::Call;
use super::customers::{Metadata, update_metadata};
use super::errors::ApiError;
use super::lists;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Product {
    pub(super) id: String,
    created: i64,
    pub(super) name: String,
    description: Option<String>,
    active: bool,
    metadata: Metadata,
    updated: i64,
}

impl Record for Product {
    const KIND: &'static str = "product";
    const NOUN: &'static str = "product";
    fn id(&self) -> &str {
        &self.id
    }
    fn told(&self) -> Option<(&'static str, &str)> {
        Some((Self::KIND, &self.id))
    }
}

impl Product {
    pub(super) fn new(name: &str, now: i64) -> Self {
        Self {
            id: books::new_id("prod_"),
            created: now,
            name: name.to_owned(),
            description: None,
            active: true,
            metadata: Metadata::new(),
            updated: now,
        }
    }
}

pub(super) fn create(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["id", "name", "description", "active", "metadata", "metadata[*]"])?;
    let mut product = Product::new(form.required("name")?, call.now);
    if let Some(id) = form.text("id")? {
        if books::find::<Product>(call.books, id)?.is_some() {
            return Err(ApiError::refused_as("resource_already_exists", "Product already exists."));
        }
        id.clone_into(&mut product.id);
    }
    product.description = form.text("description")?.map(str::to_owned);
    product.active = form.boolean("active")?.unwrap_or(true);
    update_metadata(&mut product.metadata, form)?;
    books::put(call.books, &product)?;
    Ok(render(&product))
}

pub(super) fn update(call: &Call<'_>) -> Result<Value, ApiError> {
    let form = call.form;
    form.allow(&["name", "description", "active", "metadata", "metadata[*]"])?;
    let mut product: Product = books::get(call.books, call.id)?;
    if let Some(name) = form.text("name")? {
        name.clone_into(&mut product.name);
    }
    if let Some(description) = form.raw("description") {
        product.description = Some(description.to_owned()).filter(|text| !text.is_empty());
    }
    product.active = form.boolean("active")?.unwrap_or(product.active);
    product.updated = call.now;
    update_metadata(&mut product.metadata, form)?;
    books::put(call.books, &product)?;
    Ok(render(&product))
}

pub(super) fn retrieve(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&[])?;
    Ok(render(&books::get(call.books, call.id)?))
}

pub(super) fn list(call: &Call<'_>) -> Result<Value, ApiError> {
    call.form.allow(&["active", "ids[]", "limit", "starting_after", "ending_before"])?;
    let active = call.form.boolean("active")?;
    let ids = call.form.texts("ids");
    let products: Vec<Product> = books::all(call.books, None)?;
    let kept = products.iter().filter(|one| active.is_none_or(|active| one.active == active));
    let kept = kept.filter(|one| ids.is_empty() || ids.contains(&one.id));
    lists::page(call, "/v1/products", kept.map(render).collect())
}

pub(super) fn render(product: &Product) -> Value {
    json!({
        "id": product.id,
        "object": "product",
        "active": product.active,
        "attributes": [],
        "created": product.created,
        "default_price": null,
        "description": product.description,
        "images": [],
        "livemode": false,
        "marketing_features": [],
        "metadata": product.metadata,
        "name": product.name,
        "package_dimensions": null,
        "shippable": null,
        "statement_descriptor": null,
        "tax_code": null,
        "type": "service",
        "unit_label": null,
        "updated": product.updated,
        "url": null,
    })
}
