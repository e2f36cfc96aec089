//! Reading a subscription, its items, their prices and their current periods.
//!
//! Lenient about fields that are not needed, strict about those a bill depends on.
//! <https://docs.lemonsqueezy.com/api/subscriptions/the-subscription-object>

use std::str::FromStr;

use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::model::{CustomerId, ItemId, PriceId, Span, SubscriptionId, Timestamp};
use crate::provider::judge::Judged;
use crate::provider::{Interval, IntervalUnit, ItemView, ReadAnswer, SubscriptionView};

use super::client::{Client, Reading};
use super::document::{Document, Number, Page, Resource, included, time};
use super::usage;

/// A hundred items each: beyond this the provider's paging goes in circles.
const PAGES_MAX: u32 = 20;

#[derive(Deserialize)]
struct WireSubscription {
    store_id: Number,
    customer_id: Number,
    status: String,
    pause: Option<IgnoredAny>,
    billing_anchor: Option<u32>,
    renews_at: Option<String>,
    ends_at: Option<String>,
    test_mode: bool,
}

#[derive(Deserialize)]
struct WireStore {
    currency: String,
}

#[derive(Deserialize)]
struct WireItem {
    subscription_id: Number,
    price_id: Number,
    is_usage_based: bool,
    created_at: String,
}

#[derive(Deserialize)]
struct WirePrice {
    scheme: Option<String>,
    usage_aggregation: Option<String>,
    unit_price: Option<i64>,
    unit_price_decimal: Option<String>,
    package_size: Option<i64>,
    tiers: Option<Vec<WireTier>>,
    renewal_interval_unit: Option<String>,
    renewal_interval_quantity: Option<u32>,
}

#[derive(Deserialize)]
struct WireTier {
    unit_price: Option<i64>,
    unit_price_decimal: Option<String>,
    fixed_fee: Option<i64>,
}

/// What the first answer holds.
struct Head {
    view: SubscriptionView,
    currency: String,
    /// Day of the month.
    anchor: Option<u32>,
    /// When the current period ends, or the last one did.
    until: Option<Timestamp>,
    has_expired: bool,
}

/// An item, and whether its current period is still to be read.
struct Found {
    view: ItemView,
    is_usage_based: bool,
}

/// `GET /v1/subscriptions/{id}`, its items with their prices, and for each usage-based one its current usage.
pub(super) async fn read(client: &Client, id: &SubscriptionId) -> ReadAnswer<SubscriptionView> {
    let mut reading = Reading::by(client);
    let view = view(&mut reading, id).await;
    reading.done(view)
}

async fn view(reading: &mut Reading<'_>, id: &SubscriptionId) -> Judged<SubscriptionView> {
    let path = format!("/v1/subscriptions/{id}");
    let mut head = reading.get(&path, &[("include", "store")], |document| Head::read(id, document)).await?;
    let mut found = items(reading, id, &head).await?;
    for one in found.iter_mut().filter(|one| one.is_usage_based && !head.has_expired) {
        one.view.period = usage::current(reading, &one.view.id).await?.period;
    }
    head.view.items = found.into_iter().map(|one| one.view).collect();
    let monthly = |item: &&ItemView| {
        item.metered && item.interval.is_some_and(|it| matches!(it.unit, IntervalUnit::Month | IntervalUnit::Year))
    };
    let first = head.view.items.iter().find(monthly);
    head.view.anchor = first.zip(head.anchor).and_then(|(item, day)| anchor(item.period.to, day));
    Ok(head.view)
}

impl Head {
    fn read(asked: &SubscriptionId, document: Document<WireSubscription>) -> Result<Self, String> {
        let Document { data: Resource { kind, id, attributes: wire }, included: with } = document;
        if kind != "subscriptions" || id != asked.as_str() {
            return Err(format!("asked for {asked}, it is about {kind} {id}"));
        }
        let store: WireStore = included(&with, "stores", wire.store_id)?;
        let ends = wire.ends_at.as_deref().map(time).transpose()?;
        let renews = wire.renews_at.as_deref().map(time).transpose()?;
        let (status, has_expired) = status(&wire.status);
        let view = SubscriptionView {
            id: asked.clone(),
            customer: CustomerId::new(wire.customer_id.text()).map_err(|error| error.to_string())?,
            status: status.to_owned(),
            collection_paused: wire.pause.is_some() || wire.status == "paused",
            has_billing_thresholds: false,
            livemode: !wire.test_mode,
            anchor: None,
            ends,
            items: Vec::new(),
        };
        let currency = store.currency.to_ascii_lowercase();
        Ok(Self { view, currency, anchor: wire.billing_anchor, until: ends.or(renews), has_expired })
    }
}

