//! Rules S6, S7, S9 and S12: from when, and until when, a period's total can be sent and still be billed in it.

use std::time::Duration;

use super::{RecordState, UsageRecord};
use crate::model::{Channel, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_SECOND, Timestamp, micros_of};

/// Rule S6: by the provider's clock nothing is sent later than this before a period's end, time-out included.
const SPARE_BEFORE_END: Duration = Duration::from_mins(2);
/// Rule S7: nor later than this before a draft invoice becomes final.
const SPARE_BEFORE_FINAL: Duration = Duration::from_mins(10);

/// Rule S12: an unsent total is an alarm for so long before its deadline, over a weekend, once it has waited for longer than
/// from one day's push to the next.
const FAR: (i64, i64) = (3 * MICROS_PER_DAY, 26 * MICROS_PER_HOUR);
/// And for so long, once it has waited for more than one of the hourly pushes.
const NEAR: (i64, i64) = (6 * MICROS_PER_HOUR, 2 * MICROS_PER_HOUR);

/// What decides how long a total may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A whole request may take this long.
    pub timeout: Duration,
    /// A draft invoice waits this long after the end of its period (rule S7).
    pub draft_grace: Duration,
    /// No push starts within this before a period's end where a late one would count for the next (rule S9).
    pub quiet_before_end: Duration,
}

impl UsageRecord {
    /// The first moment, by the provider's clock, at which its total can be sent.
    #[must_use]
    pub fn first_send(&self) -> Timestamp {
        match &self.channel {
            Channel::UsageRecords => Timestamp::from_secs(self.timestamp_s),
            Channel::Meter(_) => self.period.whole_minutes().from.plus(MICROS_PER_SECOND),
            Channel::CurrentUsage => self.period.from,
        }
    }

    /// The last moment, by the provider's clock, at which a push for this period may start (rules S6, S7, S9, S12).
    #[must_use]
    pub fn last_send(&self, limits: Limits) -> Timestamp {
        let end = self.period.to.minus(micros_of(limits.timeout));
        match &self.channel {
            Channel::UsageRecords => end.minus(micros_of(SPARE_BEFORE_END)),
            Channel::Meter(_) => end.plus(micros_of(limits.draft_grace)).minus(micros_of(SPARE_BEFORE_FINAL)),
            Channel::CurrentUsage => end.minus(micros_of(limits.quiet_before_end)),
        }
    }

    /// Rule S12: whether its total is unsent, can be billed in its period for a while only, and has waited for longer than
    /// its schedule explains.
    #[must_use]
    pub fn is_near_deadline(&self, limits: Limits, now: Timestamp) -> bool {
        let left_us = self.last_send(limits).since(now);
        let waited_us = self.differs_since.map_or(0, |since| now.since(since));
        let is_late = |(before_us, late_us)| left_us < before_us && waited_us > late_us;
        let fails = self.attempts > 0 && left_us < NEAR.0;
        self.takes_totals() && self.differs() && (fails || is_late(NEAR) || is_late(FAR))
    }

    /// From when, by the provider's clock, what stands after the period's end cannot change any more.
    #[must_use]
    pub fn settled_from(&self, limits: Limits) -> Timestamp {
        match &self.channel {
            Channel::Meter(_) => self.period.to.plus(micros_of(limits.draft_grace)),
            Channel::UsageRecords | Channel::CurrentUsage => self.period.to,
        }
    }

    /// Whether its total may be sent in this stage of its life: a meter's also while the ended period's invoice is a draft.
    #[must_use]
    pub const fn takes_totals(&self) -> bool {
        // A closed segment stays as it is (rule R5).
        if self.segment_of.is_some() {
            return false;
        }
        match self.state {
            RecordState::Open => true,
            // An invoice that was made before its time was not left a draft.
            RecordState::Ending => matches!(self.channel, Channel::Meter(_)) && !self.cut,
            RecordState::Closed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Formula;
    use crate::outbox::testing::{by, record};

    const LIMITS: Limits = Limits {
        timeout: Duration::from_secs(30),
        draft_grace: Duration::from_hours(1),
        quiet_before_end: Duration::from_mins(5),
    };

    #[test]
    fn s12_each_channel_has_a_deadline_of_its_own() {
        let end = record(Channel::UsageRecords).period.to;
        let before = |channel| end.since(record(channel).last_send(LIMITS)).div_euclid(1_000_000);
        assert_eq!(before(Channel::UsageRecords), 150);
        assert_eq!(before(Channel::CurrentUsage), 330);
        assert_eq!(before(by(Formula::Last)), -(50 * 60 - 30));
    }

    #[test]
    fn s12_the_alarm_rises_the_earlier_the_longer_a_total_has_waited() {
        const HOUR: i64 = MICROS_PER_HOUR;
        let rings = |left_h: i64, waited_h: i64, attempts| {
            let mut record = record(Channel::UsageRecords);
            let now = record.last_send(LIMITS).minus(left_h * HOUR - 1);
            (record.target, record.standing, record.attempts) = (9, Some(4), attempts);
            record.differs_since = Some(now.minus(waited_h * HOUR + 1));
            record.is_near_deadline(LIMITS, now)
        };
        for (left_h, waited_h, attempts, expected) in [
            (72, 26, 0, true),
            (73, 400, 9, false),
            (72, 25, 9, false),
            (7, 25, 0, false),
            (6, 2, 0, true),
            (6, 1, 0, false),
            (6, 0, 1, true),
        ] {
            assert_eq!(rings(left_h, waited_h, attempts), expected, "{left_h} h left, waited {waited_h} h");
        }
        // At the limit itself it does not ring yet.
        let limit = |left_us: i64, waited_us: i64, attempts| {
            let mut record = record(Channel::UsageRecords);
            let now = record.last_send(LIMITS).minus(left_us);
            (record.target, record.standing, record.attempts) = (9, Some(4), attempts);
            record.differs_since = Some(now.minus(waited_us));
            record.is_near_deadline(LIMITS, now)
        };
        assert!(!limit(72 * HOUR, 27 * HOUR, 0) && !limit(71 * HOUR, 26 * HOUR, 0));
        assert!(!limit(6 * HOUR, 1, 1) && limit(6 * HOUR - 1, 1, 1));
        assert!(!limit(5 * HOUR, 2 * HOUR, 0) && limit(5 * HOUR, 2 * HOUR + 1, 0));
        let mut sent = record(Channel::UsageRecords);
        (sent.target, sent.standing, sent.attempts) = (9, Some(9), 3);
        assert!(!sent.is_near_deadline(LIMITS, sent.last_send(LIMITS)), "it stands");
    }

    #[test]
    fn s7_an_invoice_made_before_its_time_waits_for_no_final_total() {
        let mut record = record(by(Formula::Last));
        (record.state, record.cut) = (RecordState::Ending, true);
        assert!(!record.takes_totals());
    }

    #[test]
    fn s7_only_a_meter_takes_totals_of_a_period_that_is_over() {
        for (channel, takes) in
            [(Channel::UsageRecords, false), (Channel::CurrentUsage, false), (by(Formula::Sum), true)]
        {
            let mut record = record(channel);
            record.state = RecordState::Ending;
            assert_eq!(record.takes_totals(), takes);
        }
    }
}
