//! What tests share.

use super::{Falls, NewRecord, RecordState, UsageRecord};
use crate::model::{
    BillingMeter, Channel, CustomerId, Formula, ItemId, MeterName, PriceId, Rounding, Span, SubscriptionId, Timestamp,
};
use crate::store::{Store, StoreError, Tx};

/// An hour of a day of November 2026.
pub(super) fn at(day: u32, hour: u32) -> Timestamp {
    Timestamp::parse(&format!("2026-11-{day:02}T{hour:02}:00:00Z")).unwrap()
}

/// Runs a test's body on a fresh database.
pub(super) fn in_store(test: impl FnOnce(&Tx<'_>) + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("usage.db")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let done: Result<(), StoreError> = runtime.block_on(store.write(move |tx| {
        test(tx);
        Ok(())
    }));
    done.unwrap();
}

/// A meter with this formula.
pub(super) fn by(formula: Formula) -> Channel {
    Channel::Meter(BillingMeter {
        id: "mtr_1".parse().unwrap(),
        event_name: "e".to_owned(),
        customer_key: "stripe_customer_id".to_owned(),
        value_key: "value".to_owned(),
        formula,
    })
}

/// An attempt as it came out, at a time.
pub(super) fn attempted(
    tx: &Tx<'_>,
    id: i64,
    revision: i64,
    quantity: i64,
    state: &str,
    at: Timestamp,
    day: Option<Timestamp>,
) {
    tx.execute(
        "INSERT INTO delivery (usage_record_id, revision, generation_id, idempotency_key, quantity, timestamp_s,
                               state, first_sent_us, settled_us, day_s)
         SELECT ?1, ?2, max(id), ?3, ?4, ?5, ?6, ?7, ?7, ?8 FROM generation",
        (id, revision, format!("key-{revision}"), quantity, at.secs(), state, at.micros(), day.map(Timestamp::secs)),
    )
    .unwrap();
}

/// A row to be made.
pub(super) fn new(channel: Channel, period: Span) -> NewRecord {
    NewRecord {
        customer: "cus_1".parse().unwrap(),
        subscription: "sub_1".parse().unwrap(),
        item: "si_1".parse().unwrap(),
        item_created_s: 0,
        channel,
        shared: false,
        meter: "api_credits".parse().unwrap(),
        period,
        price: "price_1".parse().unwrap(),
        unit_amount: None,
        billable: true,
    }
}

/// An open row of November 2026 on which nothing stands.
pub(crate) fn record(channel: Channel) -> UsageRecord {
    let from = Timestamp::parse("2026-11-01T00:00:00Z").unwrap();
    UsageRecord {
        id: 1,
        customer: CustomerId::new("cus_1").unwrap(),
        subscription: SubscriptionId::new("sub_1").unwrap(),
        item: ItemId::new("si_1").unwrap(),
        channel,
        shared: false,
        meter: MeterName::new("api_credits").unwrap(),
        period: Span::new(from, Timestamp::parse("2026-12-01T00:00:00Z").unwrap()),
        timestamp_s: from.secs() + 1,
        price: PriceId::new("price_1").unwrap(),
        unit_amount: None,
        state: RecordState::Open,
        cut: false,
        billable: true,
        plan: "pro".to_owned(),
        gross: false,
        rounding: Rounding::Down,
        used: 0,
        included: None,
        overage: 0,
        carried_in: 0,
        closed_segments: 0,
        floor: 0,
        begins_anew: false,
        segment_of: None,
        forgotten: 0,
        adopted_by_usage: 0,
        unit_micros: 0,
        spare: None,
        forgettable: 0,
        may_stand_later: false,
        wanted: 0,
        adopted: 0,
        adopted_elsewhere: 0,
        probing_from: None,
        target: 0,
        falls: Falls::Sent,
        differs_since: None,
        revision: 0,
        standing: None,
        read_generation: None,
        drift: None,
        close_read: None,
        held_units: 0,
        attempts: 0,
        next_attempt: None,
        last_error: None,
        held: None,
    }
}
