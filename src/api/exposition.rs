//! A status as OpenMetrics text.
//!
//! Every series is a gauge: what is used falls when a record is taken back, and begins anew with each period. That also
//! keeps the text readable for parsers of the older Prometheus format, such as those of textfile collectors: they know
//! neither info metrics nor counters named apart from their samples. To them `# UNIT` and `# EOF` are comments.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, GaugeValueEncoder, MetricEncoder, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use rust_decimal::Decimal;

use crate::model::Timestamp;
use crate::wire::{ClockStatus, JobStatus, MeterStatus, Status, UnsentStatus};

/// What the text says it is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every state of an unsent record, so that one in which none is shows a zero, and does not go away.
const UNSENT_STATES: [&str; 3] = ["waiting", "retrying", "held"];

/// Writes the text, up to its `# EOF`.
pub(super) fn of(status: Status) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("usaged");
    registry.register_collector(Box::new(Exposition(status)));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Exposition(Status);

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let status = &self.0;
        let mut page = Page(encoder);
        let version = [([("version", &*status.version)], Value::Whole(1))];
        page.family("build_info", "The version that runs. Always 1.", None, version)?;
        page.moment("start_time", "When the daemon started.", Some(&status.since))?;
        page.moment("period_start_timestamp", "When the current billing period began.", Some(&status.period_from))?;
        page.moment("period_end_timestamp", "When the current billing period ends.", Some(&status.period_to))?;
        meters(&mut page, &status.meters)?;
        unsent(&mut page, status)?;
        let every = Value::of_u64(status.sample_every_s);
        page.gauge("sample_interval", "Time between two samples, as configured.", Some(&Unit::Seconds), Some(every))?;
        page.moment("last_sample_timestamp", "When the counters were last read.", status.last_sample.as_deref())?;
        let accepted = status.push.last_accepted_at.as_deref();
        page.moment("last_accepted_push_timestamp", "When the billing provider last accepted a total.", accepted)?;
        jobs(&mut page, &status.jobs)?;
        problems(&mut page, status)?;
        let ratio = Value::parse(&Decimal::new(i64::from(status.coverage.observed_bp), 4).to_string());
        let help = "Share of the billing period so far that was watched.";
        page.gauge("coverage", help, Some(&Unit::Other("ratio".to_owned())), ratio)?;
        let gaps = Value::Whole(i64::from(status.coverage.gaps));
        page.gauge("coverage_gaps", "Stretches of the period so far that were not watched.", None, Some(gaps))?;
        clock(&mut page, &status.clock)?;
        let bytes = Value::of_u64(status.database.bytes);
        page.gauge("database", "Size of usage.db with its write-ahead log.", Some(&Unit::Bytes), Some(bytes))
    }
}

fn meters(page: &mut Page<'_>, meters: &[MeterStatus]) -> fmt::Result {
    type Figure = fn(&MeterStatus) -> Option<Value>;
    let used: Figure = |meter| Value::parse(&meter.used.to_string());
    let included: Figure = |meter| Value::parse(&meter.included.as_ref()?.to_string());
    let overage: Figure = |meter| meter.overage.map(Value::Whole);
    let standing: Figure = |meter| meter.stands.map(Value::Whole);
    for (name, help, figure) in [
        ("meter_used", "Used in the current billing period, in the meter's unit.", used),
        (
            "meter_included",
            "Included in the plan. Absent where it is without limit, or where no plan applies.",
            included,
        ),
        ("meter_overage", "Billed units above what is included. Absent where no plan applies.", overage),
        ("meter_standing", "Billed units that stand at the provider. Absent where that is not known.", standing),
    ] {
        let lines =
            meters.iter().filter_map(|meter| Some(([("meter", &*meter.name), ("unit", &*meter.unit)], figure(meter)?)));
        page.family(name, help, None, lines)?;
    }
    Ok(())
}

fn unsent(page: &mut Page<'_>, status: &Status) -> fmt::Result {
    let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for meter in &status.meters {
        counts.extend(UNSENT_STATES.map(|state| ((&*meter.name, state), 0)));
    }
    for record in &status.unsent {
        let count = counts.entry((&record.meter, &record.state)).or_default();
        *count = count.saturating_add(1);
    }
    let lines = counts.into_iter().map(|((meter, state), n)| ([("meter", meter), ("state", state)], Value::Whole(n)));
    page.family("unsent_records", "Totals that are not at the billing provider yet.", None, lines)?;

    let now = Timestamp::parse(&status.now).map_or(0, Timestamp::secs);
    let since = |record: &UnsentStatus| Some(now.saturating_sub(record.age_s));
    let help = "Since when the oldest total waits that is not at the billing provider yet.";
    page.family("unsent_since_timestamp", help, Some(&Unit::Seconds), earliest(&status.unsent, since))?;
    // One that has passed would hide one that has not. What missed its own is carried into the next period.
    let ahead = |record: &UnsentStatus| seconds(&record.deadline).filter(|deadline| *deadline > now);
    let help = "The next moment after which an unsent total can no longer be billed in its period.";
    page.family("unsent_deadline_timestamp", help, Some(&Unit::Seconds), earliest(&status.unsent, ahead))
}

