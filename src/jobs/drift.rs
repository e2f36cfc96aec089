//! Drift: what a read says beside what this ledger noted, and where the difference most likely comes from.

use std::cmp::Ordering;

use rusqlite::Connection;

use super::{JobError, release};
use crate::ledger::coverage;
use crate::model::{MICROS_PER_MINUTE, Micros, Span, Timestamp};
use crate::outbox::{self, ReadVerdict, RecordState, SinceNoted, UsageRecord};
use crate::wire::Cause;

/// A restart takes no longer than this, apart from the time since the last sample.
const RESTART_US: i64 = MICROS_PER_MINUTE;

/// Where events that were answered and refused later are told.
pub(super) const REPORTS: &str = "look for v1.billing.meter.error_report_triggered among the provider's events: it says which were refused \
                       and why, as a customer that the meter cannot map";

/// What to do about a closed period that differs.
pub(super) const SETTLED: &str = "what was carried and listed at its end is not worked out again: compare its invoice with usagectl \
                       sync --month, and settle the difference by hand";

/// What this ledger can say for itself before it takes a read in, which would be its newest note.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence {
    since: SinceNoted,
    /// Since when it is looked at: since what stands was noted, or since the period began.
    from: Timestamp,
    /// How much of that it was not kept in.
    absent_us: i64,
    /// The most it may have caused to stand.
    caused: i64,
    /// Whether a meter's summary may not show yet what was answered.
    lags: bool,
    /// The sample interval: so much may be missing of a run that was killed.
    sample_every_us: i64,
}

impl Evidence {
    pub(super) fn gather(
        connection: &Connection,
        record: &UsageRecord,
        sample_every_us: i64,
        now: Timestamp,
    ) -> Result<Self, JobError> {
        let since = outbox::since_noted(connection, record)?;
        let from = since.at.unwrap_or(record.period.from).min(now);
        Ok(Self {
            since,
            from,
            absent_us: coverage::absent_us(connection, Span::new(from, now))?,
            caused: outbox::caused(connection, record, now)?,
            lags: outbox::lags(connection, record, now)?,
            sample_every_us,
        })
    }

    /// Within one run, and over a mere restart, no older copy can have taken this ledger's place unnoticed. Beyond that a
    /// copy of a running ledger shows itself: it was left without a stop, and a long time is missing.
    fn suspect(&self) -> Cause {
        let is_kept = self.since.in_one_run || self.absent_us <= self.sample_every_us.saturating_add(RESTART_US);
        match (is_kept, self.since.left_without_stop) {
            (true, _) => Cause::AnotherWriter,
            (false, true) => Cause::OlderLedger,
            (false, false) => Cause::AnotherWriterOrOlderLedger,
        }
    }
}

/// A row with what was read of it.
pub(super) struct Compared<'a> {
    /// As it was before the read.
    pub(super) before: &'a UsageRecord,
    /// As it is now.
    pub(super) after: &'a UsageRecord,
    /// What stands.
    pub(super) total: i64,
    /// What the ledger made of it, where it took the read in.
    pub(super) verdict: Option<&'a ReadVerdict>,
    pub(super) evidence: Evidence,
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) cause: Cause,
    pub(super) why: String,
    pub(super) needs_someone: bool,
    pub(super) hint: Option<String>,
}

impl Finding {
    pub(super) fn fine(cause: Cause, why: impl Into<String>) -> Self {
        Self { cause, why: why.into(), needs_someone: false, hint: None }
    }

    fn needing(cause: Cause, why: String, hint: String) -> Self {
        Self { cause, why, needs_someone: true, hint: Some(hint) }
    }
}

