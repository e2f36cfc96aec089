//! Exact parts of a whole (rule M7).

/// What falls to the first `done` of `total`, rounded down. Parts taken as differences of this add up to the whole,
/// wherever the cuts lie and however many there are. A whole without length falls to its very start.
pub(super) fn share(quantity: i64, done: i64, total: i64) -> i64 {
    if done >= total {
        return quantity;
    }
    if done <= 0 {
        return 0;
    }
    let floor = (i128::from(quantity) * i128::from(done)).div_euclid(i128::from(total));
    // Between 0 and `quantity`, since `done` is below `total`.
    i64::try_from(floor).unwrap_or(quantity)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_grow_with_what_is_done() {
        assert_eq!((share(10, 0, 3), share(10, 1, 3), share(10, 2, 3), share(10, 3, 3)), (0, 3, 6, 10));
        assert_eq!(share(10, 0, 0), 10);
    }

    proptest! {
        #[test]
        fn m7_parts_add_up_to_the_whole_and_none_turns_its_sign(
            quantity in any::<i64>(),
            total in 1..i64::MAX,
            mut cuts in prop::collection::vec(0..1_000_i64, 0..6),
        ) {
            cuts.sort_unstable();
            let cuts = cuts.into_iter().map(|thousandths| {
                i64::try_from((i128::from(total) * i128::from(thousandths)).div_euclid(1_000)).unwrap()
            }).chain([total]);
            let mut before = 0;
            let mut sum = 0_i64;
            for cut in cuts {
                let part = share(quantity, cut, total) - before;
                prop_assert!(part == 0 || part.signum() == quantity.signum());
                before = share(quantity, cut, total);
                sum += part;
            }
            prop_assert_eq!(sum, quantity);
        }
    }
}
