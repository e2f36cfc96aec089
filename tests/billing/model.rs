//! What a year comes to, written from the billing rules alone: facts go in, and what must stand, be carried, be adopted
//! and be due comes out. It knows nothing of how the product does it.
//!
//! Times and running time are microseconds, credits whole units.

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A whole request may take this long; it has to end before the moment after which nothing is billed.
const TIMEOUT: i64 = 5 * SECOND;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meter {
    Compute,
    Credits,
}

pub(crate) const BOTH: [Meter; 2] = [Meter::Compute, Meter::Credits];

impl Meter {
    const fn index(self) -> usize {
        match self {
            Self::Compute => 0,
            Self::Credits => 1,
        }
    }

    /// What one billed unit is.
    const fn unit(self) -> i64 {
        match self {
            Self::Compute => HOUR,
            Self::Credits => 1,
        }
    }
}

/// Until when a period's total can be billed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Rule S6: two minutes before its end.
    BeforeTheEnd,
    /// Rule S9: five minutes before its end.
    BeforeTheQuietMinutes,
    /// Rule S7: ten minutes before the draft invoice is final, an hour after its end.
    WhileTheInvoiceIsADraft,
}

impl Deadline {
    fn of(self, end: i64) -> i64 {
        let last = match self {
            Self::BeforeTheEnd => end - 2 * MINUTE,
            Self::BeforeTheQuietMinutes => end - 5 * MINUTE,
            Self::WhileTheInvoiceIsADraft => end + HOUR - 10 * MINUTE,
        };
        last - TIMEOUT
    }
}

/// Units included, of running hours and of credits.
pub(crate) type Plan = [i64; 2];

struct Link {
    from: i64,
    plan: Plan,
    single_writer: bool,
}

/// Running time, or credits at a moment.
struct Used {
    meter: Meter,
    from: i64,
    /// For credits the moment after `from`.
    to: i64,
    quantity: i64,
    id: String,
    voided: bool,
    /// Rule S5: the ledger went back to before it was noted.
    forgotten: bool,
}

impl Used {
    fn within(&self, from: i64, to: i64) -> i64 {
        let overlap = (self.to.min(to) - self.from.max(from)).max(0);
        match self.meter {
            Meter::Compute => overlap,
            Meter::Credits if overlap > 0 => self.quantity,
            Meter::Credits => 0,
        }
    }
}

/// One meter in one period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Book {
    stands: i64,
    /// Rule S8: of these, by UTC day from the period's first on.
    days: Vec<i64>,
    /// Rule S5: entered as usage, or as units outside the allowance.
    entered: i64,
    adopted: i64,
    credit_due: i64,
    held: bool,
}

struct Carry {
    meter: Meter,
    out_of: usize,
    into: usize,
    units: i64,
}

/// What the model says of one meter in one period, in billed units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) stands: i64,
    /// Rounded overage and adopted units.
    pub(crate) own: i64,
    pub(crate) carried_in: i64,
    pub(crate) carried_out: i64,
    pub(crate) credit_due: i64,
}

/// What a copy of the disk knows.
pub(crate) struct Snapshot {
    at: i64,
    stands: [i64; 2],
}

pub(crate) struct Model {
    deadline: Deadline,
    /// Rule S8: whether what stands does so by UTC day.
    by_day: bool,
    /// Where periods begin and end, first to last.
    bounds: Vec<i64>,
    links: Vec<Link>,
    used: Vec<Used>,
    books: Vec<[Book; 2]>,
    carries: Vec<Carry>,
}

impl Model {
    pub(crate) fn new(deadline: Deadline, by_day: bool, bounds: Vec<i64>) -> Self {
        let books = bounds.iter().skip(1).map(|_| [Book::default(), Book::default()]).collect();
        Self { deadline, by_day, bounds, links: Vec::new(), used: Vec::new(), books, carries: Vec::new() }
    }

    // What happens.

    /// Rule R1: from then on usage is billed, by this plan.
    pub(crate) fn linked(&mut self, from: i64, plan: Plan, single_writer: bool) {
        self.links.push(Link { from, plan, single_writer });
    }

    pub(crate) fn ran(&mut self, from: i64, to: i64) {
        self.note(Meter::Compute, from, to, to - from, "");
    }

    pub(crate) fn recorded(&mut self, id: &str, at: i64, credits: i64) {
        self.note(Meter::Credits, at, at + 1, credits, id);
    }

    fn note(&mut self, meter: Meter, from: i64, to: i64, quantity: i64, id: &str) {
        self.used.push(Used { meter, from, to, quantity, id: id.to_owned(), voided: false, forgotten: false });
    }