impl Compared<'_> {
    /// Looks at it. What is held needs someone however it compares.
    pub(super) fn judge(&self) -> Finding {
        let mut finding = match self.kind() {
            Cause::Agrees => settled(self.after, self.total),
            Cause::Lags => Finding::fine(Cause::Lags, self.lags()),
            Cause::OwnLateRequest => Finding::fine(Cause::OwnLateRequest, self.own()),
            Cause::NotCounted => self.not_counted(),
            Cause::Lowered => self.lowered(),
            _ => self.higher(),
        };
        let is_closed = self.before.state == RecordState::Closed;
        if is_closed && self.total != self.noted() {
            finding.needs_someone = true;
            finding.hint = Some(SETTLED.to_owned());
        }
        if let Some((code, _)) = self.after.held.as_ref().filter(|_| !is_closed) {
            finding.needs_someone = true;
            finding.hint = Some(release::way_out(&self.after.item, code));
        }
        finding
    }

    fn noted(&self) -> i64 {
        self.before.standing.unwrap_or(0)
    }

    /// The kind of difference; [`Cause::AnotherWriterOrOlderLedger`] stands for all that is higher than was caused.
    fn kind(&self) -> Cause {
        let noted = self.noted();
        match self.verdict {
            Some(ReadVerdict::AsNoted) if self.total == noted => Cause::Agrees,
            Some(ReadVerdict::Probed) => Cause::Agrees,
            Some(ReadVerdict::AsNoted | ReadVerdict::OursLate) => Cause::OwnLateRequest,
            Some(ReadVerdict::Lags | ReadVerdict::FallLags) => Cause::Lags,
            Some(ReadVerdict::Lower { .. }) => self.less(),
            Some(ReadVerdict::Adopted { .. } | ReadVerdict::Held(_)) => Cause::AnotherWriterOrOlderLedger,
            None => self.compare(noted),
        }
    }

    /// What the ledger would have made of it, as far as that needs no note.
    fn compare(&self, noted: i64) -> Cause {
        match self.total.cmp(&noted) {
            Ordering::Equal => Cause::Agrees,
            Ordering::Greater if self.total <= self.evidence.caused => Cause::OwnLateRequest,
            Ordering::Greater => Cause::AnotherWriterOrOlderLedger,
            Ordering::Less if self.before.state == RecordState::Closed => Cause::Lowered,
            Ordering::Less if self.evidence.lags => Cause::Lags,
            Ordering::Less => self.less(),
        }
    }

    fn less(&self) -> Cause {
        if self.before.channel.meter().is_some() { Cause::NotCounted } else { Cause::Lowered }
    }

    fn lags(&self) -> String {
        let (total, noted) = (self.total, self.noted());
        format!("{noted} were answered, {total} are shown: summaries are put together later, within two hours")
    }

    fn own(&self) -> String {
        let (total, noted) = (self.total, self.noted());
        format!("{total} stand where {noted} were noted: a request of this VM's that was not known to have arrived")
    }

    fn not_counted(&self) -> Finding {
        let (total, noted) = (self.total, self.noted());
        let why = format!(
            "{noted} were answered, and {total} are shown more than two hours later: events were refused after their \
             answer, or somebody else's later one took their place"
        );
        Finding::needing(Cause::NotCounted, why, REPORTS.to_owned())
    }

    /// A total is set again by itself, so this is good to know.
    fn lowered(&self) -> Finding {
        let why = format!("{} stand where {} were noted", self.total, self.noted());
        let hint = match self.before.state {
            RecordState::Open => "the next push sets it again; see whether somebody else writes to the item",
            _ => "see whether somebody else writes to the item",
        };
        Finding { hint: Some(hint.to_owned()), ..Finding::fine(Cause::Lowered, why) }
    }

    fn higher(&self) -> Finding {
        let Evidence { from, absent_us, caused, .. } = self.evidence;
        let cause = self.evidence.suspect();
        let reason = match cause {
            Cause::AnotherWriter => format!("It has been kept without a break since {from}"),
            Cause::OlderLedger => {
                format!("It knows nothing of {} since {from}, and no stop was noted before that", lasting(absent_us))
            }
            _ => format!("It knows nothing of {} since {from}, after a stop that was noted", lasting(absent_us)),
        };
        let why = format!("{} stand, and this ledger caused {caused} at most. {reason}", self.total);
        if let Some(ReadVerdict::Adopted { units }) = self.verdict {
            let hint =
                "usagectl sync shows them as adopted; what of the allowance was used before is not known any more";
            let why = format!("{why}. {units} were taken over, since the link says that nobody else writes (rule S5)");
            // The operator's word rules another writer out, unless the ledger itself speaks against it.
            let is_doubtful = cause == Cause::AnotherWriter;
            let cause = if is_doubtful { cause } else { Cause::OlderLedger };
            return Finding { cause, why, needs_someone: is_doubtful, hint: Some(hint.to_owned()) };
        }
        // Where it is held by now, how to settle that takes this one's place.
        let hint = match self.before.state {
            RecordState::Open => "it is read again before the next push, and held then",
            _ => "when the period is closed, what is above our own total is listed as a credit due",
        };
        Finding::needing(cause, why, hint.to_owned())
    }
}

