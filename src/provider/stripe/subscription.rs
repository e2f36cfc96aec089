//! Reading a subscription and all its items.
//!
//! Lenient about fields that are not needed, strict about those a bill depends on. One reading serves both versions:
//! what differs in the fields read here is where the period is, that `aggregate_usage` is gone from basil on, and that
//! metered prices have a meter since. <https://docs.stripe.com/api/subscriptions/object?api-version=2025-02-24.acacia>
//! and <https://docs.stripe.com/api/subscriptions/object?api-version=2026-10-28.endive>

use std::collections::BTreeMap;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::model::{BillingMeterId, CustomerId, ItemId, PriceId, Span, SubscriptionId, Timestamp};
use crate::provider::{Answer, Interval, IntervalUnit, ItemView, ReadAnswer, SubscriptionView};

use super::answer::{into_read, judge};
use super::claim::CLAIM_FIELD;
use super::client::Client;
use super::list::PAGES_MAX;

#[derive(Deserialize)]
struct WireSubscription {
    id: SubscriptionId,
    customer: Reference,
    status: String,
    livemode: bool,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
    billing_cycle_anchor: Option<i64>,
    cancel_at: Option<i64>,
    ended_at: Option<i64>,
    pause_collection: Option<IgnoredAny>,
    billing_thresholds: Option<IgnoredAny>,
    items: WireList,
}

/// An id, or the whole object where it was expanded.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Id(CustomerId),
    Expanded { id: CustomerId },
}

