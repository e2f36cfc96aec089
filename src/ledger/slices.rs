use super::LedgerError;
use crate::model::{Span, Timestamp};

/// Adds up, between each two neighbouring moments of `cuts`, the parts of stretches that lie there. Both are in order,
/// and stretches do not overlap, so that one pass is enough. `part` says what a stretch comes to within a slice.
pub(super) fn pour<T>(
    cuts: &[Timestamp],
    stretches: impl Iterator<Item = rusqlite::Result<(Span, T)>>,
    part: impl Fn(Span, &T, Span) -> i64,
) -> Result<Vec<i64>, LedgerError> {
    let mut sums = vec![0_i64; cuts.len().saturating_sub(1)];
    let spans = cuts.iter().zip(cuts.iter().skip(1)).map(|(from, to)| Span::new(*from, *to));
    let mut slices = spans.zip(&mut sums).peekable();
    for stretch in stretches {
        let (stretch, what) = stretch?;
        while slices.next_if(|(slice, _)| slice.to <= stretch.from).is_some() {}
        while let Some((slice, sum)) = slices.peek_mut() {
            let Some(within) = stretch.overlap(*slice) else { break };
            let more = sum.checked_add(part(stretch, &what, within));
            **sum = more.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))?;
            if stretch.to <= slice.to {
                break;
            }
            slices.next();
        }
    }
    Ok(sums)
}
