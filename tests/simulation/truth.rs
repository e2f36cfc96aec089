//! What is right, written from the billing rules alone: facts go in, and the least and the most that a period can come to
//! come out. It knows nothing of how the product does it.
//!
//! Times and running time are microseconds, credits whole units.

use crate::calendar::Included;
use crate::vm::HOUR;

/// The month, and what follows it.
pub(crate) const PERIODS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meter {
    Compute,
    Credits,
}

pub(crate) const BOTH: [Meter; 2] = [Meter::Compute, Meter::Credits];

impl Meter {
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Compute => 0,
            Self::Credits => 1,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute_hours",
            Self::Credits => "api_credits",
        }
    }

    const fn unit(self) -> i64 {
        match self {
            Self::Compute => HOUR,
            Self::Credits => 1,
        }
    }
}

/// How certain it is that the ledger has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    Surely,
    /// A process was killed in between.
    Perhaps,
    /// It was used all the same.
    Not,
}

/// Time in which the machine ran.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: i64,
    to: i64,
    has: Has,
}

impl Stretch {
    fn within(&self, from: i64, to: i64) -> i64 {
        (self.to.min(to) - self.from.max(from)).max(0)
    }
}

/// What an application recorded.
#[derive(Debug, Clone)]
struct Order {
    id: u32,
    credits: i64,
    /// When it was used.
    at: i64,
    has: Has,
    taken_back: TakenBack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TakenBack {
    No,
    /// It was asked for.
    Perhaps,
    Yes,
}

/// The least and the most of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) least: i64,
    pub(crate) most: i64,
}

impl Range {
    pub(crate) const fn holds(self, amount: i64) -> bool {
        self.least <= amount && amount <= self.most
    }

    pub(crate) const fn is_exact(self) -> bool {
        self.least == self.most
    }
}

/// What a counter counts while the machine runs: its time, once for each of so many CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// At the beginning.
    pub(crate) cpus: i64,
    pub(crate) in_so_many: i64,
}

impl Rate {
    pub(crate) const fn of(self, ran: i64) -> i64 {
        ran.div_euclid(self.in_so_many)
    }
}

/// CPUs came or went.
#[derive(Debug, Clone, Copy)]
struct Change {
    at: i64,
    /// As many the ledger has seen last.
    from: i64,
    to: i64,
}

/// What a copy of the disk knows.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    at: i64,
    sampled: i64,
    /// Orders: whether they were surely there, and taken back.
    had: Vec<(u32, bool, TakenBack)>,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    from: i64,
    included: Included,
    is_sure: bool,
}

pub(crate) struct Truth {
    /// Where periods begin, and where the last one ends.
    bounds: Vec<i64>,
    plans: Vec<Plan>,
    /// What the compute meter counts in so much running time.
    rate: Rate,
    changes: Vec<Change>,
    ran: Vec<Stretch>,
    orders: Vec<Order>,
    /// Until when the ledger surely, and perhaps, has what this boot ran; it was up since.
    up_since: Option<i64>,
    sampled: i64,
    perhaps_sampled: i64,
    samples: Vec<i64>,
    suspended: Vec<(i64, i64)>,
    has_forgotten: bool,
}

impl Truth {
    /// Rule R1: billing starts with the link, and with a first reading (M2).
    pub(crate) fn begins(bounds: Vec<i64>, now: i64, included: Included, rate: Rate) -> Self {
        Self {
            bounds,
            plans: vec![Plan { from: now, included, is_sure: true }],
            rate,
            changes: vec![Change { at: 0, from: rate.cpus, to: rate.cpus }],
            ran: Vec::new(),
            orders: Vec::new(),
            up_since: Some(now),
            sampled: now,
            perhaps_sampled: now,
            samples: vec![now],
            suspended: Vec::new(),
            has_forgotten: false,
        }
    }

    // What happens.

    /// The operator links anew, and hears that it was done, or not.
    pub(crate) fn plan_changed(&mut self, from: i64, included: Included, is_sure: bool) {
        self.plans.push(Plan { from, included, is_sure });
    }

    /// Whether the plan is another one than it was then, or may be.
    pub(crate) fn plan_differs_since(&self, known: &Known) -> bool {
        self.plans.iter().any(|plan| plan.from > known.at)
    }

    /// Rule M2: counts all of this boot until now.
    pub(crate) fn sampled(&mut self, now: i64) {
        self.sampled = now;
        self.perhaps_sampled = now;
        self.samples.push(now);
    }

    pub(crate) fn perhaps_sampled(&mut self, now: i64) {
        self.perhaps_sampled = now;
    }

    /// The machine goes down, or is suspended and wakes again. What was not sampled is lost (M3).
    pub(crate) fn goes_down(&mut self, now: i64) {
        let Some(up_since) = self.up_since.take() else { return };
        let (sampled, perhaps) = (self.sampled.max(up_since), self.perhaps_sampled.max(self.sampled).max(up_since));
        for (from, to, has) in
            [(up_since, sampled, Has::Surely), (sampled, perhaps, Has::Perhaps), (perhaps, now, Has::Not)]
        {
            if from < to {
                self.ran.push(Stretch { from, to, has });
            }
        }
    }