/// In the words that jobs go by, which are Stripe's, and whether it is over. What is cancelled goes on until it ends.
fn status(word: &str) -> (&str, bool) {
    match word {
        "on_trial" => ("trialing", false),
        "cancelled" => ("active", false),
        "expired" => ("canceled", true),
        other => (other, false),
    }
}

/// `GET /v1/subscription-items`, oldest first.
async fn items(reading: &mut Reading<'_>, id: &SubscriptionId, head: &Head) -> Judged<Vec<Found>> {
    let mut items: Vec<Found> = Vec::new();
    for number in 1..=PAGES_MAX {
        let text = number.to_string();
        let query = [
            ("filter[subscription_id]", id.as_str()),
            ("include", "price"),
            ("page[number]", text.as_str()),
            ("page[size]", "100"),
        ];
        let look = |page: Page<WireItem>| {
            let goes_on = page.goes_on(number)?;
            if goes_on && number == PAGES_MAX {
                return Err("its list of items does not come to an end".to_owned());
            }
            let found = page.data.iter().map(|one| item(id, one, &page, head)).collect::<Result<Vec<_>, _>>()?;
            Ok((found, goes_on))
        };
        let (found, goes_on) = reading.get("/v1/subscription-items", &query, look).await?;
        items.extend(found);
        if !goes_on {
            break;
        }
    }
    items.reverse();
    Ok(items)
}

fn item(
    subscription: &SubscriptionId,
    one: &Resource<WireItem>,
    page: &Page<WireItem>,
    head: &Head,
) -> Result<Found, String> {
    let (id, wire) = (&one.id, &one.attributes);
    if !wire.subscription_id.is(subscription.as_str()) {
        return Err(format!("asked for the items of {subscription}, {id} is of {}", wire.subscription_id.text()));
    }
    let price: WirePrice = included(&page.included, "prices", wire.price_id)?;
    let named = |error: String| format!("price {}: {error}", wire.price_id.text());
    let created = time(&wire.created_at)?;
    let until = head.until.ok_or_else(|| format!("{subscription} does not say when it renews"))?;
    let view = ItemView {
        id: ItemId::new(&**id).map_err(|error| error.to_string())?,
        created_s: created.secs(),
        price: PriceId::new(wire.price_id.text()).map_err(|error| error.to_string())?,
        lookup_key: None,
        metered: wire.is_usage_based && price.usage_aggregation.is_some(),
        meter: None,
        aggregate_usage: price.usage_aggregation.clone(),
        currency: head.currency.clone(),
        unit_amount: unit_amount(&price).map_err(named)?,
        has_free_tier: has_free_tier(&price).map_err(named)?,
        interval: interval(&price),
        // Of one that usage does not decide, and of one that is over, nobody asks for more.
        period: Span::new(created.min(until), until),
        claim: None,
        has_billing_thresholds: false,
    };
    Ok(Found { view, is_usage_based: wire.is_usage_based })
}

/// What one unit costs, where one unit has a price of its own: not with tiers, nor with packages.
fn unit_amount(price: &WirePrice) -> Result<Option<Decimal>, String> {
    let is_standard = price.scheme.as_deref() == Some("standard") && price.package_size.unwrap_or(1) == 1;
    if is_standard { amount(price.unit_price_decimal.as_deref(), price.unit_price) } else { Ok(None) }
}

/// Whether the first units of graduated tiers cost nothing.
fn has_free_tier(price: &WirePrice) -> Result<bool, String> {
    if price.scheme.as_deref() != Some("graduated") {
        return Ok(false);
    }
    let first = price.tiers.as_ref().and_then(|tiers| tiers.first()).ok_or("its tiers are not shown")?;
    let by_unit = amount(first.unit_price_decimal.as_deref(), first.unit_price)?.unwrap_or_default();
    Ok(by_unit.is_zero() && first.fixed_fee.unwrap_or(0) == 0)
}

/// Cents: a decimal where usage decides, an integer elsewhere.
fn amount(decimal: Option<&str>, integer: Option<i64>) -> Result<Option<Decimal>, String> {
    match decimal {
        Some(text) => Decimal::from_str(text).map(Some).map_err(|_| "an amount is not a decimal".to_owned()),
        None => Ok(integer.map(Decimal::from)),
    }
}

