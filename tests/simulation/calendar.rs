//! What happens to a VM in a month: drawn from a seed, and a plain list, so that a failing month can be played again with
//! less in it.

use usaged::sandbox::{Effect, Newest, SwappedUsage};

use crate::vm::{Billing, DAY, HOUR, MINUTE, SECOND};

/// A month begins here; every moment is counted from it.
pub(crate) const BEGINS: &str = "2026-11-01T00:00:00Z";
/// The calendar month ends.
const MONTH: i64 = 30 * DAY;
/// So long after the period's end nothing more happens, and everything comes to rest.
const RESTS_AFTER: i64 = 2 * DAY;
/// From this seed on months may have periods of their own, CPUs that come and go, and a provider that refuses zero. Seeds
/// before it mean what they always did.
pub(crate) const WIDER: u64 = 10_000;

/// From this seed on prices of credits may be swapped within the period, at Stripe.
pub(crate) const SWAPPING: u64 = 20_000;

/// Minutes between samples. Totals do not depend on them, and coarser months are sooner over.
const FINER: [i64; 8] = [10, 30, 60, 90, 120, 240, 360, 360];
const COARSER: [i64; 8] = [20, 60, 90, 120, 180, 240, 360, 360];

/// Units included, of running hours and of credits.
pub(crate) type Included = [i64; 2];

/// A script.
#[derive(Debug, Clone)]
pub(crate) struct Month {
    pub(crate) seed: u64,
    pub(crate) billing: Billing,
    pub(crate) sample_every: i64,
    pub(crate) push_every: i64,
    /// What the plans `pro` and `team` include.
    pub(crate) plans: [Included; 2],
    /// What the compute meter counts: `uptime`, `vcpu` or `cpu`.
    pub(crate) source: &'static str,
    pub(crate) single_writer: bool,
    /// How the provider reads what it leaves open.
    pub(crate) newest: Newest,
    /// Seconds after which summaries show events, and after which requests that were cut arrive at Lemon Squeezy.
    pub(crate) lag_s: i64,
    /// When the period ends: with the calendar month, or with the subscription's own anchor.
    pub(crate) ends: i64,
    pub(crate) is_anchored: bool,
    /// Whether Lemon Squeezy takes a total of 0.
    pub(crate) takes_zero: bool,
    /// What becomes of usage before its item was given another price.
    pub(crate) swapped: SwappedUsage,
    pub(crate) happenings: Vec<Happening>,
}

/// Something at a moment.
#[derive(Debug, Clone)]
pub(crate) struct Happening {
    pub(crate) at: i64,
    pub(crate) what: What,
}

/// Which requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Telling,
    Reading,
    Any,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    /// An application records an order: so many credits, used this long before.
    Order {
        id: u32,
        credits: i64,
        ago: Option<i64>,
    },
    /// It is taken back.
    TakenBack {
        id: u32,
    },
    /// So many requests go wrong.
    Fault {
        on: On,
        effect: Effect,
        times: u32,
    },
    /// No request gets through.
    Outage {
        for_us: i64,
    },
    /// The agent is killed after so many more operations, and started again after this long.
    Killed {
        operations: u64,
        down_us: i64,
    },
    /// The agent is stopped, and started again.
    Stopped {
        down_us: i64,
    },
    /// The machine goes down, in good order or not, is off, and the agent comes up late.
    Reboot {
        in_order: bool,
        off_us: i64,
        late_us: i64,
    },
    /// It boots with a wrong clock and without a network.
    BootAstray {
        off_us: i64,
        wrong_by_us: i64,
        offline_us: i64,
    },
    Suspended {
        for_us: i64,
    },
    /// The wall clock is set, and put right later.
    ClockStep {
        by_us: i64,
        for_us: i64,
    },
    /// A copy of the disk is made.
    Snapshot,
    /// The machine goes down, and its disk is put back.
    Restore {
        off_us: i64,
    },
    /// A copy of the disk boots in another machine.
    Clone,
    /// The disk takes nothing more for so long.
    DiskFull {
        for_us: i64,
    },
    /// CPUs come or go.
    Cpus {
        count: i64,
    },
    /// From now on by the other plan.
    PlanChange {
        plan: usize,
    },
    /// The credits' item gets another price, and the operator links anew, by this plan, after so long.
    Swap {
        plan: usize,
        linked_after_us: i64,
    },
    /// The last request that told usage arrives once more, this long after it was sent.
    Duplicate {
        after_us: i64,
    },
    /// The request that is told next is cut, and arrives late.
    Late {
        after_us: i64,
    },
}