    pub(crate) fn comes_up(&mut self, now: i64) {
        self.up_since = Some(now);
    }

    /// Rule M3: not billed. The counters stand still meanwhile.
    pub(crate) fn suspended(&mut self, from: i64, to: i64) {
        self.suspended.push((from, to));
    }

    pub(crate) fn cpus_changed(&mut self, at: i64, to: i64) {
        self.changes.push(Change { at, from: self.cpus_at(at), to });
    }

    /// Whether a reading was surely stored since they changed.
    pub(crate) fn has_seen_cpus(&self) -> bool {
        self.changes.last().is_none_or(|change| self.samples.iter().any(|at| *at > change.at))
    }

    fn cpus_at(&self, now: i64) -> i64 {
        self.changes.iter().rev().find(|change| change.at <= now).map_or(self.rate.cpus, |change| change.to)
    }

    /// An application told it; whether it arrived is not known yet.
    pub(crate) fn told(&mut self, id: u32, at: i64, credits: i64) {
        if !self.orders.iter().any(|order| order.id == id) {
            self.orders.push(Order { id, credits, at, has: Has::Perhaps, taken_back: TakenBack::No });
        }
    }

    pub(crate) fn acknowledged(&mut self, id: u32) {
        self.set(id, Has::Surely);
    }

    /// Rule M8: it was refused, and does not count.
    pub(crate) fn refused(&mut self, id: u32) {
        self.orders.retain(|order| order.id != id);
    }

    pub(crate) fn is_acknowledged(&self, id: u32) -> bool {
        self.orders.iter().any(|order| order.id == id && order.has == Has::Surely && order.taken_back != TakenBack::Yes)
    }

    /// Somebody asks for it to be taken back.
    pub(crate) fn perhaps_taken_back(&mut self, id: u32) {
        self.take_back(id, TakenBack::Perhaps);
    }

    /// Rule M9.
    pub(crate) fn taken_back(&mut self, id: u32) {
        self.take_back(id, TakenBack::Yes);
    }

    fn take_back(&mut self, id: u32, taken_back: TakenBack) {
        for order in self.orders.iter_mut().filter(|order| order.id == id) {
            order.taken_back = taken_back;
        }
    }

    fn set(&mut self, id: u32, has: Has) {
        for order in self.orders.iter_mut().filter(|order| order.id == id) {
            order.has = has;
        }
    }

    // What it comes to.

    pub(crate) fn period_at(&self, now: i64) -> usize {
        self.bounds.iter().filter(|bound| **bound <= now).count().saturating_sub(1)
    }

    pub(crate) fn period(&self, period: usize) -> (i64, i64) {
        (self.bounds[period], self.bounds[period + 1])
    }

    /// Rules R3 and R4: the overage of what was used until now, rounded down.
    pub(crate) fn overage(&self, meter: Meter, period: usize, now: i64) -> Range {
        let (_, to) = self.period(period);
        let used = match meter {
            Meter::Compute => self.ran_in(period, now),
            Meter::Credits => self.recorded_in(period),
        };
        let included = self.included(to).map(|included| included[meter.index()] * meter.unit());
        let over = |used: i64, included: i64| (used - included).max(0).div_euclid(meter.unit());
        let (fewest, most) = (included.clone().min().unwrap_or(0), included.max().unwrap_or(0));
        Range { least: over(used.least, most), most: over(used.most, fewest) }
    }

    /// The plan at the end decides (`latest`): the last one that surely was, and those after it that may have been.
    fn included(&self, end: i64) -> impl Iterator<Item = Included> + Clone {
        let until: Vec<&Plan> = self.plans.iter().filter(|plan| plan.from < end).collect();
        let from = until.iter().rposition(|plan| plan.is_sure).unwrap_or(0);
        until.into_iter().skip(from).map(|plan| plan.included).collect::<Vec<_>>().into_iter()
    }

    /// The most that may stand over all periods (rule R7): the overage of everything that was used.
    pub(crate) fn most(&self, meter: Meter, now: i64) -> i64 {
        (0..PERIODS).map(|period| self.overage(meter, period, now).most).sum()
    }

    fn ran_in(&self, period: usize, now: i64) -> Range {
        let (from, to) = self.period(period);
        let mut stretches = self.ran.clone();
        if let Some(up_since) = self.up_since {
            let sampled = self.sampled.max(up_since);
            stretches.push(Stretch { from: up_since, to: sampled, has: Has::Surely });
            stretches.push(Stretch { from: sampled, to: now, has: Has::Perhaps });
        }
        let sum = |counts: &dyn Fn(Has) -> bool| -> i64 {
            let counted = stretches.iter().filter(|stretch| counts(stretch.has));
            counted.map(|stretch| self.awake(stretch.from.max(from), stretch.to.min(to))).sum()
        };
        let slack = (self.slack(from) + self.slack(to)) * self.most_cpus();
        Range {
            least: self.rate.of(sum(&|has| has == Has::Surely) - slack - self.unseen_cpus(from, to)),
            most: self.rate.of(sum(&|_| true) + slack),
        }
    }

