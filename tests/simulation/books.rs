//! What has to hold after every step, and once everything has come to rest.

use usaged::jobs::{JobError, Pushed, Which};
use usaged::model::Timestamp;
use usaged::store::StoreError;

use crate::truth::{BOTH, Meter, PERIODS, Range};
use crate::vm::{HOUR, MINUTE};
use crate::world::World;

/// So long after the last trouble a request may still arrive late, or wait for its turn.
const UNSETTLED: i64 = 26 * HOUR;

/// What the ledger says of one meter in one period, in billed units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    meter: String,
    period_from_s: i64,
    state: String,
    overage: i64,
    carried_in: i64,
    adopted: i64,
    target: i64,
    standing: i64,
    /// Billed at an earlier price, and not part of what stands.
    closed_segments: i64,
    /// Billed at an earlier price, and part of it.
    floor: i64,
    held_units: i64,
    held_code: Option<String>,
    carried_out: i64,
    credit_due: i64,
}

const ROWS: &str =
    "SELECT meter, period_from_s, state, overage, carried_in, adopted, target, ifnull(standing, 0), closed_segments,
        floor, held_units, held_code, (SELECT ifnull(sum(units), 0) FROM carry WHERE from_record = usage_record.id),
        (SELECT ifnull(sum(units), 0) FROM credit_due WHERE record = usage_record.id)
    FROM usage_record ORDER BY period_from_s, meter";

/// What may be listed once everything has come to rest: it is for people, and stays until they have looked.
const EXPLAINED: [&str; 2] = ["credit_due", "units_adopted"];

/// Likewise, where a disk was put back: what it has forgotten is not known to have been billed (rule S5).
const FORGOTTEN: [&str; 3] = ["units_held", "accepted_not_counted", "drift"];

/// Likewise, where the provider takes no 0 (rule S9).
const REFUSED: [&str; 2] = ["push_refused", "push_failing"];

/// What many refusals in a day come to besides.
const UNRELIABLE: &str = "sync_unreliable";

/// Likewise at Lemon Squeezy, where a request of an ended period was never answered (rule S9).
const UNKNOWN: &str = "units_held";

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Books {
    trouble_at: i64,
    /// The most that may stand in each period: what is true, or was before falls that may still be on their way (rule R7).
    most: [[i64; PERIODS]; 2],
    /// Credits due that the ledger has named, and units whose fall to 0 is refused.
    due: [i64; 2],
}

impl Books {
    /// Something went wrong, or fell, at this moment.
    pub(crate) const fn trouble(&mut self, now: i64) {
        self.trouble_at = now;
    }

    const fn is_calm(&self, now: i64) -> bool {
        now - self.trouble_at > UNSETTLED
    }

    /// Rule R7: never more than true.
    pub(crate) async fn never_above(world: &mut World) {
        let now = world.now();
        if world.agent_runs() {
            let rows = rows(world).await;
            for meter in BOTH {
                let due = |row: &Row| row.credit_due + Self::refused(world, row) + Self::will_be_due(row);
                let due = of(&rows, meter).map(due).sum();
                world.books.due[meter.index()] = due;
            }
            if Self::knows_swap(&rows) {
                world.swap_is_known();
            }
        }
        let has_stragglers = world.vm.lemon.is_some() && world.month.lag_s > 0;
        for meter in BOTH {
            let books = &mut world.books;
            let is_settled = books.is_calm(now);
            for (period, most) in books.most[meter.index()].iter_mut().enumerate() {
                let is_true = world.truth.overage(meter, period, now).most;
                *most = if is_settled { is_true } else { is_true.max(*most) };
            }
            // Rule S9: a late total of the ended period is overwritten by the next push.
            let [ended, current] = &mut books.most[meter.index()];
            if has_stragglers && !is_settled {
                *current = (*current).max(*ended);
            }
            let (most, due): (i64, i64) = (books.most[meter.index()].iter().sum(), books.due[meter.index()]);
            let due = due + world.at_unnoticed_price(meter);
            let stands = world.in_all(meter);
            assert!(
                stands - due <= most,
                "{meter:?}, {}: {stands} stand, {due} are due back, and {most} are true",
                world.vm.now()
            );
        }
    }