fn lasting(us: i64) -> String {
    let minutes = Micros::new(us).get().div_euclid(MICROS_PER_MINUTE);
    match (minutes.div_euclid(1_440), minutes.div_euclid(60)) {
        (0, 0) => format!("{minutes} minutes"),
        (0, hours) => format!("{hours} hours"),
        (days, _) => format!("{days} days"),
    }
}

/// What stands is what was noted.
fn settled(after: &UsageRecord, total: i64) -> Finding {
    let target = after.target;
    match after.state {
        RecordState::Open if after.differs() => {
            let failing =
                after.last_error.as_ref().map_or_else(String::new, |error| format!("; the last push: {error}"));
            Finding::fine(Cause::NotSentYet, format!("{total} stand as noted, and {target} should{failing}"))
        }
        RecordState::Ending => {
            let why = "it is being closed; what is missing is carried";
            Finding::fine(Cause::Agrees, why)
        }
        _ if after.adopted > 0 => Finding::fine(Cause::Agrees, format!("{} of them were taken over", after.adopted)),
        _ => Finding::fine(Cause::Agrees, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BillingMeter, BillingMeterId, Channel, Formula};
    use crate::outbox::testing::record;

    fn meter(formula: Formula) -> Channel {
        Channel::Meter(BillingMeter {
            id: BillingMeterId::new("mtr_1").unwrap(),
            event_name: "e".to_owned(),
            customer_key: "stripe_customer_id".to_owned(),
            value_key: "value".to_owned(),
            formula,
        })
    }

    fn evidence(in_one_run: bool, left_without_stop: bool, absent_minutes: i64) -> Evidence {
        Evidence {
            since: SinceNoted { at: None, in_one_run, left_without_stop },
            from: Timestamp::from_secs(0),
            absent_us: absent_minutes * MICROS_PER_MINUTE,
            caused: 9,
            lags: false,
            sample_every_us: MICROS_PER_MINUTE,
        }
    }

    /// A row of nine noted units that was read.
    fn judged(channel: Channel, state: RecordState, total: i64, verdict: Option<&ReadVerdict>, lags: bool) -> Finding {
        let mut row = record(channel);
        (row.state, row.standing, row.target) = (state, Some(9), 9);
        let evidence = Evidence { lags, ..evidence(true, false, 0) };
        Compared { before: &row, after: &row, total, verdict, evidence }.judge()
    }

    #[test]
    fn s5_answered_events_that_do_not_show_are_refused_later_and_only_after_a_while() {
        for formula in [Formula::Sum, Formula::SumOfDays, Formula::Last] {
            let lower = ReadVerdict::Lower { noted: 9 };
            let found = judged(meter(formula), RecordState::Open, 4, Some(&lower), false);
            assert_eq!((found.cause, found.needs_someone), (Cause::NotCounted, true));
            assert!(found.hint.unwrap().contains("v1.billing.meter.error_report_triggered"));
            let lags = judged(meter(formula), RecordState::Open, 4, Some(&ReadVerdict::Lags), false);
            assert_eq!((lags.cause, lags.needs_someone), (Cause::Lags, false));
            // Too late for a push, so the ledger was not asked.
            let late = |lags| judged(meter(formula), RecordState::Ending, 4, None, lags).cause;
            assert_eq!((late(true), late(false)), (Cause::Lags, Cause::NotCounted));
        }
        let lowered =
            judged(Channel::UsageRecords, RecordState::Open, 4, Some(&ReadVerdict::Lower { noted: 9 }), false);
        assert_eq!((lowered.cause, lowered.needs_someone), (Cause::Lowered, false));
    }

    #[test]
    fn what_was_found_is_said_with_its_figures() {
        let said = |state, total, verdict: Option<&ReadVerdict>, lags| {
            judged(meter(Formula::Last), state, total, verdict, lags).why
        };
        let lags = said(RecordState::Open, 4, Some(&ReadVerdict::Lags), false);
        assert_eq!(lags, "9 were answered, 4 are shown: summaries are put together later, within two hours");
        let own = said(RecordState::Open, 8, Some(&ReadVerdict::OursLate), false);
        assert!(own.starts_with("8 stand where 9 were noted: a request of this VM's"), "{own}");
        let lowered = |state| judged(Channel::UsageRecords, state, 4, Some(&ReadVerdict::Lower { noted: 9 }), false);
        assert_eq!(lowered(RecordState::Open).why, "4 stand where 9 were noted");
        assert!(lowered(RecordState::Open).hint.unwrap().starts_with("the next push sets it again"));
        assert!(
            lowered(RecordState::Ending).hint.unwrap().starts_with("see whether somebody else"),
            "no push comes any more"
        );
    }

    #[test]
    fn s5_what_is_too_high_is_told_with_what_this_ledger_does_not_know_and_what_becomes_of_it() {
        let found = |state, evidence: Evidence| {
            let mut row = record(Channel::UsageRecords);
            (row.state, row.standing, row.target) = (state, Some(9), 9);
            Compared { before: &row, after: &row, total: 12, verdict: None, evidence }.judge()
        };
        let kept = found(RecordState::Open, evidence(true, false, 0));
        assert!(kept.why.starts_with("12 stand, and this ledger caused 9 at most. It has been kept"), "{}", kept.why);
        assert!(kept.hint.unwrap().starts_with("it is read again before the next push"));
        let ending = found(RecordState::Ending, evidence(true, false, 0));
        assert!(ending.hint.unwrap().contains("listed as a credit due"));
        let older = found(RecordState::Open, evidence(false, true, 180));
        assert_eq!(older.cause, Cause::OlderLedger);
        assert!(
            older.why.contains("knows nothing of 3 hours") && older.why.contains("no stop was noted"),
            "{}",
            older.why
        );
    }

    #[test]
    fn what_stands_as_noted_says_what_else_there_is_to_know() {
        let said = |state, target, adopted| {
            let row = UsageRecord { state, target, adopted, standing: Some(9), ..record(Channel::UsageRecords) };
            let found = settled(&row, 9);
            (found.cause, found.why)
        };
        assert_eq!(said(RecordState::Open, 9, 0), (Cause::Agrees, String::new()));
        assert_eq!(said(RecordState::Open, 9, 2), (Cause::Agrees, "2 of them were taken over".to_owned()));
        assert_eq!(said(RecordState::Open, 11, 2), (Cause::NotSentYet, "9 stand as noted, and 11 should".to_owned()));
        let closing = "it is being closed; what is missing is carried".to_owned();
        assert_eq!(said(RecordState::Ending, 11, 2), (Cause::Agrees, closing));
        assert_eq!(said(RecordState::Closed, 11, 0), (Cause::Agrees, String::new()));
    }

    #[test]
    fn s5_whatever_differs_in_a_closed_period_needs_someone() {
        for (total, cause) in [(4, Cause::Lowered), (12, Cause::AnotherWriter)] {
            for channel in [Channel::UsageRecords, meter(Formula::Sum), Channel::CurrentUsage] {
                let found = judged(channel, RecordState::Closed, total, None, true);
                assert_eq!((found.cause, found.needs_someone, found.hint.as_deref()), (cause, true, Some(SETTLED)));
            }
        }
        assert!(!judged(Channel::UsageRecords, RecordState::Closed, 9, None, false).needs_someone);
    }

    #[test]
    fn s5_each_hold_names_its_own_way_out() {
        let mut row = record(Channel::UsageRecords);
        row.standing = Some(9);
        for (code, words) in [
            ("higher_than_caused", "--adopt or --overwrite"),
            ("something_stands", "--adopt or --overwrite"),
            ("probe_unclear", "--adopt"),
            ("segment_changed", "usagectl link"),
            ("item_missing", "usagectl link"),
        ] {
            row.held = Some((code.to_owned(), String::new()));
            let evidence = evidence(true, false, 0);
            let found = Compared { before: &row, after: &row, total: 9, verdict: None, evidence }.judge();
            assert!(found.needs_someone && found.hint.as_deref().unwrap().contains(words), "{code}: {found:?}");
        }
    }

    fn suspected(in_one_run: bool, left_without_stop: bool, absent_minutes: i64) -> Cause {
        evidence(in_one_run, left_without_stop, absent_minutes).suspect()
    }

    #[test]
    fn s5_a_ledger_that_was_kept_without_a_break_is_not_taken_for_a_copy() {
        assert_eq!(suspected(true, false, 0), Cause::AnotherWriter);
        assert_eq!(suspected(true, false, 600), Cause::AnotherWriter, "a process that went on is no copy");
        assert_eq!(suspected(false, true, 2), Cause::AnotherWriter, "killed, and started again");
    }

    #[test]
    fn s5_only_a_long_absence_without_a_stop_looks_like_a_restored_disk() {
        assert_eq!(suspected(false, true, 3), Cause::OlderLedger);
        assert_eq!(suspected(false, false, 3), Cause::AnotherWriterOrOlderLedger);
    }
}