/// Of each meter.
fn earliest(
    unsent: &[UnsentStatus],
    second: impl Fn(&UnsentStatus) -> Option<i64>,
) -> impl Iterator<Item = ([(&str, &str); 1], Value)> {
    let mut earliest: BTreeMap<&str, i64> = BTreeMap::new();
    for record in unsent {
        if let Some(second) = second(record) {
            let known = earliest.entry(&record.meter).or_insert(second);
            *known = second.min(*known);
        }
    }
    earliest.into_iter().map(|(meter, second)| ([("meter", meter)], Value::Whole(second)))
}

/// The label is not `job`, which is the scraper's own.
fn jobs(page: &mut Page<'_>, jobs: &[JobStatus]) -> fmt::Result {
    type Moment = fn(&JobStatus) -> Option<&String>;
    let last: Moment = |job| job.last_at.as_ref();
    let next: Moment = |job| job.next_at.as_ref();
    for (name, help, moment) in [
        ("job_last_run_timestamp", "When a job last started.", last),
        ("job_next_run_timestamp", "When a job is due next.", next),
    ] {
        let lines =
            jobs.iter().filter_map(|job| Some(([("job_name", &*job.name)], Value::Whole(seconds(moment(job)?)?))));
        page.family(name, help, Some(&Unit::Seconds), lines)?;
    }
    Ok(())
}

/// Several of one code are told apart by `usagectl status`; here they are a number.
fn problems(page: &mut Page<'_>, status: &Status) -> fmt::Result {
    let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for problem in &status.problems {
        let count = counts.entry((&problem.code, problem.severity.word())).or_default();
        *count = count.saturating_add(1);
    }
    let lines =
        counts.into_iter().map(|((code, severity), n)| ([("code", code), ("severity", severity)], Value::Whole(n)));
    let help = "What usagectl status names, by its code: a problem needs someone, a note is good to know.";
    page.family("problems", help, None, lines)
}

fn clock(page: &mut Page<'_>, clock: &ClockStatus) -> fmt::Result {
    // After a day without anybody's word (`waited`) the wall clock is taken as it is; still nobody vouches for it.
    let trusted = ["operator", "provider", "timesync"].contains(&&*clock.trusted_by);
    let help = "Whether somebody vouches for this machine's clock: 1, or 0.";
    page.gauge("clock_trusted", help, None, Some(Value::Whole(i64::from(trusted))))?;
    let help = "How far this machine's clock is ahead of the provider's. Absent where it is right, or not known.";
    page.gauge("clock_ahead", help, Some(&Unit::Seconds), clock.ahead_s.map(Value::Whole))
}

/// What the series are written on, each under its name, without prefix and unit.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// One value; nothing where there is none.
    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: Option<Value>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        self.begin(name, help, unit)?.encode_gauge(&value)
    }

    /// A moment, in seconds since 1970.
    fn moment(&mut self, name: &str, help: &str, at: Option<&str>) -> fmt::Result {
        self.gauge(name, help, Some(&Unit::Seconds), at.and_then(seconds).map(Value::Whole))
    }

    /// Values told apart by labels; nothing where there are none.
    fn family<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        lines: impl IntoIterator<Item = (L, Value)>,
    ) -> fmt::Result {
        let mut lines = lines.into_iter().peekable();
        if lines.peek().is_none() {
            return Ok(());
        }
        let mut encoder = self.begin(name, help, unit)?;
        lines.try_for_each(|(labels, value)| encoder.encode_family(&labels)?.encode_gauge(&value))
    }

    fn begin<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)
    }
}

fn seconds(time: &str) -> Option<i64> {
    Timestamp::parse(time).ok().map(Timestamp::secs)
}

/// What stands behind a name: an integer wherever it is one.
#[derive(Debug, Clone, Copy)]
enum Value {
    Whole(i64),
    Decimal(f64),
}