    /// What should stand does, or waits in plain sight.
    pub(crate) async fn after_push(world: &mut World, which: Which, pushed: &Pushed) {
        Self::never_above(world).await;
        // A total of 0 that is refused is tried again and again, while what it is tried beside waits for its turn.
        if which == Which::Due && !world.month.takes_zero {
            return;
        }
        let rows = rows(world).await;
        for meter in BOTH {
            Self::stands_or_is_listed(world, &rows, meter, pushed).await;
        }
    }

    pub(crate) async fn after_failure(world: &mut World, _error: &JobError) {
        Self::never_above(world).await;
    }

    async fn stands_or_is_listed(world: &World, rows: &[Row], meter: Meter, pushed: &Pushed) {
        let now = world.now();
        let period = world.truth.period_at(now);
        let (from, to) = world.truth.period(period);
        let expected = world.truth.overage(meter, period, now);
        let Some(row) = of(rows, meter).find(|row| row.period_from_s * 1_000_000 == from) else {
            // The new period is read some time after it began.
            let is_new = now - from < 30 * MINUTE || !world.books.is_calm(now);
            assert!(is_new || expected.least == 0, "{meter:?}, {}: no row of this period", world.vm.now());
            return;
        };
        let stands = world.stands(meter, period);
        if Self::refused(world, row) > 0 {
            return;
        }
        let of_others = row.carried_in + Self::of_others(world, row);
        let fixed = row.closed_segments + row.floor;
        let wanted =
            Range { least: (expected.least + row.carried_in).max(fixed), most: (expected.most + of_others).max(fixed) };
        if wanted.holds(stands) {
            return;
        }
        let said = format!("{meter:?}, {}: {stands} stand, expected {wanted:?}: {row:?}, {pushed:?}", world.vm.now());
        // Near both ends of a period nothing may be sent (rules S3, S6, S7, S9), and what is carried waits for the next push.
        let is_inside = now - from > world.month.push_every + HOUR && to - now > 15 * MINUTE;
        let status = world.vm.status().await;
        // Rule S5: an answered event that a put-back disk has forgotten the end of is not sent again.
        let is_listed = status.problems.iter().any(|one| one.code == "accepted_not_counted");
        if is_listed && world.truth.has_forgotten() {
            return;
        }
        assert!(!world.books.is_calm(now) || !is_inside, "calm, and yet {said}");
        let unsent = status.unsent.iter().find(|unsent| unsent.item == world.item(meter));
        match unsent {
            Some(unsent) => assert!(Timestamp::parse(&unsent.deadline).is_ok(), "no deadline: {unsent:?}, {said}"),
            // A fall that is on its way, or something late that the next read will find.
            None if stands > wanted.most || stands != row.standing => {}
            // What is not rated yet, because nobody knows when it was (rule M5).
            None => assert!(status.problems.iter().any(|one| one.code == "clock_untrusted"), "not listed: {said}"),
        }
    }

    /// Why a meter's row is held.
    pub(crate) async fn held(world: &World, meter: Meter) -> Option<String> {
        let rows = rows(world).await;
        of(&rows, meter).find_map(|row| row.held_code.clone())
    }

    /// Everything was left in peace for long: the books of every period come out.
    pub(crate) async fn at_rest(world: &World) {
        let rows = rows(world).await;
        for meter in BOTH {
            for period in 0..PERIODS {
                Self::balances(world, &rows, meter, period);
            }
            let is_true = world.truth.most(meter, world.now());
            let due: i64 = of(&rows, meter).map(|row| row.credit_due + Self::refused(world, row)).sum();
            assert!(world.in_all(meter) - due <= is_true, "{meter:?}: more than {is_true}: {rows:?}");
        }
        let in_flight = "SELECT count(*) FROM delivery WHERE state IN ('sending', 'unknown')";
        assert_eq!(world.vm.ask(in_flight).await, 0, "all is answered");
        let status = world.vm.status().await;
        let refused: i64 = rows.iter().map(|row| Self::refused(world, row)).sum();
        let unsent: i64 = status.unsent.iter().map(|unsent| unsent.stands.unwrap_or(0) - unsent.target).sum();
        assert_eq!(unsent, refused, "unsent: {:?}", status.unsent);
        assert!(refused > 0 || status.unsent.is_empty(), "unsent: {:?}", status.unsent);
        let has_forgotten = world.truth.has_forgotten();
        let is_refused = refused > 0;
        let is_explained = |code: &str| {
            EXPLAINED.contains(&code)
                || (has_forgotten && FORGOTTEN.contains(&code))
                || (is_refused && (REFUSED.contains(&code) || code == UNRELIABLE))
                || ((world.vm.lemon.is_some() || world.is_unsettled()) && code == UNKNOWN)
        };
        assert!(
            !is_refused || status.problems.iter().any(|problem| REFUSED.contains(&&*problem.code)),
            "nobody is told"
        );
        let left: Vec<_> = status.problems.iter().filter(|problem| !is_explained(&problem.code)).collect();
        assert!(left.is_empty(), "left over: {left:?}");
        world.vm.assert_books().await;
    }

