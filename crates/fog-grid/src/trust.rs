//! Trust in the results of nodes, and the rules by which results are believed.

use std::collections::BTreeMap;

use fog_types::NodeId;
use serde::{Deserialize, Serialize};

/// Half-life of evidence in milliseconds: 7 days, as for BOINC's credit.
const HALF_LIFE: f64 = 7.0 * 86_400_000.0;
/// Number n of valid results in a row after which a worker is checked with probability 1/n only (BOINC
/// `CONS_VALID_UNREPLICATED`).
const TRUSTED_AFTER: u32 = 10;

/// Weight of a result that was not compared. The weight is below 1 and the row does not grow: otherwise a
/// device that makes up results would be believed the more the longer nobody compares them.
const UNCHECKED: f64 = 0.25;
/// Number of tasks that an unknown node may have at once.
const FIRST_WINDOW: f64 = 4.0;

/// Evidence that this node collected about another one; local, decaying and never sent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// Number of valid results, decayed.
    pub valid: f64,
    /// Number of invalid results, decayed.
    pub invalid: f64,
    /// Number of leases that ended without a result, decayed.
    pub lost: f64,
    /// Number of compared results that were valid since the last invalid one.
    pub in_row: u32,
    /// Number of results that this node did for the other one and that were receipted, decayed.
    pub receipted: f64,
    /// Number of correct results that this node did for the other one and that were not accepted, decayed.
    pub unpaid: f64,
    /// Time of the last update in milliseconds since 1970.
    pub at_ms: i64,
}

impl Evidence {
    fn decay(&mut self, now_ms: i64) {
        let age = (now_ms - self.at_ms).max(0) as f64;
        let factor = 0.5f64.powf(age / HALF_LIFE);
        for value in
            [&mut self.valid, &mut self.invalid, &mut self.lost, &mut self.receipted, &mut self.unpaid]
        {
            *value *= factor;
        }
        self.at_ms = now_ms;
    }

    /// Records a valid result of the node.
    pub fn saw_valid(&mut self, now_ms: i64) {
        self.decay(now_ms);
        self.valid += 1.0;
        self.in_row = self.in_row.saturating_add(1);
    }

    /// Records a result of the node that was taken without a comparison: it was delivered, and no more is
    /// known.
    pub fn saw_unchecked(&mut self, now_ms: i64) {
        self.decay(now_ms);
        self.valid += UNCHECKED;
    }

    /// Records an invalid result of the node: `valid` loses a third (iExec PoCo) and `in_row` starts again
    /// at 0.
    pub fn saw_invalid(&mut self, now_ms: i64) {
        self.decay(now_ms);
        self.valid *= 2.0 / 3.0;
        self.invalid += 1.0;
        self.in_row = 0;
    }

    /// Records a lease of the node that ended without a result.
    pub fn saw_lost(&mut self, now_ms: i64) {
        self.decay(now_ms);
        self.lost += 1.0;
    }

    /// Records that the node, as requester, accepted a result.
    pub fn saw_receipt(&mut self, now_ms: i64) {
        self.decay(now_ms);
        self.receipted += 1.0;
    }

    /// Records that the node, as requester, did not accept a correct result.
    pub fn saw_unpaid(&mut self, now_ms: i64) {
        self.decay(now_ms);
        self.unpaid += 1.0;
    }

    /// Returns the probability, 0 to 1, that a task given to the node comes back with a valid result. An
    /// unknown node is assumed to have one success and one failure (Laplace's rule).
    #[must_use]
    pub fn reliability(&self) -> f64 {
        (self.valid + 1.0) / (self.valid + self.invalid * 3.0 + self.lost + 2.0)
    }

    /// Returns the number of tasks that the node may have at once: few for an unknown node, one more with
    /// each result that was taken, and fewer with each lost or invalid one. Announcing free slots costs
    /// nothing, and a worker can keep a task for long.
    #[must_use]
    pub fn window(&self) -> u32 {
        let share = (self.valid + 1.0) / (self.valid + self.invalid * 3.0 + self.lost + 1.0);
        (((FIRST_WINDOW + self.valid / UNCHECKED) * share) as u32).max(1)
    }