impl Value {
    fn of_u64(value: u64) -> Self {
        Self::Whole(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// From a decimal, as JSON writes one.
    fn parse(decimal: &str) -> Option<Self> {
        decimal.parse().map(Self::Whole).or_else(|_| decimal.parse().map(Self::Decimal)).ok()
    }
}

impl EncodeGaugeValue for Value {
    fn encode(&self, encoder: &mut GaugeValueEncoder) -> fmt::Result {
        match self {
            Self::Whole(value) => value.encode(encoder),
            Self::Decimal(value) => value.encode(encoder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fake::answers;
    use crate::model::Problem;

    fn value(text: &str, series: &str) -> Option<String> {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let found = lines.next().map(str::to_owned);
        assert_eq!(lines.next(), None, "{series} is there twice: {text}");
        found
    }

    #[test]
    fn the_text_is_as_it_was_approved() {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("metrics", of(answers::troubled()).unwrap()));
    }

    #[test]
    fn every_series_is_a_gauge_with_a_help_line_and_the_text_ends_where_it_says() {
        for status in [answers::healthy(), answers::troubled(), answers::unlinked()] {
            let text = of(status).unwrap();
            for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
                let name = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" gauge")).expect(line);
                assert!(text.contains(&format!("# HELP {name} ")), "{name}");
                let samples = text.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
                assert!(samples.count() > 0, "{name} has a heading and no sample");
            }
            assert!(text.ends_with("\n# EOF\n"), "{text}");
        }
    }

    #[test]
    fn integers_stay_integers_and_decimals_keep_their_places() {
        let text = of(answers::healthy()).unwrap();
        for (series, expected) in [
            (r#"usaged_meter_used{meter="compute_hours",unit="hours"}"#, "321.987654"),
            (r#"usaged_meter_included{meter="api_credits",unit="credits"}"#, "10000"),
            (r#"usaged_meter_standing{meter="api_credits",unit="credits"}"#, "1990"),
            ("usaged_coverage_ratio", "0.9998"),
            ("usaged_last_sample_timestamp_seconds", "1794650400"),
            ("usaged_database_bytes", "1474560"),
        ] {
            assert_eq!(value(&text, series).as_deref(), Some(expected), "{series}");
        }
    }

    #[test]
    fn what_is_not_known_is_absent_and_never_a_zero() {
        let text = of(answers::unlinked()).unwrap();
        for name in ["meter_included", "meter_overage", "meter_standing", "last_sample", "last_accepted_push"] {
            assert!(!text.contains(name), "{name}: {text}");
        }
        assert!(text.contains("usaged_meter_used{"), "{text}");
        assert!(!text.contains("deadline"), "nothing is unsent: {text}");
    }

    #[test]
    fn of_several_unsent_records_the_first_deadline_ahead_and_the_oldest_age_show() {
        let mut status = answers::troubled();
        let record = status.unsent.remove(0);
        for (deadline, age_s, state) in [
            ("2026-12-31T23:58:00Z", 10, "waiting"),
            ("2026-11-30T23:58:00Z", 7_260, "retrying"),
            ("2026-11-14T09:58:00Z", 60, "retrying"),
        ] {
            let (deadline, state) = (deadline.to_owned(), state.to_owned());
            status.unsent.push(UnsentStatus { age_s, deadline, state, ..record.clone() });
        }
        let text = of(status).unwrap();
        let of = |name: &str| value(&text, &format!("usaged_unsent_{name}"));
        assert_eq!(of(r#"deadline_timestamp_seconds{meter="api_credits"}"#).unwrap(), "1796083080");
        assert_eq!(of(r#"since_timestamp_seconds{meter="api_credits"}"#).unwrap(), "1794643152");
        for (state, count) in [("waiting", "1"), ("retrying", "2"), ("held", "0")] {
            let series = format!(r#"records{{meter="api_credits",state="{state}"}}"#);
            assert_eq!(of(&series).as_deref(), Some(count), "{state}");
        }
    }

    #[test]
    fn two_problems_of_one_code_are_one_series() {
        let mut status = answers::healthy();
        let held = |item: &str| Problem::needs_someone("held_missing", format!("{item} is held"), "");
        status.problems = vec![held("si_1"), held("si_2"), Problem::note("drift", "", "")];
        let text = of(status).unwrap();
        assert_eq!(value(&text, r#"usaged_problems{code="held_missing",severity="problem"}"#).as_deref(), Some("2"));
        assert_eq!(value(&text, r#"usaged_problems{code="drift",severity="note"}"#).as_deref(), Some("1"));
    }

    #[test]
    fn every_series_that_an_alert_asks_for_is_there() {
        let text = of(answers::troubled()).unwrap();
        let rules = include_str!("../../packaging/prometheus/usaged.rules.yml");
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let asked: Vec<&str> = rules.split(|c| !is_name(c)).filter(|word| word.starts_with("usaged_")).collect();
        assert!(asked.len() > 9, "{asked:?}");
        for name in asked {
            assert!(text.contains(&format!("\n# TYPE {name} gauge\n")), "{name}");
        }
    }

    #[test]
    fn every_series_is_described_where_users_look() {
        let text = of(answers::troubled()).unwrap();
        let described = include_str!("../../docs/api.md");
        for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" gauge")) {
            assert!(described.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn a_clock_is_trusted_only_on_somebodys_word() {
        for (by, trusted) in
            [("provider", "1"), ("operator", "1"), ("waited", "0"), ("nobody yet", "0"), ("nobody", "0")]
        {
            let mut status = answers::healthy();
            status.clock = ClockStatus { trusted_by: by.to_owned(), ahead_s: None, set_by_timesync: None };
            let text = of(status).unwrap();
            assert_eq!(value(&text, "usaged_clock_trusted").as_deref(), Some(trusted), "{by}");
            assert_eq!(value(&text, "usaged_clock_ahead_seconds"), None);
        }
    }
}
