//! Usage piece by piece: hours, days or months of UTC, as one screen or one answer holds them.

use rusqlite::Connection;

use super::JobError;
use super::usage::utc_month;
use crate::ledger::{self, MeterId};
use crate::model::{MICROS_PER_DAY, MICROS_PER_HOUR, Meter, Span, Timestamp};
use crate::rating;
use crate::wire::{By, SliceUsage, UsageRequest, UsageSlice};

/// Numbers in one answer: of one meter four and a half years by hours, or a century by days.
const NUMBERS_MAX: usize = 40_000;

/// The last day is shown by hours, where nobody says which.
const HOURS: i64 = 24;
/// The last year is shown by months, where nobody says which.
const MONTHS: usize = 12;

/// The stretch of time that was asked for, where it is not a period.
pub(super) fn range(
    connection: &Connection,
    meters: &[MeterId],
    request: &UsageRequest,
    now: Timestamp,
) -> Result<Option<Span>, JobError> {
    let span = match (request.from, request.to, request.by) {
        _ if request.month.is_some() => return Ok(None),
        (None, None, None | Some(By::Day)) => return Ok(None),
        (None, None, Some(By::Hour)) => {
            let to = next(now, By::Hour);
            Span::new(to.minus(HOURS * MICROS_PER_HOUR), to)
        }
        (None, None, Some(By::Month)) => {
            let last = utc_month(now);
            let mut firsts = std::iter::successors(Some(last.from), |from| Some(utc_month(from.minus(1)).from));
            Span::new(firsts.nth(MONTHS - 1).unwrap_or(last.from), last.to)
        }
        (from, to, _) => {
            let to = to.unwrap_or(now);
            let from = match from {
                Some(from) => from,
                None => begins(connection, meters)?,
            };
            Span::new(from, to)
        }
    };
    if span.micros() == 0 {
        let what = match request.from {
            Some(from) => format!("{from} is not before {}", span.to),
            None => format!("nothing is known before {}", span.to),
        };
        return Err(JobError::refused("bad_range", what, "from must lie before to; without to it is until now"));
    }
    Ok(Some(span))
}

/// When the first is known of these meters.
fn begins(connection: &Connection, meters: &[MeterId]) -> Result<Timestamp, JobError> {
    let mut first = ledger::coverage::first(connection)?;
    for meter in meters {
        let bucket = ledger::buckets::first(connection, *meter)?;
        first = [first, bucket].into_iter().flatten().min();
    }
    Ok(first.unwrap_or(Timestamp::from_micros(i64::MAX)))
}

/// The pieces of a stretch, from the first that anything is known of to the one that goes on now.
pub(super) fn slices(
    connection: &Connection,
    meters: &[&Meter],
    ids: &[MeterId],
    span: Span,
    by: By,
    now: Timestamp,
) -> Result<Vec<UsageSlice>, JobError> {
    let known_from = begins(connection, ids)?;
    let from = span.from.max(holding(known_from.min(now), by));
    let cuts = cuts(Span::new(from, span.to.min(next(now, by))), by, ids.len())?;
    let observed = ledger::coverage::observed_between(connection, &cuts)?;
    let mut slices: Vec<_> = cuts
        .iter()
        .zip(cuts.iter().skip(1))
        .zip(observed)
        .map(|((from, to), observed_us)| UsageSlice {
            from: from.to_string(),
            to: to.to_string(),
            observed_bp: share(observed_us, Span::new(*from, (*to).min(now))),
            meters: Vec::with_capacity(meters.len()),
        })
        .collect();
    for (meter, id) in meters.iter().zip(ids) {
        let used = ledger::buckets::used_between(connection, *id, &cuts)?;
        let spans = cuts.iter().zip(cuts.iter().skip(1)).map(|(from, to)| Span::new(*from, *to));
        for ((slice, used), span) in slices.iter_mut().zip(used).zip(spans) {
            let goes_on = span.contains(now).then(|| rating::estimate(used, span, known_from, now)).flatten();
            slice.meters.push(SliceUsage {
                name: meter.name.to_string(),
                used: meter.unit.number(used),
                used_micros: used.get(),
                estimate: goes_on.map(|estimate| meter.unit.number(estimate)),
            });
        }
    }
    Ok(slices)
}

/// Parts in ten thousand.
fn share(observed_us: i64, span: Span) -> u32 {
    let share = (i128::from(observed_us) * 10_000).checked_div(i128::from(span.micros())).unwrap_or(0);
    u32::try_from(share).unwrap_or(0).min(10_000)
}

/// Where the pieces of a stretch begin, and where the last ends.
fn cuts(span: Span, by: By, meters: usize) -> Result<Vec<Timestamp>, JobError> {
    if span.micros() == 0 {
        return Ok(Vec::new());
    }
    let most = NUMBERS_MAX.checked_div(meters).unwrap_or(NUMBERS_MAX);
    let starts = std::iter::successors(Some(span.from), |from| Some(next(*from, by)).filter(|next| next > from));
    let mut cuts: Vec<_> = starts.take_while(|from| *from < span.to).take(most.saturating_add(1)).collect();
    if cuts.len() > most {
        let what = format!("from {} to {} there are more than {most} {}s", span.from, span.to, by.word());
        let coarser = if by == By::Month { "" } else { ", or in larger pieces: by day or month" };
        return Err(JobError::refused("bad_range", what, format!("ask for one meter, or for less time{coarser}")));
    }
    cuts.push(span.to);
    Ok(cuts)
}

/// Start of the piece that holds a moment.
fn holding(at: Timestamp, by: By) -> Timestamp {
    match by {
        By::Hour => at.rounded_down(MICROS_PER_HOUR),
        By::Day => at.rounded_down(MICROS_PER_DAY),
        By::Month => utc_month(at).from,
    }
}

/// Start of the piece after the one that holds a moment.
fn next(at: Timestamp, by: By) -> Timestamp {
    match by {
        By::Hour => holding(at, by).plus(MICROS_PER_HOUR),
        By::Day => holding(at, by).plus(MICROS_PER_DAY),
        By::Month => utc_month(at).to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn shown(from: &str, to: &str, by: By) -> Vec<String> {
        let cuts = cuts(Span::new(at(from), at(to)), by, 1).unwrap();
        cuts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pieces_lie_on_the_calendar_and_only_the_ends_are_cut() {
        assert_eq!(
            shown("2026-11-05T10:30:00Z", "2026-11-07T12:00:00Z", By::Day),
            ["2026-11-05T10:30:00Z", "2026-11-06T00:00:00Z", "2026-11-07T00:00:00Z", "2026-11-07T12:00:00Z"]
        );
        assert_eq!(
            shown("2027-12-31T00:00:00Z", "2028-03-01T00:00:00Z", By::Month),
            ["2027-12-31T00:00:00Z", "2028-01-01T00:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"]
        );
        assert_eq!(shown("2026-11-05T10:00:00Z", "2026-11-05T11:00:00Z", By::Hour).len(), 2);
    }

    #[test]
    fn an_answer_without_end_is_refused_and_ten_years_of_days_are_not() {
        let decade = Span::new(at("2016-11-05T00:00:00Z"), at("2026-11-05T00:00:00Z"));
        assert_eq!(cuts(decade, By::Day, 10).unwrap().len(), 3_653);
        let refused = cuts(decade, By::Hour, 1).unwrap_err().to_string();
        assert!(refused.contains("more than 40000 hours"), "{refused}");
        let ends = Span::new(Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
        assert!(cuts(ends, By::Month, 1).is_ok_and(|cuts| cuts.len() == 2), "no month lies there");
    }
}