    /// Rule S5: what a put-back disk had carried here, and has forgotten, is taken over here and not this period's own.
    fn of_others(world: &World, row: &Row) -> i64 {
        if world.truth.has_forgotten() { row.adopted } else { 0 }
    }

    /// Rule S9: what stands too high where the provider takes no 0, until usage replaces it.
    fn refused(world: &World, row: &Row) -> i64 {
        if world.month.takes_zero || row.state == "closed" { 0 } else { (row.standing - row.target).max(0) }
    }

    /// Rule R5: whether the ledger knows of the swap.
    fn knows_swap(rows: &[Row]) -> bool {
        of(rows, Meter::Credits).any(|row| row.closed_segments + row.floor > 0)
    }

    /// Rules R4 and R5: what was billed at an earlier price and is more than the plan now leaves is due once the period ends.
    fn will_be_due(row: &Row) -> i64 {
        if row.state == "closed" { 0 } else { (row.closed_segments + row.floor - row.overage - row.carried_in).max(0) }
    }

    /// Rule R7, by what the provider has and what is true.
    fn balances(world: &World, rows: &[Row], meter: Meter, period: usize) {
        let now = world.now();
        let (from, to) = world.truth.period(period);
        let stands = world.stands(meter, period);
        let is_true = world.truth.overage(meter, period, now);
        let row = of(rows, meter).find(|row| row.period_from_s * 1_000_000 == from);
        let row = row.unwrap_or_else(|| panic!("{meter:?}: no row of period {period}: {rows:?}"));
        let said = format!("{meter:?}, period {period}: {stands} stand, {is_true:?} are true: {row:?}");
        assert_eq!(stands, row.standing + row.closed_segments, "{said}");
        // Rule S5: what a put-back disk has forgotten may still be held when the period closes.
        let may_be_held = (world.truth.has_forgotten() || world.is_unsettled()) && row.state == "closed";
        assert!(row.held_code.is_none() || may_be_held, "{said}");
        assert_eq!(row.state, if now > to { "closed" } else { "open" }, "{said}");
        let above = row.credit_due + Self::refused(world, row);
        let own = stands + row.carried_out + row.held_units - row.carried_in - above;
        let is_true_here = own >= is_true.least && own - Self::of_others(world, row) <= is_true.most;
        assert!(is_true_here, "{own} are accounted for: {said}");
        if world.truth.is_whole() && is_true.is_exact() {
            assert_eq!((row.overage, row.adopted), (is_true.least, 0), "{said}");
            assert!(row.held_units == 0 || world.vm.lemon.is_some() || world.is_unsettled(), "{said}");
        }
    }
}

fn of(rows: &[Row], meter: Meter) -> impl Iterator<Item = &Row> {
    rows.iter().filter(move |row| row.meter == meter.name())
}

async fn rows(world: &World) -> Vec<Row> {
    let read = |c: &rusqlite::Connection| {
        let mut rows = c.prepare_cached(ROWS)?;
        let rows = rows.query_map([], |row| {
            Ok(Row {
                meter: row.get(0)?,
                period_from_s: row.get(1)?,
                state: row.get(2)?,
                overage: row.get(3)?,
                carried_in: row.get(4)?,
                adopted: row.get(5)?,
                target: row.get(6)?,
                standing: row.get(7)?,
                closed_segments: row.get(8)?,
                floor: row.get(9)?,
                held_units: row.get(10)?,
                held_code: row.get(11)?,
                carried_out: row.get(12)?,
                credit_due: row.get(13)?,
            })
        })?;
        Ok::<_, StoreError>(rows.collect::<Result<Vec<Row>, _>>()?)
    };
    world.vm.context().store.read(read).await.unwrap()
}
