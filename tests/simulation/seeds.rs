//! Months that failed once, by their seeds. A seed means its month only as long as months are drawn as they are: what it
//! found has a test of its own name in `tests/billing/`, too.

/// A retry that stayed due while nothing might be sent: a push every second (S8).
const SPUN: u64 = 28;
/// A disk that was put back to before a fall that a plain sum had counted (S5).
const FORGOT_A_FALL: u64 = 33;
/// A fall that was not sent before its period ended, beside what is used in the next (R7).
const FELL_OVER_THE_END: u64 = 11;
/// Days that were lowered again and again while their summary lagged (S8).
const LOWERED_AGAIN: u64 = 72;
/// More than was caused, held until its period closed (S5).
const HELD_TO_THE_END: u64 = 82;
/// A day that had been taken over, and was held because a lagging summary did not show its fall (S5, S8).
const TAKEN_OVER_AND_FELL: u64 = 2_102;
/// Units carried into a period by a ledger that was put back to before it carried them, and taken over there (S5).
const CARRIED_AND_FORGOT: u64 = 2_089;

/// All of them.
pub(crate) const FAILED_ONCE: [u64; 7] =
    [SPUN, FORGOT_A_FALL, FELL_OVER_THE_END, LOWERED_AGAIN, HELD_TO_THE_END, TAKEN_OVER_AND_FELL, CARRIED_AND_FORGOT];