    /// What the CPUs there were ran in this time, together.
    fn awake(&self, from: i64, to: i64) -> i64 {
        let all = Stretch { from, to, has: Has::Surely };
        let ends = self.changes.iter().skip(1).map(|change| change.at).chain([i64::MAX]);
        let counts = self.changes.iter().zip(ends).map(|(change, end)| {
            let ran = all.within(change.at, end);
            let slept = |(since, until): &(i64, i64)| all.within(change.at.max(*since), end.min(*until));
            change.to * (ran - self.suspended.iter().map(slept).sum::<i64>())
        });
        counts.sum()
    }

    fn most_cpus(&self) -> i64 {
        self.changes.iter().map(|change| change.to).max().unwrap_or(1)
    }

    /// Rule M6: an interval is billed at the smaller of its two counts.
    fn unseen_cpus(&self, from: i64, to: i64) -> i64 {
        let unseen = self.changes.iter().map(|change| {
            let before = self.samples.iter().copied().filter(|at| *at <= change.at).max().unwrap_or(change.at);
            let after = self.samples.iter().copied().filter(|at| *at > change.at).min().unwrap_or(to);
            (change.to - change.from).abs() * (after.min(to) - before.max(from)).max(0)
        });
        unseen.sum()
    }

    /// Rules M4 and M7: what was used between two samples is split in proportion, so a suspension in between moves where
    /// the boundary of a period falls, by its own length at most.
    fn slack(&self, bound: i64) -> i64 {
        let before = self.samples.iter().copied().filter(|at| *at <= bound).max().unwrap_or(bound);
        let after = self.samples.iter().copied().filter(|at| *at >= bound).min().unwrap_or(i64::MAX);
        let asleep = self.suspended.iter().map(|(since, until)| Stretch { from: *since, to: *until, has: Has::Not });
        asleep.map(|sleep| sleep.within(before, after)).sum()
    }

    fn recorded_in(&self, period: usize) -> Range {
        let (from, to) = self.period(period);
        let counts = |order: &&Order| (from..to).contains(&order.at) && order.taken_back != TakenBack::Yes;
        let inside = || self.orders.iter().filter(counts);
        let sure = inside().filter(|order| order.has == Has::Surely && order.taken_back == TakenBack::No);
        Range { least: sure.map(|order| order.credits).sum(), most: inside().map(|order| order.credits).sum() }
    }

    /// Whether a disk was put back.
    pub(crate) const fn has_forgotten(&self) -> bool {
        self.has_forgotten
    }

    /// Whether the ledger surely has all that was used until the last sample.
    pub(crate) fn is_whole(&self) -> bool {
        let has_all = self.ran.iter().all(|stretch| stretch.has == Has::Surely)
            && self.orders.iter().all(|order| order.has == Has::Surely && order.taken_back != TakenBack::Perhaps);
        has_all && self.sampled == self.perhaps_sampled
    }

    // A disk that is put back.

    pub(crate) fn known(&self, now: i64) -> Known {
        let has = |order: &Order| order.has == Has::Surely;
        let had = self.orders.iter().map(|order| (order.id, has(order), order.taken_back)).collect();
        Known { at: now, sampled: self.sampled, had }
    }

    /// Rule S5: the ledger goes back to before all this was noted. The machine is down.
    pub(crate) fn forgets(&mut self, known: &Known, now: i64) {
        self.has_forgotten = true;
        self.changes.push(Change { at: now, from: self.cpus_at(known.at), to: self.cpus_at(now) });
        let mut kept = Vec::new();
        for stretch in self.ran.drain(..) {
            let (before, after) = (stretch.to.min(known.sampled), stretch.from.max(known.sampled));
            if stretch.from < before {
                kept.push(Stretch { to: before, ..stretch });
            }
            if after < stretch.to {
                kept.push(Stretch { from: after, to: stretch.to, has: Has::Not });
            }
        }
        self.ran = kept;
        for order in &mut self.orders {
            let had = known.had.iter().find(|(id, ..)| *id == order.id);
            order.has = match had {
                Some((_, true, _)) => Has::Surely,
                // One that was on its way when the copy was made may be on it.
                Some((_, false, _)) => Has::Perhaps,
                None => Has::Not,
            };
            // That it was taken back is forgotten, too, and is for whoever put the disk back to do again.
            order.taken_back = had.map_or(order.taken_back, |(_, _, taken_back)| *taken_back);
        }
        self.samples.retain(|at| *at <= known.at);
    }
}
