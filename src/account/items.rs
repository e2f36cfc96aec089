//! Which subscription item a meter is billed on.

use rusqlite::Connection;
use rust_decimal::Decimal;

use super::AccountError;
use crate::model::{Channel, ItemId, MeterName, PriceId};
use crate::store::Tx;

/// A meter's subscription item, with the price that was read when it was linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Which meter.
    pub meter: MeterName,
    /// On which item.
    pub item: ItemId,
    /// At which price.
    pub price: PriceId,
    /// The price's lookup key.
    pub lookup_key: Option<String>,
    /// A unit's price in the currency's smallest unit; `None` for tiers.
    pub unit_amount: Option<Decimal>,
    /// Lowercase ISO 4217.
    pub currency: String,
    /// When the item was made, seconds.
    pub created_s: i64,
    /// By what means its totals are told.
    pub channel: Channel,
    /// Whether other VMs add to the same customer and meter (rule S10).
    pub shared: bool,
}

pub(super) fn insert(tx: &Tx<'_>, link: i64, item: &Item) -> Result<(), AccountError> {
    tx.execute(
        "INSERT INTO item (link_id, meter, item, price, lookup_key, unit_amount, currency, created_s, channel, shared)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        (
            link,
            item.meter.as_str(),
            item.item.as_str(),
            item.price.as_str(),
            &item.lookup_key,
            item.unit_amount.map(|amount| amount.to_string()),
            &item.currency,
            item.created_s,
            serde_json::json!(item.channel).to_string(),
            item.shared,
        ),
    )?;
    Ok(())
}

/// The items of a link, by meter.
pub fn items_of(connection: &Connection, link: i64) -> Result<Vec<Item>, AccountError> {
    let mut statement = connection.prepare_cached(
        "SELECT meter, item, price, lookup_key, unit_amount, currency, created_s, channel, shared
         FROM item WHERE link_id = ?1 ORDER BY meter",
    )?;
    let mut rows = statement.query([link])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let unit_amount: Option<String> = row.get(4)?;
        items.push(Item {
            meter: MeterName::new(row.get::<_, String>(0)?)?,
            item: ItemId::new(row.get::<_, String>(1)?)?,
            price: PriceId::new(row.get::<_, String>(2)?)?,
            lookup_key: row.get(3)?,
            unit_amount: unit_amount.map(|text| text.parse().map_err(|_| AccountError::Price(text))).transpose()?,
            currency: row.get(5)?,
            created_s: row.get(6)?,
            channel: channel(row.get(7)?)?,
            shared: row.get(8)?,
        });
    }
    Ok(items)
}

fn channel(text: String) -> Result<Channel, AccountError> {
    serde_json::from_str(&text).map_err(|_| AccountError::Channel(text))
}