    /// Returns the weight of the node in a vote: at least 2, more with valid results (iExec PoCo: max(score
    /// / 3, 3) − 1).
    #[must_use]
    pub fn weight(&self) -> f64 {
        (self.valid / 3.0).max(3.0) - 1.0
    }
}

/// Rule by which a requester believes a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AcceptanceRule {
    /// This number of workers gave the same result.
    Quorum(u32),
    /// The odds against the result are below 1/trust (iExec PoCo): ours / (1 + others + ours) is at least 1
    /// − 1/trust, with the weights of the nodes that gave this result and of those that gave others.
    Confidence(u32),
    /// One result is enough from a worker with [`Evidence::in_row`] of ten or more, except one time in
    /// `in_row`; otherwise two equal results are needed. The number is drawn once for each task.
    Adaptive(u32),
}

/// Verdict on the results of a task so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The result with this hash is right.
    Accept(String),
    /// Undecided; this number of further equal results would be enough.
    More(u32),
}

/// Judges the results of one task, at most one of each worker.
#[must_use]
pub fn judge(
    results: &[(NodeId, String)],
    choice: AcceptanceRule,
    evidence: impl Fn(NodeId) -> Evidence,
) -> Verdict {
    let mut groups: BTreeMap<&str, Vec<Evidence>> = BTreeMap::new();
    for (node, hash) in results {
        groups.entry(hash).or_default().push(evidence(*node));
    }
    let Some((best, backers)) = groups.iter().max_by(|a, b| weight(a.1).total_cmp(&weight(b.1))) else {
        return Verdict::More(match choice {
            AcceptanceRule::Quorum(k) => k.max(1),
            AcceptanceRule::Confidence(_) | AcceptanceRule::Adaptive(_) => 1,
        });
    };
    let is_alone = groups.len() == 1;
    match choice {
        AcceptanceRule::Quorum(k) => {
            accept_or(best, (k.max(1) as usize).saturating_sub(backers.len()) as u32)
        }
        AcceptanceRule::Adaptive(draw) => {
            let row = backers.iter().map(|e| e.in_row).max().unwrap_or(0);
            let is_checked = row < TRUSTED_AFTER || draw.is_multiple_of(row);
            let enough = if is_alone && !is_checked { 1 } else { 2 };
            accept_or(best, enough - (backers.len() as u32).min(enough))
        }
        AcceptanceRule::Confidence(trust) => {
            let needed = 1.0 - 1.0 / f64::from(trust.max(1));
            let others: f64 = groups.iter().filter(|(hash, _)| *hash != best).map(|(_, g)| weight(g)).sum();
            let mut ours = weight(backers);
            let mut more = 0;
            while ours / (1.0 + others + ours) < needed && more < 64 {
                // An unknown node that agrees has a weight of 2.
                ours *= 2.0;
                more += 1;
            }
            accept_or(best, more)
        }
    }
}

fn weight(backers: &[Evidence]) -> f64 {
    backers.iter().map(Evidence::weight).product()
}