#[derive(Deserialize)]
struct WireList {
    data: Vec<WireItem>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct WireItem {
    id: ItemId,
    created: i64,
    price: WirePrice,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
    metadata: Option<BTreeMap<String, String>>,
    billing_thresholds: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct WirePrice {
    id: PriceId,
    lookup_key: Option<String>,
    currency: String,
    billing_scheme: Option<String>,
    unit_amount: Option<i64>,
    unit_amount_decimal: Option<String>,
    transform_quantity: Option<IgnoredAny>,
    tiers_mode: Option<String>,
    tiers: Option<Vec<WireTier>>,
    recurring: Option<WireRecurring>,
}

#[derive(Deserialize)]
struct WireTier {
    unit_amount: Option<i64>,
    unit_amount_decimal: Option<String>,
    flat_amount: Option<i64>,
    flat_amount_decimal: Option<String>,
}

#[derive(Deserialize)]
struct WireRecurring {
    usage_type: String,
    meter: Option<BillingMeterId>,
    interval: Option<String>,
    interval_count: Option<u32>,
    aggregate_usage: Option<String>,
}

/// A period's ends, where given.
type Ends = (Option<i64>, Option<i64>);

/// What was read so far.
struct Pages {
    view: SubscriptionView,
    fallback: Ends,
    /// The last item, where more follow.
    goes_on_after: Option<ItemId>,
    read: usize,
}

/// `GET /v1/subscriptions/{id}`, and `GET /v1/subscription_items` for the items beyond its first page.
pub(super) async fn read(client: &Client, id: &SubscriptionId) -> ReadAnswer<SubscriptionView> {
    let expand = [("expand[]", "items.data.price.tiers")];
    let exchange = client.get_with(&format!("/v1/subscriptions/{id}"), &expand).await;
    let mut answer = judge(client, exchange, |wire| Pages::first(id, wire));
    loop {
        let (pages, last) = match answer.value {
            Ok(Pages { goes_on_after: Some(last), view, fallback, read }) => {
                (Pages { goes_on_after: None, view, fallback, read }, last)
            }
            done => {
                let value = into_read(done.map(|pages| pages.view));
                return Answer { value, date: answer.date, request_id: answer.request_id, status: answer.status };
            }
        };
        let query = [
            ("subscription", id.as_str()),
            ("limit", "100"),
            ("starting_after", last.as_str()),
            ("expand[]", "data.price.tiers"),
        ];
        let exchange = client.get_with("/v1/subscription_items", &query).await;
        answer = judge(client, exchange, |page| pages.and(page));
    }
}

impl Pages {
    fn first(asked: &SubscriptionId, wire: WireSubscription) -> Result<Self, String> {
        if wire.id != *asked {
            return Err(format!("asked for {asked}, it is about {}", wire.id));
        }
        let (Reference::Id(customer) | Reference::Expanded { id: customer }) = wire.customer;
        let view = SubscriptionView {
            id: wire.id,
            customer,
            status: wire.status,
            collection_paused: wire.pause_collection.is_some(),
            has_billing_thresholds: wire.billing_thresholds.is_some(),
            livemode: wire.livemode,
            anchor: wire.billing_cycle_anchor.map(Timestamp::from_secs),
            ends: wire.ended_at.or(wire.cancel_at).map(Timestamp::from_secs),
            items: Vec::new(),
        };
        let fallback = (wire.current_period_start, wire.current_period_end);
        Self { view, fallback, goes_on_after: None, read: 0 }.and(wire.items)
    }

    fn and(mut self, page: WireList) -> Result<Self, String> {
        self.read += 1;
        if page.has_more {
            let last = page.data.last().filter(|_| self.read < PAGES_MAX);
            let last = last.ok_or("its list of items does not come to an end")?;
            self.goes_on_after = Some(last.id.clone());
        }
        for item in page.data {
            self.view.items.push(item_view(item, self.fallback)?);
        }
        Ok(self)
    }
}

fn item_view(wire: WireItem, fallback: Ends) -> Result<ItemView, String> {
    let period = period(&wire, fallback)?;
    let unit_amount = unit_amount(&wire.price)?;
    let has_free_tier = has_free_tier(&wire.price)?;
    let recurring = wire.price.recurring;
    let interval = recurring.as_ref().and_then(interval);
    let (usage_type, meter, aggregate_usage) = match recurring {
        Some(recurring) => (Some(recurring.usage_type), recurring.meter, recurring.aggregate_usage),
        None => (None, None, None),
    };
    Ok(ItemView {
        id: wire.id,
        created_s: wire.created,
        price: wire.price.id,
        lookup_key: wire.price.lookup_key,
        metered: usage_type.as_deref() == Some("metered"),
        meter,
        aggregate_usage,
        currency: wire.price.currency.to_ascii_lowercase(),
        unit_amount,
        has_free_tier,
        interval,
        period,
        claim: wire.metadata.and_then(|mut metadata| metadata.remove(CLAIM_FIELD)),
        has_billing_thresholds: wire.billing_thresholds.is_some(),
    })
}

/// The item's own period (there from `2025-03-31.basil` on), else the subscription's (there before).
fn period(item: &WireItem, fallback: Ends) -> Result<Span, String> {
    let ends = match (item.current_period_start, item.current_period_end) {
        (Some(from), Some(to)) => (Some(from), Some(to)),
        _ => fallback,
    };
    match ends {
        (Some(from), Some(to)) if from < to => Ok(Span::new(Timestamp::from_secs(from), Timestamp::from_secs(to))),
        (Some(_), Some(_)) => Err(format!("the period of {} ends before it starts", item.id)),
        _ => Err(format!("{} has no current period", item.id)),
    }
}

fn interval(recurring: &WireRecurring) -> Option<Interval> {
    let unit = match recurring.interval.as_deref()? {
        "day" => IntervalUnit::Day,
        "week" => IntervalUnit::Week,
        "month" => IntervalUnit::Month,
        "year" => IntervalUnit::Year,
        _ => return None,
    };
    Some(Interval { unit, count: recurring.interval_count.unwrap_or(1) })
}

/// Whether the first units of graduated tiers cost nothing. Tiers are only there because they were asked for.
fn has_free_tier(price: &WirePrice) -> Result<bool, String> {
    if price.tiers_mode.as_deref() != Some("graduated") {
        return Ok(false);
    }
    let first = price.tiers.as_ref().and_then(|tiers| tiers.first());
    let first = first.ok_or_else(|| format!("the tiers of {} are not shown", price.id))?;
    let by_unit = amount(price, first.unit_amount_decimal.as_deref(), first.unit_amount)?;
    let flat = amount(price, first.flat_amount_decimal.as_deref(), first.flat_amount)?;
    Ok(by_unit.unwrap_or_default().is_zero() && flat.unwrap_or_default().is_zero())
}

/// What one unit costs, where one unit has a price of its own: not with tiers, nor with packages.
fn unit_amount(price: &WirePrice) -> Result<Option<Decimal>, String> {
    if price.billing_scheme.as_deref() == Some("tiered") || price.transform_quantity.is_some() {
        return Ok(None);
    }
    amount(price, price.unit_amount_decimal.as_deref(), price.unit_amount)
}

/// An amount, which is null as an integer where it is a fraction.
fn amount(price: &WirePrice, decimal: Option<&str>, integer: Option<i64>) -> Result<Option<Decimal>, String> {
    match decimal {
        Some(text) => match Decimal::from_str(text) {
            Ok(amount) => Ok(Some(amount)),
            Err(_) => Err(format!("an amount of {} is not a decimal", price.id)),
        },
        None => Ok(integer.map(Decimal::from)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::test_server::{TestServer, json as answer};
    use super::*;
    use crate::provider::{ReadError, RefusalKind};

    /// As the pinned version writes it: the period on the subscription, and much that is not needed.
    fn subscription() -> Value {
        json!({
            "id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active", "livemode": false,
            "billing_thresholds": null, "pause_collection": null, "latest_invoice": {"id": "in_1", "lines": []},
            "current_period_start": 1_793_491_200, "current_period_end": 1_796_083_200,
            "items": {"object": "list", "has_more": false, "data": [item("si_1")]}
        })
    }

    fn item(id: &str) -> Value {
        json!({
            "id": id, "object": "subscription_item", "created": 1_793_500_000, "billing_thresholds": null,
            "metadata": {}, "tax_rates": [], "price": {
                "id": "price_1", "object": "price", "currency": "eur", "lookup_key": "price_api_overage",
                "billing_scheme": "per_unit", "unit_amount": 1, "unit_amount_decimal": "1",
                "product": {"id": "prod_1", "name": "Credits"}, "transform_quantity": null,
                "recurring": {"usage_type": "metered", "aggregate_usage": "sum", "meter": null, "interval": "month"}
            }
        })
    }

    async fn read(pages: &[&Value]) -> (Result<SubscriptionView, ReadError>, Vec<String>) {
        let server = TestServer::play(pages.iter().map(|page| answer(200, "", &page.to_string())).collect());
        let answer = server.provider().read_subscription(&SubscriptionId::new("sub_1").unwrap()).await;
        (answer.value, server.requests())
    }

    async fn read_with(pointer: &str, value: Value) -> Result<SubscriptionView, ReadError> {
        let mut wire = subscription();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        wire.pointer_mut(parent).unwrap()[field] = value;
        read(&[&wire]).await.0
    }

    fn span(from: i64, to: i64) -> Span {
        Span::new(Timestamp::from_secs(from), Timestamp::from_secs(to))
    }

    #[tokio::test]
    async fn a_subscription_is_read_by_the_pinned_version() {
        let (view, requests) = read(&[&subscription()]).await;
        let expected = SubscriptionView {
            id: SubscriptionId::new("sub_1").unwrap(),
            customer: CustomerId::new("cus_1").unwrap(),
            status: "active".to_owned(),
            collection_paused: false,
            has_billing_thresholds: false,
            livemode: false,
            anchor: None,
            ends: None,
            items: vec![ItemView {
                id: ItemId::new("si_1").unwrap(),
                created_s: 1_793_500_000,
                price: PriceId::new("price_1").unwrap(),
                lookup_key: Some("price_api_overage".to_owned()),
                metered: true,
                meter: None,
                aggregate_usage: Some("sum".to_owned()),
                currency: "eur".to_owned(),
                unit_amount: Some(Decimal::ONE),
                has_free_tier: false,
                interval: Some(Interval { unit: IntervalUnit::Month, count: 1 }),
                period: span(1_793_491_200, 1_796_083_200),
                claim: None,
                has_billing_thresholds: false,
            }],
        };
        assert_eq!(view.unwrap(), expected);
        let asked = "GET /v1/subscriptions/sub_1?expand%5B%5D=items.data.price.tiers HTTP/1.1\r\n";
        assert!(requests[0].starts_with(asked), "{requests:?}");
        assert!(requests[0].contains("\r\nstripe-version: 2025-02-24.acacia\r\n"));
    }

    /// As the newest version writes it: the period on the item, the price on a meter, nothing of usage records.
    #[tokio::test]
    async fn a_subscription_is_read_by_the_newest_version() {
        let mut wire = subscription();
        let fields = wire.as_object_mut().unwrap();
        fields.retain(|name, _| !name.starts_with("current_period"));
        fields.insert("billing_mode".to_owned(), json!({"type": "flexible", "flexible": {}}));
        fields.insert("billing_cycle_anchor".to_owned(), json!(1_793_491_200));
        fields.insert("cancel_at".to_owned(), json!(1_796_083_200));
        let item = &mut wire["items"]["data"][0];
        item["current_period_start"] = 1_793_491_200.into();
        item["current_period_end"] = 1_796_083_200.into();
        item["current_trial"] = Value::Null;
        item["price"]["recurring"] = json!({
            "interval": "month", "interval_count": 1, "meter": "mtr_1", "trial_period_days": null, "usage_type": "metered"
        });
        let server = TestServer::play(vec![answer(200, "", &wire.to_string())]);
        let view = server.meters().read_subscription(&SubscriptionId::new("sub_1").unwrap()).await.value.unwrap();
        let at = Timestamp::from_secs;
        assert_eq!((view.anchor, view.ends), (Some(at(1_793_491_200)), Some(at(1_796_083_200))));
        let ended = read_with("/ended_at", json!(1_793_600_000)).await.unwrap().ends;
        assert_eq!(ended, Some(at(1_793_600_000)), "it ended before the date that was set");
        let item = &view.items[0];
        assert_eq!(item.period, span(1_793_491_200, 1_796_083_200));
        assert_eq!(item.meter.as_ref().map(BillingMeterId::as_str), Some("mtr_1"));
        assert_eq!((item.metered, item.aggregate_usage.as_deref()), (true, None));
        let request = server.requests().remove(0);
        assert!(request.starts_with("GET /v1/subscriptions/sub_1?expand%5B%5D=items.data.price.tiers HTTP/1.1\r\n"));
        assert!(request.contains("\r\nstripe-version: 2026-10-28.endive\r\n"), "{request}");
    }

    #[tokio::test]
    async fn r3_a_first_tier_is_free_where_neither_units_nor_the_tier_cost_anything() {
        let free = async |mode: &str, first: Value| {
            let mut wire = subscription();
            let price = &mut wire["items"]["data"][0]["price"];
            price["billing_scheme"] = "tiered".into();
            price["tiers_mode"] = mode.into();
            price["tiers"] = json!([first, {"up_to": null, "unit_amount": 5, "unit_amount_decimal": "5"}]);
            read(&[&wire]).await.0.map(|view| view.items[0].has_free_tier)
        };
        let zero = json!({"up_to": 100, "unit_amount": 0, "unit_amount_decimal": "0", "flat_amount": null});
        assert_eq!(free("graduated", zero.clone()).await, Ok(true));
        assert_eq!(free("volume", zero).await, Ok(false));
        assert_eq!(
            free("graduated", json!({"up_to": 100, "flat_amount": 0, "flat_amount_decimal": "0"})).await,
            Ok(true)
        );
        // A fraction of the smallest unit is null as an integer.
        for dear in [
            json!({"up_to": 100, "unit_amount": null, "unit_amount_decimal": "0.5"}),
            json!({"up_to": 100, "unit_amount": 0, "flat_amount": null, "flat_amount_decimal": "0.1"}),
            json!({"up_to": 100, "unit_amount": 1}),
            json!({"up_to": 100, "flat_amount": 900}),
        ] {
            assert_eq!(free("graduated", dear.clone()).await, Ok(false), "{dear}");
        }
        assert!(free("graduated", json!({"unit_amount_decimal": "cheap"})).await.is_err());
        let error = read_with("/items/data/0/price/tiers_mode", json!("graduated")).await.unwrap_err();
        assert!(error.to_string().contains("the tiers of price_1 are not shown"), "{error}");
    }

    #[tokio::test]
    async fn r2_the_period_is_the_items_own_before_the_subscriptions() {
        let mut wire = subscription();
        let item = &mut wire["items"]["data"][0];
        item["current_period_start"] = 1_793_600_000.into();
        item["current_period_end"] = 1_793_700_000.into();
        assert_eq!(read(&[&wire]).await.0.unwrap().items[0].period, span(1_793_600_000, 1_793_700_000));
    }

    #[tokio::test]
    async fn what_decides_a_link_is_read_where_it_is_set() {
        assert!(read_with("/pause_collection", json!({"behavior": "void"})).await.unwrap().collection_paused);
        assert!(read_with("/billing_thresholds", json!({"amount_gte": 5})).await.unwrap().has_billing_thresholds);
        assert_eq!(
            read_with("/customer", json!({"id": "cus_2", "deleted": true})).await.unwrap().customer.as_str(),
            "cus_2"
        );
        let item = async |field: &str, value| {
            read_with(&format!("/items/data/0/{field}"), value).await.unwrap().items.remove(0)
        };
        assert!(item("billing_thresholds", json!({"usage_gte": 5})).await.has_billing_thresholds);
        assert_eq!(item("metadata", json!({"usaged_machine": "vm-1"})).await.claim.as_deref(), Some("vm-1"));
        assert_eq!(item("price/recurring/meter", json!("mtr_1")).await.meter.unwrap().as_str(), "mtr_1");
        assert!(!item("price/recurring/usage_type", json!("licensed")).await.metered);
        assert!(!item("price/recurring", Value::Null).await.metered);
    }

    #[tokio::test]
    async fn a_unit_has_a_price_only_where_units_are_priced_one_by_one() {
        let amount = async |field: &str, value| {
            let pointer = format!("/items/data/0/price/{field}");
            read_with(&pointer, value).await.unwrap().items[0].unit_amount
        };
        assert_eq!(amount("unit_amount_decimal", json!("0.000000000005")).await, Some(Decimal::new(5, 12)));
        assert_eq!(amount("unit_amount_decimal", Value::Null).await, Some(Decimal::ONE));
        assert_eq!(amount("billing_scheme", json!("tiered")).await, None);
        assert_eq!(amount("transform_quantity", json!({"divide_by": 100, "round": "up"})).await, None);
    }

    #[tokio::test]
    async fn items_beyond_the_first_page_are_read_too() {
        let mut first = subscription();
        first["items"]["has_more"] = true.into();
        let second = json!({"object": "list", "has_more": true, "data": [item("si_2"), item("si_3")]});
        let third = json!({"object": "list", "has_more": false, "data": [item("si_4")]});
        let (view, requests) = read(&[&first, &second, &third]).await;
        let ids: Vec<_> = view.unwrap().items.into_iter().map(|item| item.id.to_string()).collect();
        assert_eq!(ids, ["si_1", "si_2", "si_3", "si_4"]);
        let page = |after| {
            let query = format!("subscription=sub_1&limit=100&starting_after={after}&expand%5B%5D=data.price.tiers");
            format!("GET /v1/subscription_items?{query} HTTP/1.1")
        };
        assert!(requests[1].starts_with(&page("si_1")) && requests[2].starts_with(&page("si_3")), "{requests:?}");
    }

    #[tokio::test]
    async fn pages_that_never_end_are_not_followed_for_ever() {
        let mut first = subscription();
        first["items"]["has_more"] = true.into();
        let empty = json!({"has_more": true, "data": []});
        let full = json!({"has_more": true, "data": [item("si_2")]});
        let mut circle = vec![&first];
        circle.extend([&full; PAGES_MAX - 1]);
        for pages in [vec![&first, &empty], circle] {
            let (view, requests) = read(&pages).await;
            assert!(view.unwrap_err().to_string().contains("does not come to an end"));
            assert_eq!(requests.len(), pages.len());
        }
    }

    #[tokio::test]
    async fn a_missing_or_impossible_needed_field_is_named_and_not_guessed() {
        for (pointer, value, named) in [
            ("/id", json!("sub_2"), "sub_2"),
            ("/customer", Value::Null, "Reference"),
            ("/status", Value::Null, "string"),
            ("/current_period_end", Value::Null, "si_1 has no current period"),
            ("/current_period_end", json!(1_793_491_200), "ends before it starts"),
            ("/items/data/0/created", json!("today"), "today"),
            ("/items/data/0/price/unit_amount_decimal", json!("cheap"), "price_1"),
            ("/items/data/0/id", json!("si/../x"), "si/../x"),
        ] {
            let error = read_with(pointer, value).await.unwrap_err();
            assert_eq!((error.refusal.kind, error.passing), (RefusalKind::Unreadable, false), "{pointer}");
            assert!(error.to_string().contains(named), "{pointer}: {error}");
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
            let view = read_with("/items/data/0/price/recurring/interval", json!(word)).await.unwrap();
            assert_eq!(view.items[0].interval.map(|interval| interval.unit), unit);
        }
    }
}
