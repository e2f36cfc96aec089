//! Rule R6: what a closed period hands on, or owes.

/// What has to change so that a closed period's books balance (rule R7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CarryMoves {
    /// Units to carry out in addition.
    pub(super) carry_more: i64,
    /// Units to take back from carries that a still open period holds.
    pub(super) take_back: i64,
    /// What stands above what is true and can no longer be lowered: the whole figure, not a change.
    pub(super) credit_due: i64,
}

/// `target` is what should stand on the closed period, `stands` what does, `carried` what was carried out of it already,
/// `takeable` the part of that which an open period still holds, `set_aside` units that are held or listed as lost.
#[must_use]
pub(super) fn settle_carry(target: i64, stands: i64, carried: i64, takeable: i64, set_aside: i64) -> CarryMoves {
    let open = target.saturating_sub(stands).saturating_sub(carried).saturating_sub(set_aside);
    if open >= 0 {
        return CarryMoves { carry_more: open, ..CarryMoves::default() };
    }
    let excess = open.saturating_neg();
    let take_back = excess.min(takeable.max(0));
    CarryMoves { carry_more: 0, take_back, credit_due: excess.saturating_sub(take_back) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r6_what_was_not_billed_is_carried_once() {
        assert_eq!(settle_carry(12, 10, 0, 0, 0).carry_more, 2);
        assert_eq!(settle_carry(12, 10, 2, 2, 0), CarryMoves::default());
        assert_eq!(settle_carry(15, 10, 2, 0, 0).carry_more, 3);
        assert_eq!(settle_carry(15, 10, 0, 0, 5), CarryMoves::default());
    }

    #[test]
    fn r6_a_fall_lowers_the_carry_first_and_only_the_rest_is_a_credit_due() {
        assert_eq!(settle_carry(11, 10, 3, 3, 0), CarryMoves { carry_more: 0, take_back: 2, credit_due: 0 });
        assert_eq!(settle_carry(8, 10, 3, 3, 0), CarryMoves { carry_more: 0, take_back: 3, credit_due: 2 });
        assert_eq!(settle_carry(8, 10, 3, 0, 0), CarryMoves { carry_more: 0, take_back: 0, credit_due: 5 });
    }

    #[test]
    fn r7_the_books_balance_after_every_move() {
        for target in 0..12 {
            for stands in 0..12 {
                for carried in 0..5 {
                    let moves = settle_carry(target, stands, carried, carried, 0);
                    let carried_after = carried + moves.carry_more - moves.take_back;
                    assert_eq!(stands + carried_after, target + moves.credit_due, "{target} {stands} {carried}");
                }
            }
        }
    }
}