fn accept_or(hash: &str, more: u32) -> Verdict {
    if more == 0 { Verdict::Accept(hash.to_owned()) } else { Verdict::More(more) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn results(hashes: &[&str]) -> Vec<(NodeId, String)> {
        hashes.iter().enumerate().map(|(n, hash)| (NodeId([n as u8; 32]), (*hash).to_owned())).collect()
    }

    fn of(valid: f64, in_row: u32) -> Evidence {
        Evidence { valid, in_row, ..Evidence::default() }
    }

    #[test]
    fn a_quorum_is_of_equal_results() {
        let none = |_| Evidence::default();
        assert_eq!(judge(&[], AcceptanceRule::Quorum(2), none), Verdict::More(2));
        assert_eq!(judge(&results(&["a"]), AcceptanceRule::Quorum(2), none), Verdict::More(1));
        assert_eq!(judge(&results(&["a", "b"]), AcceptanceRule::Quorum(2), none), Verdict::More(1));
        assert_eq!(
            judge(&results(&["a", "b", "a"]), AcceptanceRule::Quorum(2), none),
            Verdict::Accept("a".to_owned())
        );
    }

    #[test]
    fn a_worker_with_ten_in_a_row_is_checked_one_time_in_as_many() {
        let one = results(&["a"]);
        assert_eq!(judge(&one, AcceptanceRule::Adaptive(7), |_| of(9.0, 9)), Verdict::More(1));
        let checked = (0..1000u32)
            .filter(|draw| judge(&one, AcceptanceRule::Adaptive(*draw), |_| of(20.0, 20)) == Verdict::More(1))
            .count();
        assert_eq!(checked, 50);
        assert_eq!(
            judge(&results(&["a", "b"]), AcceptanceRule::Adaptive(7), |_| of(20.0, 20)),
            Verdict::More(1)
        );
    }

    #[test]
    fn confidence_asks_more_of_newcomers() {
        // 2^7 / (1 + 2^7) is the first above 0.99.
        for (count, more) in [(1, 6), (6, 1)] {
            assert_eq!(
                judge(&results(&vec!["a"; count]), AcceptanceRule::Confidence(100), |_| Evidence::default()),
                Verdict::More(more)
            );
        }
        assert_eq!(
            judge(&results(&["a"; 7]), AcceptanceRule::Confidence(100), |_| Evidence::default()),
            Verdict::Accept("a".to_owned())
        );
        assert_eq!(
            judge(&results(&["a"]), AcceptanceRule::Confidence(100), |_| of(300.0, 300)),
            Verdict::Accept("a".to_owned())
        );
    }

    #[test]
    fn a_window_opens_with_results_and_closes_with_losses() {
        let mut evidence = Evidence::default();
        assert_eq!(evidence.window(), 4);
        (0..4).for_each(|_| evidence.saw_lost(0));
        assert_eq!(evidence.window(), 1);
        let mut evidence = Evidence::default();
        (0..60).for_each(|_| evidence.saw_unchecked(0));
        assert_eq!(evidence.window(), 64);
        (0..16).for_each(|_| evidence.saw_lost(0));
        assert_eq!(evidence.window(), 32);
    }

    #[test]
    fn evidence_fades_and_one_lie_costs_a_third() {
        let mut evidence = Evidence::default();
        for _ in 0..12 {
            evidence.saw_valid(0);
        }
        let before = evidence.valid;
        evidence.saw_invalid(0);
        assert!((evidence.valid - before * 2.0 / 3.0).abs() < 1e-9 && evidence.in_row == 0);
        evidence.saw_unchecked(0);
        assert!((evidence.valid - before * 2.0 / 3.0 - UNCHECKED).abs() < 1e-9 && evidence.in_row == 0);
        evidence.valid -= UNCHECKED;
        evidence.saw_lost(7 * 86_400_000);
        assert!((evidence.valid - before / 3.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_was_given_by_somebody(hashes in prop::collection::vec("[ab]", 0..9), trust in 1u32..1000, k in 1u32..5) {
            let given: Vec<&str> = hashes.iter().map(String::as_str).collect();
            for choice in [AcceptanceRule::Quorum(k), AcceptanceRule::Confidence(trust), AcceptanceRule::Adaptive(trust)] {
                match judge(&results(&given), choice, |_| Evidence::default()) {
                    Verdict::Accept(hash) => prop_assert!(hashes.contains(&hash)),
                    Verdict::More(more) => prop_assert!(more > 0),
                }
            }
        }

        #[test]
        fn reliability_is_a_chance(valid in 0.0f64..1e6, invalid in 0.0f64..1e6, lost in 0.0f64..1e6) {
            let chance = Evidence { valid, invalid, lost, ..Evidence::default() }.reliability();
            prop_assert!((0.0..=1.0).contains(&chance));
        }
    }
}