fn interval(price: &WirePrice) -> Option<Interval> {
    let unit = match price.renewal_interval_unit.as_deref()? {
        "day" => IntervalUnit::Day,
        "week" => IntervalUnit::Week,
        "month" => IntervalUnit::Month,
        "year" => IntervalUnit::Year,
        _ => return None,
    };
    Some(Interval { unit, count: price.renewal_interval_quantity.unwrap_or(1) })
}

/// A boundary on the very day of the month that periods are counted from, where this boundary's month may be too short
/// for it. `None` where the boundary does not lie on that day at all.
fn anchor(boundary: Timestamp, day: u32) -> Option<Timestamp> {
    let at = DateTime::<Utc>::from_timestamp(boundary.secs(), 0)?;
    let days = NaiveDate::from_ymd_opt(at.year(), at.month(), 1)?.num_days_in_month();
    if at.day() != day.min(u32::from(days)) {
        return None;
    }
    // Of two months that follow one another, one has 31 days.
    let whole = at.with_day(day).or_else(|| at.checked_sub_months(Months::new(1))?.with_day(day))?;
    Some(Timestamp::from_secs(whole.timestamp()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::test_server::{TestServer, ask, json as answer};
    use super::*;
    use crate::provider::{ReadError, RefusalKind};

    fn subscription() -> Value {
        json!({"jsonapi": {"version": "1.0"}, "data": {
            "type": "subscriptions",
            "id": "2",
            "attributes": {
                "store_id": 1,
                "customer_id": 3,
                "variant_id": 11,
                "status": "active",
                "pause": null,
                "cancelled": false,
                "billing_anchor": 10,
                "renews_at": "2026-12-10T13:08:16.000000Z",
                "ends_at": null,
                "test_mode": true,
            },
        }, "included": [{"type": "stores", "id": "1", "attributes": {"currency": "EUR"}}]})
    }

    fn item(id: i64, is_usage_based: bool) -> Value {
        json!({"type": "subscription-items", "id": id.to_string(), "attributes": {
            "subscription_id": 2,
            "price_id": id + 100,
            "quantity": 0,
            "is_usage_based": is_usage_based,
            "created_at": "2026-11-10T13:08:17.000000Z",
        }})
    }

    fn price(id: i64) -> Value {
        json!({"type": "prices", "id": id.to_string(), "attributes": {
            "variant_id": 11,
            "scheme": "standard",
            "usage_aggregation": "last_during_period",
            "unit_price": null,
            "unit_price_decimal": "0.5",
            "package_size": 1,
            "tiers": null,
            "renewal_interval_unit": "month",
            "renewal_interval_quantity": 1,
        }})
    }

    fn page(number: u32, last: u32, items: &[Value], prices: &[Value]) -> Value {
        json!({"meta": {"page": {"currentPage": number, "lastPage": last}}, "data": items, "included": prices})
    }

    fn usage() -> Value {
        json!({"meta": {
            "period_start": "2026-11-10T13:08:16+00:00",
            "period_end": "2026-12-10T13:08:16+00:00",
            "quantity": 5,
            "interval_unit": "month",
            "interval_quantity": 1,
        }})
    }

    async fn read(answers: &[&Value]) -> (Result<SubscriptionView, ReadError>, Vec<String>) {
        let server = TestServer::play(answers.iter().map(|body| answer(200, "", body)).collect());
        let id = SubscriptionId::new("2").unwrap();
        let view = ask(&server, Duration::from_mins(1)).read_subscription(&id).await;
        (view.value, server.requests())
    }

    /// Of the subscription's usual answers, with one thing changed in one of them.
    async fn read_with(of: usize, pointer: &str, value: Value) -> Result<SubscriptionView, ReadError> {
        let mut answers = [subscription(), page(1, 1, &[item(7, true)], &[price(107)]), usage()];
        *answers[of].pointer_mut(pointer).unwrap() = value;
        // Where less is asked, the rest of the script is left unplayed.
        let server = TestServer::play(answers.iter().map(|body| answer(200, "", body)).collect());
        let id = SubscriptionId::new("2").unwrap();
        ask(&server, Duration::from_mins(1)).read_subscription(&id).await.value
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_subscription_is_read_with_items_prices_and_periods() {
        let items = page(1, 1, &[item(8, false), item(7, true)], &[price(107), price(108)]);
        let (view, requests) = read(&[&subscription(), &items, &usage()]).await;
        let period = Span::new(at("2026-11-10T13:08:16Z"), at("2026-12-10T13:08:16Z"));
        let seven = ItemView {
            id: ItemId::new("7").unwrap(),
            created_s: at("2026-11-10T13:08:17Z").secs(),
            price: PriceId::new("107").unwrap(),
            lookup_key: None,
            metered: true,
            meter: None,
            aggregate_usage: Some("last_during_period".to_owned()),
            currency: "eur".to_owned(),
            unit_amount: Some(Decimal::new(5, 1)),
            has_free_tier: false,
            interval: Some(Interval { unit: IntervalUnit::Month, count: 1 }),
            period,
            claim: None,
            has_billing_thresholds: false,
        };
        let eight = ItemView {
            id: ItemId::new("8").unwrap(),
            price: PriceId::new("108").unwrap(),
            metered: false,
            period: Span::new(at("2026-11-10T13:08:17Z"), period.to),
            ..seven.clone()
        };
        let expected = SubscriptionView {
            id: SubscriptionId::new("2").unwrap(),
            customer: CustomerId::new("3").unwrap(),
            status: "active".to_owned(),
            collection_paused: false,
            has_billing_thresholds: false,
            livemode: false,
            anchor: Some(period.to),
            ends: None,
            items: vec![seven, eight],
        };
        assert_eq!(view.unwrap(), expected);
        let asked: Vec<_> = requests.iter().map(|request| request.split(' ').nth(1).unwrap()).collect();
        assert_eq!(
            asked,
            [
                "/v1/subscriptions/2?include=store",
                "/v1/subscription-items?filter%5Bsubscription_id%5D=2&include=price&page%5Bnumber%5D=1&page%5Bsize%5D=100",
                "/v1/subscription-items/7/current-usage",
            ]
        );
    }

    #[tokio::test]
    async fn what_it_is_comes_in_the_words_that_jobs_go_by() {
        for (word, said) in [
            ("on_trial", "trialing"),
            ("active", "active"),
            ("paused", "paused"),
            ("past_due", "past_due"),
            ("unpaid", "unpaid"),
            ("cancelled", "active"),
        ] {
            let view = read_with(0, "/data/attributes/status", json!(word)).await.unwrap();
            assert_eq!((view.status.as_str(), view.collection_paused), (said, word == "paused"), "{word}");
        }
        let view = read_with(0, "/data/attributes/pause", json!({"mode": "free", "resumes_at": null})).await.unwrap();
        assert!(view.collection_paused);
        let ends = read_with(0, "/data/attributes/ends_at", json!("2026-12-01T00:00:00.000000Z")).await.unwrap().ends;
        assert_eq!(ends, Some(at("2026-12-01T00:00:00Z")));
        assert!(read_with(0, "/data/attributes/test_mode", json!(false)).await.unwrap().livemode);
    }

    #[tokio::test]
    async fn what_has_expired_is_over_and_not_asked_for_its_current_usage() {
        let mut expired = subscription();
        expired["data"]["attributes"]["status"] = json!("expired");
        expired["data"]["attributes"]["ends_at"] = json!("2026-11-20T00:00:00.000000Z");
        let (view, requests) = read(&[&expired, &page(1, 1, &[item(7, true)], &[price(107)])]).await;
        let view = view.unwrap();
        assert_eq!((view.status.as_str(), requests.len()), ("canceled", 2));
        assert_eq!(view.items[0].period, Span::new(at("2026-11-10T13:08:17Z"), at("2026-11-20T00:00:00Z")));
    }

    #[tokio::test]
    async fn a_unit_has_a_price_only_where_units_are_priced_one_by_one() {
        let read = async |changes: &[(&str, Value)]| {
            let mut one = price(107);
            for (field, value) in changes {
                one["attributes"][*field] = value.clone();
            }
            let (view, _) = read(&[&subscription(), &page(1, 1, &[item(7, true)], &[one]), &usage()]).await;
            view.map(|mut view| view.items.remove(0))
        };
        let licensed =
            [("unit_price", json!(900)), ("unit_price_decimal", Value::Null), ("usage_aggregation", Value::Null)];
        let item = read(&licensed).await.unwrap();
        assert_eq!((item.unit_amount, item.metered), (Some(Decimal::from(900)), false));
        assert_eq!(
            read(&[("package_size", json!(100)), ("scheme", json!("package"))]).await.unwrap().unit_amount,
            None
        );
        let tiers = |first: &str, fee: Value| {
            json!([
                {"last_unit": 10, "unit_price": null, "unit_price_decimal": first, "fixed_fee": fee},
                {"last_unit": "inf", "unit_price": null, "unit_price_decimal": "2", "fixed_fee": 0},
            ])
        };
        for (scheme, first, fee, is_free) in [
            ("graduated", "0", Value::Null, true),
            ("graduated", "0.0", json!(0), true),
            ("graduated", "0", json!(100), false),
            ("graduated", "1", json!(0), false),
            // All units are priced by the tier the total falls into.
            ("volume", "0", json!(0), false),
        ] {
            let item = read(&[("scheme", json!(scheme)), ("tiers", tiers(first, fee))]).await.unwrap();
            assert_eq!((item.has_free_tier, item.unit_amount), (is_free, None), "{scheme} {first}");
        }
        let hidden = read_with(1, "/included/0/attributes/scheme", json!("graduated")).await.unwrap_err();
        assert!(hidden.to_string().contains("tiers are not shown"), "{hidden}");
    }

    #[tokio::test]
    async fn items_beyond_the_first_page_are_read_too() {
        let first = page(1, 2, &[item(9, false)], &[price(109)]);
        let second = page(2, 2, &[item(7, false)], &[price(107)]);
        let (view, requests) = read(&[&subscription(), &first, &second]).await;
        let ids: Vec<_> = view.unwrap().items.into_iter().map(|item| item.id.to_string()).collect();
        assert_eq!((ids, requests.len()), (vec!["7".to_owned(), "9".to_owned()], 3));
    }

    #[tokio::test]
    async fn pages_that_never_end_are_not_followed_for_ever() {
        let pages: Vec<_> = (1..=PAGES_MAX).map(|number| page(number, 999, &[], &[])).collect();
        let mut answers = vec![subscription()];
        answers.extend(pages);
        let (view, requests) = read(&answers.iter().collect::<Vec<_>>()).await;
        assert!(view.unwrap_err().to_string().contains("does not come to an end"));
        assert_eq!(requests.len(), answers.len());
    }

    #[tokio::test]
    async fn a_missing_or_impossible_needed_field_is_named_and_not_guessed() {
        for (of, pointer, value, named) in [
            (0, "/data/id", json!("3"), "subscriptions 3"),
            (0, "/data/type", json!("orders"), "orders 2"),
            (0, "/data/attributes/customer_id", Value::Null, "null"),
            (0, "/data/attributes/status", Value::Null, "null"),
            (0, "/data/attributes/test_mode", Value::Null, "null"),
            (0, "/data/attributes/renews_at", Value::Null, "does not say when it renews"),
            (0, "/included", json!([]), "does not include stores 1"),
            (1, "/data/0/attributes/subscription_id", json!(9), "7 is of 9"),
            (1, "/data/0/attributes/created_at", json!("today"), "today"),
            (1, "/data/0/id", json!("7/../8"), "7/../8"),
            (1, "/included", json!([]), "does not include prices 107"),
            (1, "/included/0/attributes/unit_price_decimal", json!("cheap"), "price 107: an amount is not a decimal"),
            (1, "/meta/page/currentPage", json!(2), "asked for page 1"),
            (2, "/meta/period_end", json!("2026-11-10T13:08:16+00:00"), "ends before it starts"),
        ] {
            let error = read_with(of, pointer, value).await.unwrap_err();
            assert_eq!((error.refusal.kind, error.passing), (RefusalKind::Unreadable, false), "{pointer}");
            assert!(error.to_string().contains(named), "{pointer}: {error}");
        }
    }

    #[test]
    fn the_anchor_is_the_day_that_short_months_are_too_short_for() {
        for (boundary, day, expected) in [
            ("2026-12-10T13:08:16Z", 10, Some("2026-12-10T13:08:16Z")),
            ("2027-02-28T06:30:00Z", 31, Some("2027-01-31T06:30:00Z")),
            ("2027-02-28T06:30:00Z", 29, Some("2027-01-29T06:30:00Z")),
            ("2027-04-30T06:30:00Z", 31, Some("2027-03-31T06:30:00Z")),
            ("2027-01-31T06:30:00Z", 31, Some("2027-01-31T06:30:00Z")),
            // As the end of a trial does.
            ("2027-02-27T06:30:00Z", 31, None),
            ("2027-02-27T06:30:00Z", 0, None),
        ] {
            assert_eq!(anchor(at(boundary), day), expected.map(at), "{boundary} {day}");
        }
    }

    #[tokio::test]
    async fn r2_how_often_a_price_renews_is_read_or_not_known() {
        for (word, unit) in [
            ("day", Some(IntervalUnit::Day)),
            ("week", Some(IntervalUnit::Week)),
            ("year", Some(IntervalUnit::Year)),
            ("fortnight", None),
        ] {
            let view = read_with(1, "/included/0/attributes/renewal_interval_unit", json!(word)).await.unwrap();
            assert_eq!(view.items[0].interval.map(|interval| interval.unit), unit);
        }
    }
}