    /// Rule M9.
    pub(crate) fn voided(&mut self, id: &str) {
        self.used.iter_mut().find(|used| used.id == id).unwrap().voided = true;
    }

    /// The ids of credits in a stretch that can be taken back.
    pub(crate) fn voidable(&self, from: i64, to: i64) -> Vec<String> {
        let counts = |used: &&Used| !used.id.is_empty() && !used.voided && !used.forgotten;
        let inside = self.used.iter().filter(|used| used.within(from, to) > 0);
        inside.filter(counts).map(|used| used.id.clone()).collect()
    }

    /// Everything that may be sent at this moment was sent and answered; `S1` sets totals to what they are.
    pub(crate) fn pushed(&mut self, now: i64) {
        self.settle(now);
        for period in 0..self.books.len() {
            if self.takes_totals(period, now) {
                for meter in BOTH {
                    if !self.book(meter, period).held {
                        self.book_mut(meter, period).stands = self.target(meter, period);
                        if self.by_day {
                            self.book_mut(meter, period).days = self.shares(meter, period);
                        }
                    }
                }
            }
        }
        self.settle(now);
    }

    pub(crate) fn snapshot(&self, now: i64) -> Snapshot {
        let period = self.period_at(now);
        Snapshot { at: now, stands: BOTH.map(|meter| self.book(meter, period).stands) }
    }

    /// Rule S5: the disk of that day boots and reads more than it can have caused.
    pub(crate) fn restored(&mut self, snapshot: &Snapshot, now: i64) {
        for used in self.used.iter_mut().filter(|used| used.from >= snapshot.at) {
            used.forgotten = true;
        }
        let period = self.period_at(now);
        let adopts = self.links.iter().rev().find(|link| link.from <= now).unwrap().single_writer;
        for (meter, known) in BOTH.into_iter().zip(snapshot.stands) {
            if self.book(meter, period).stands <= known {
                continue;
            }
            if adopts {
                self.adopt(meter, period, now - snapshot.at);
            } else {
                self.book_mut(meter, period).held = true;
            }
        }
    }

    pub(crate) fn is_held(&self, meter: Meter, now: i64) -> bool {
        self.book(meter, self.period_at(now)).held
    }

    /// `release --adopt`, so long after the last entry before the gap.
    pub(crate) fn released(&mut self, meter: Meter, now: i64, since_last_entry: i64) {
        let period = self.period_at(now);
        self.book_mut(meter, period).held = false;
        self.adopt(meter, period, since_last_entry);
    }

    /// The smallest amount that makes the target equal what stands: as usage, if that is certain to be above the
    /// allowance; else as units outside it.
    fn adopt(&mut self, meter: Meter, period: usize, since_last_entry: i64) {
        let excess = self.excess(meter, period);
        if excess <= 0 {
            return;
        }
        let (used, included) = (self.ledger_used(meter, period), self.included(meter, period) * meter.unit());
        let overage = overage_of(meter, used, included);
        let amount = included + (overage + excess) * meter.unit() - used;
        let fits = meter == Meter::Compute && period > 0 && amount <= since_last_entry;
        let book = self.book_mut(meter, period);
        if used >= included || fits {
            book.entered += amount;
        } else {
            book.adopted += excess;
        }
    }

    /// What stands above the target; with day windows on each day, where what was used since stands beside it.
    fn excess(&self, meter: Meter, period: usize) -> i64 {
        let book = self.book(meter, period);
        if !self.by_day {
            return book.stands - self.target(meter, period);
        }
        let shares = self.shares(meter, period);
        book.days.iter().zip(shares).map(|(stands, share)| (stands - share).max(0)).sum()
    }

    /// A day's share: rounded running overage at its end less that at its start. What was carried in is the first day's.
    fn shares(&self, meter: Meter, period: usize) -> Vec<i64> {
        let (from, to) = self.period(period);
        let included = self.included(meter, period) * meter.unit();
        let running = |until: i64| {
            let used = self.sum_until(meter, period, until, |used| !used.voided && !used.forgotten);
            overage_of(meter, used, included)
        };
        let days = (from..to).step_by(usize::try_from(DAY).unwrap());
        let mut shares: Vec<i64> = days.map(|day| running(to.min(day + DAY)) - running(day)).collect();
        shares[0] += self.carried_in(meter, period);
        shares
    }

    // What it comes to.

    pub(crate) fn period_at(&self, now: i64) -> usize {
        self.bounds.iter().filter(|bound| **bound <= now).count() - 1
    }

    pub(crate) fn period(&self, period: usize) -> (i64, i64) {
        (self.bounds[period], self.bounds[period + 1])
    }