/// Every way of billing.
pub(crate) const WAYS: [Billing; 5] = [
    Billing::UsageRecords,
    Billing::Meters("last", None),
    Billing::Meters("sum", Some("day")),
    Billing::Meters("sum", None),
    Billing::LemonSqueezy,
];

impl Month {
    /// The month of a seed. The way of billing is the seed's last digit, by fives.
    pub(crate) fn drawn(seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let billing = WAYS[usize::try_from(seed % 5).unwrap()];
        let lags: &[i64] = match billing {
            Billing::UsageRecords => &[0],
            Billing::Meters(..) => &[0, 60, 600, 1_800],
            Billing::LemonSqueezy => &[0, 0, 720],
        };
        let mut month = Self {
            seed,
            billing,
            sample_every: MINUTE * if seed < WIDER { FINER } else { COARSER }[dice.usize(..8)],
            push_every: HOUR * [3, 6, 12, 12, 24, 24][dice.usize(..6)],
            plans: [included(&mut dice), included(&mut dice)],
            source: ["uptime", "uptime", "vcpu", "cpu"][dice.usize(..4)],
            single_writer: dice.bool(),
            newest: if dice.bool() { Newest::Timestamp } else { Newest::Arrival },
            lag_s: lags[dice.usize(..lags.len())],
            ends: MONTH,
            is_anchored: false,
            takes_zero: true,
            swapped: SwappedUsage::AtNewPrice,
            happenings: Vec::new(),
        };
        if seed >= WIDER {
            month.widen(&mut dice);
        }
        if seed >= SWAPPING && billing != Billing::LemonSqueezy {
            month.draw_swap(&mut dice);
        }
        month.draw_orders(&mut dice);
        for _ in 0..dice.u32(5..50) {
            let what = trouble(&mut dice);
            month.add(month.moment(&mut dice), what);
        }
        if dice.u32(0..4) == 0 {
            month.draw_restore(&mut dice);
        }
        month.happenings.sort_by_key(|happening| happening.at);
        month
    }

    /// The same, sampled every minute.
    pub(crate) const fn finely(mut self) -> Self {
        self.sample_every = MINUTE;
        self
    }

    /// From here on nothing more happens.
    pub(crate) const fn rests(&self) -> i64 {
        self.ends + RESTS_AFTER
    }

    fn widen(&mut self, dice: &mut fastrand::Rng) {
        // The other demos' periods are calendar months.
        if let Billing::Meters(_, window) = self.billing
            && dice.bool()
        {
            // Days of UTC that two periods share cannot be billed (rule S10).
            let grain = if window.is_some() { DAY } else { SECOND };
            let ends = dice.i64(5 * DAY..MONTH);
            self.ends = ends - ends.rem_euclid(grain);
            self.is_anchored = true;
        }
        self.takes_zero = dice.bool();
        if self.source == "vcpu" {
            for _ in 0..dice.u32(0..6) {
                self.add(self.moment(dice), What::Cpus { count: dice.i64(1..=8) });
            }
        }
    }

    /// Only readings by which it can be told what became of the usage before; others are held (rule R5).
    fn draw_swap(&mut self, dice: &mut fastrand::Rng) {
        let clear: &[SwappedUsage] = match self.billing {
            Billing::Meters("last", _) => &[SwappedUsage::AtNewPrice, SwappedUsage::AtOldPrice, SwappedUsage::Dropped],
            Billing::Meters(_, Some(_)) => &[SwappedUsage::AtNewPrice],
            _ => &[SwappedUsage::AtNewPrice, SwappedUsage::AtOldPrice],
        };
        self.swapped = clear[dice.usize(..clear.len())];
        let at = whole(dice.i64(2 * HOUR..self.ends - DAY));
        self.add(at, What::Swap { plan: dice.usize(..2), linked_after_us: whole(dice.i64(SECOND..12 * HOUR)) });
    }

    /// Anywhere, or within hours of the end of the period.
    fn moment(&self, dice: &mut fastrand::Rng) -> i64 {
        let at = match dice.u32(0..3) {
            0 => self.ends + dice.i64(-8 * HOUR..4 * HOUR),
            _ => dice.i64(HOUR..self.rests() - HOUR),
        };
        whole(at)
    }

