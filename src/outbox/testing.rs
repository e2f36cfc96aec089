//! What tests share.

use super::{Falls, RecordState, UsageRecord};
use crate::model::{Channel, CustomerId, ItemId, MeterName, PriceId, Rounding, Span, SubscriptionId, Timestamp};

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