    pub(crate) fn figures(&self, meter: Meter, period: usize) -> Figures {
        Figures {
            stands: self.book(meter, period).stands,
            own: self.overage(meter, period) + self.book(meter, period).adopted,
            carried_in: self.carried_in(meter, period),
            carried_out: self.carried_out(meter, period),
            credit_due: self.book(meter, period).credit_due,
        }
    }

    /// Rule R7's bound: the overage of everything that was used until now, also of what the ledger has forgotten.
    pub(crate) fn true_overage(&self, meter: Meter) -> i64 {
        (0..self.books.len())
            .map(|period| {
                let used = self.sum(meter, period, |used| !used.voided);
                overage_of(meter, used, self.included(meter, period) * meter.unit())
            })
            .sum()
    }

    pub(crate) fn credits_due(&self, meter: Meter) -> i64 {
        self.books.iter().map(|books| books[meter.index()].credit_due).sum()
    }

    /// Rule R6: the target of a period.
    fn target(&self, meter: Meter, period: usize) -> i64 {
        self.overage(meter, period) + self.carried_in(meter, period) + self.book(meter, period).adopted
    }

    /// Rule R3, rounded down once for period and meter.
    fn overage(&self, meter: Meter, period: usize) -> i64 {
        let included = self.included(meter, period) * meter.unit();
        overage_of(meter, self.ledger_used(meter, period), included)
    }

    fn ledger_used(&self, meter: Meter, period: usize) -> i64 {
        self.sum(meter, period, |used| !used.voided && !used.forgotten) + self.book(meter, period).entered
    }

    fn sum(&self, meter: Meter, period: usize, counts: impl Fn(&Used) -> bool) -> i64 {
        self.sum_until(meter, period, self.period(period).1, counts)
    }

    fn sum_until(&self, meter: Meter, period: usize, to: i64, counts: impl Fn(&Used) -> bool) -> i64 {
        let (from, _) = self.period(period);
        let linked = from.max(self.links.first().map_or(to, |link| link.from));
        let of_meter = self.used.iter().filter(|used| used.meter == meter && counts(used));
        of_meter.map(|used| used.within(linked, to)).sum()
    }

    /// Rule R4: `latest`, the plan at the end decides, once for the period.
    fn included(&self, meter: Meter, period: usize) -> i64 {
        let (_, to) = self.period(period);
        self.links.iter().rev().find(|link| link.from < to).map_or(0, |link| link.plan[meter.index()])
    }

    fn takes_totals(&self, period: usize, now: i64) -> bool {
        let (from, to) = self.period(period);
        from < now && now < self.deadline.of(to)
    }

    /// Rules R6 and M9, oldest period first.
    fn settle(&mut self, now: i64) {
        for period in 0..self.books.len() {
            let (from, to) = self.period(period);
            if now < to || now < self.deadline.of(to) || now < from {
                continue;
            }
            for meter in BOTH {
                self.settle_one(meter, period, now);
            }
        }
    }

    fn settle_one(&mut self, meter: Meter, period: usize, now: i64) {
        let current = self.period_at(now);
        let carried = self.carried_out(meter, period);
        let open = self.target(meter, period) - self.book(meter, period).stands - carried;
        if open > 0 {
            self.carries.push(Carry { meter, out_of: period, into: current, units: open });
        }
        let mut excess = (-open).max(0);
        let lowerable = |carry: &&mut Carry| carry.meter == meter && carry.out_of == period && carry.into == current;
        for carry in self.carries.iter_mut().filter(lowerable) {
            let taken = carry.units.min(excess);
            carry.units -= taken;
            excess -= taken;
        }
        self.book_mut(meter, period).credit_due = excess;
    }

    fn carried_in(&self, meter: Meter, period: usize) -> i64 {
        let into = self.carries.iter().filter(|carry| carry.meter == meter && carry.into == period);
        into.map(|carry| carry.units).sum()
    }

    fn carried_out(&self, meter: Meter, period: usize) -> i64 {
        let out_of = self.carries.iter().filter(|carry| carry.meter == meter && carry.out_of == period);
        out_of.map(|carry| carry.units).sum()
    }

    fn book(&self, meter: Meter, period: usize) -> &Book {
        &self.books[period][meter.index()]
    }

    fn book_mut(&mut self, meter: Meter, period: usize) -> &mut Book {
        &mut self.books[period][meter.index()]
    }
}

const fn overage_of(meter: Meter, used: i64, included: i64) -> i64 {
    let over = used - included;
    if over > 0 { over.div_euclid(meter.unit()) } else { 0 }
}