    fn draw_orders(&mut self, dice: &mut fastrand::Rng) {
        for id in 0..dice.u32(10..60) {
            let at = self.moment(dice);
            let may_be_late = dice.u32(0..4) == 0;
            // Near the end it is said when it was, since that decides where it counts.
            let near_end = (at - self.ends).abs() < 3 * DAY;
            let ago = match (may_be_late, near_end) {
                (true, _) => Some(dice.i64(0..at.min(2 * DAY))),
                (false, true) => Some(0),
                (false, false) => None,
            };
            let ago = ago.map(|ago| ago - ago.rem_euclid(SECOND));
            self.add(at, What::Order { id, credits: dice.i64(1..40), ago });
            if dice.u32(0..8) == 0 {
                let later = at + whole(dice.i64(MINUTE..5 * DAY));
                self.add(later.min(self.rests() - HOUR), What::TakenBack { id });
            }
        }
    }

    /// A copy of the disk, and its return hours or days later.
    fn draw_restore(&mut self, dice: &mut fastrand::Rng) {
        let at = self.moment(dice);
        self.add(at, What::Snapshot);
        let later = at + whole(dice.i64(MINUTE..3 * DAY));
        self.add(later.min(self.rests() - HOUR), What::Restore { off_us: whole(dice.i64(MINUTE..2 * HOUR)) });
    }

    fn add(&mut self, at: i64, what: What) {
        self.happenings.push(Happening { at, what });
    }
}

/// Whole seconds, as the provider tells its time.
const fn whole(micros: i64) -> i64 {
    micros - micros.rem_euclid(SECOND)
}

fn included(dice: &mut fastrand::Rng) -> Included {
    [[0, 10, 100, 400, 700][dice.usize(..5)], [0, 20, 100, 300][dice.usize(..4)]]
}

/// Seconds to hours, or rarely days.
fn a_while(dice: &mut fastrand::Rng) -> i64 {
    whole(match dice.u32(0..8) {
        0 => dice.i64(DAY..3 * DAY),
        1..4 => dice.i64(HOUR..12 * HOUR),
        _ => dice.i64(SECOND..HOUR),
    })
}

fn trouble(dice: &mut fastrand::Rng) -> What {
    match dice.u32(0..28) {
        0..9 => What::Fault {
            on: [On::Telling, On::Telling, On::Telling, On::Reading, On::Any][dice.usize(..5)],
            effect: effect(dice),
            times: [1, 1, 2, 3, 8][dice.usize(..5)],
        },
        9 => What::Outage { for_us: a_while(dice) },
        10..15 => What::Killed { operations: dice.u64(0..60), down_us: a_while(dice) },
        15 => What::Stopped { down_us: a_while(dice) },
        16..18 => What::Reboot { in_order: dice.bool(), off_us: a_while(dice), late_us: whole(dice.i64(0..HOUR)) },
        18 => What::Suspended { for_us: a_while(dice) },
        19 => What::BootAstray {
            off_us: a_while(dice),
            wrong_by_us: far(dice),
            offline_us: whole(dice.i64(MINUTE..10 * HOUR)),
        },
        20 => What::ClockStep { by_us: far(dice), for_us: a_while(dice) },
        21 => What::PlanChange { plan: dice.usize(..2) },
        22 => What::Clone,
        23..25 => What::DiskFull { for_us: a_while(dice) },
        25 => What::Duplicate { after_us: whole(dice.i64(SECOND..110 * MINUTE)) },
        _ => What::Late { after_us: whole(dice.i64(SECOND..110 * MINUTE)) },
    }
}

/// Minutes to weeks, forward or back. Less than two minutes is believed (rule M5).
fn far(dice: &mut fastrand::Rng) -> i64 {
    let most = [HOUR, DAY, 20 * DAY][dice.usize(..3)];
    let by = whole(dice.i64(5 * MINUTE..most));
    if dice.bool() { by } else { -by }
}

/// What a request can meet.
fn effect(dice: &mut fastrand::Rng) -> Effect {
    let limited = |retry_after| Effect::RateLimited { reason: "global-rate".into(), retry_after };
    let effects = [
        Effect::CutBeforeCommit,
        Effect::CutAfterCommit,
        Effect::CutAfterCommit,
        Effect::ErrorBeforeCommit,
        Effect::ErrorAfterCommit,
        limited(None),
        limited(Some(40)),
        Effect::LockTimeout,
        Effect::KeyInUse,
        Effect::Unauthorized,
        Effect::Html,
        Effect::TruncatedJson,
        Effect::Gigantic,
    ];
    effects[dice.usize(..effects.len())].clone()
}
