//! Which alerts begin and which are over, given what stands now. Pure.

use super::book::Alert;
use crate::model::{Problem, Span};

/// Something that somebody is to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What needs someone.
    pub problem: Problem,
    /// Whether it is told once a period, whatever becomes of it within that.
    pub once_a_period: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// Alerts that are over.
    pub over: Vec<Alert>,
    /// What begins.
    pub begins: Vec<Wanted>,
}

impl Moves {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.over.is_empty() && self.begins.is_empty()
    }
}

/// Compares the alerts that stand with what should. `period` is the provider's current one, where it is known; while it
/// is not, what is told once a period neither begins nor ends.
#[must_use]
pub fn moves(standing: &[Alert], wanted: &[Wanted], period: Option<Span>) -> Moves {
    let over: Vec<Alert> = standing.iter().filter(|alert| is_over(alert, wanted, period)).cloned().collect();
    let stays = |problem: &Problem| {
        standing.iter().any(|alert| is_same(&alert.problem, problem) && !over.iter().any(|over| over.id == alert.id))
    };
    let mut begins: Vec<Wanted> = Vec::new();
    for one in wanted {
        let is_known = stays(&one.problem) || begins.iter().any(|other| is_same(&other.problem, &one.problem));
        if !is_known && (period.is_some() || !one.once_a_period) {
            begins.push(one.clone());
        }
    }
    Moves { over, begins }
}

fn is_over(alert: &Alert, wanted: &[Wanted], period: Option<Span>) -> bool {
    if alert.once_a_period {
        return period.is_some_and(|period| alert.period.is_none_or(|fired_in| fired_in.from != period.from));
    }
    !wanted.iter().any(|one| is_same(&one.problem, &alert.problem))
}

fn is_same(one: &Problem, other: &Problem) -> bool {
    one.code == other.code && one.about == other.about
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn period(day: i64) -> Span {
        Span::new(Timestamp::from_secs(day * 86_400), Timestamp::from_secs((day + 30) * 86_400))
    }

    fn problem(code: &str) -> Wanted {
        Wanted { problem: Problem::needs_someone(code, "", ""), once_a_period: false }
    }

    fn mark(about: &str) -> Wanted {
        Wanted { problem: Problem::note("allowance_reached", "", "").about(about), once_a_period: true }
    }

    fn alert(of: &Wanted, fired_in: Option<Span>) -> Alert {
        Alert {
            id: 1,
            name: "al_1".to_owned(),
            problem: of.problem.clone(),
            period: fired_in,
            once_a_period: of.once_a_period,
            fired: Timestamp::from_secs(0),
            cleared: None,
        }
    }

    #[test]
    fn what_stands_already_does_not_begin_again_and_what_is_gone_is_over() {
        let (a, b) = (problem("a"), problem("b"));
        assert!(moves(&[alert(&a, None)], std::slice::from_ref(&a), None).is_empty());
        let both = moves(&[alert(&a, None)], std::slice::from_ref(&b), None);
        assert_eq!((both.over.len(), both.begins), (1, vec![b]));
    }

    #[test]
    fn another_wording_is_the_same_alert_and_another_item_is_not() {
        let mut reworded = problem("a");
        "said otherwise".clone_into(&mut reworded.problem.what);
        assert!(moves(&[alert(&problem("a"), None)], &[reworded], None).is_empty());
        let other = Wanted { problem: problem("a").problem.about("si_2"), once_a_period: false };
        let moved = moves(&[alert(&problem("a"), None)], &[other], None);
        assert_eq!((moved.over.len(), moved.begins.len()), (1, 1));
    }

    #[test]
    fn the_same_thing_said_twice_begins_once() {
        assert_eq!(moves(&[], &[problem("a"), problem("a")], None).begins.len(), 1);
    }

    #[test]
    fn a_mark_stays_for_its_period_whatever_becomes_of_the_usage_and_begins_again_in_the_next() {
        let reached = mark("api_credits/50");
        let stands = alert(&reached, Some(period(0)));
        assert!(moves(std::slice::from_ref(&stands), &[], Some(period(0))).is_empty(), "usage was taken back");
        let next = moves(std::slice::from_ref(&stands), std::slice::from_ref(&reached), Some(period(30)));
        assert_eq!((next.over.len(), next.begins.len()), (1, 1));
        assert_eq!(moves(&[stands], &[], Some(period(30))).over.len(), 1);
    }

    #[test]
    fn while_the_period_is_not_known_marks_neither_begin_nor_end() {
        let reached = mark("api_credits/50");
        assert!(moves(&[alert(&reached, Some(period(0)))], &[], None).is_empty());
        assert!(moves(&[], &[reached], None).is_empty());
    }
}
