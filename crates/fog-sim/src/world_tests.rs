use super::*;
use crate::device::{Liars, Strategy};

fn small() -> Scenario {
    Scenario {
        nodes: 200,
        tasks: 2_000,
        requesters: 4,
        neighbours: 60,
        minutes: 10.0,
        choice: AcceptanceRule::Quorum(1),
        replicas: 1,
        liars: None,
        days: 14.0,
        seed: 7,
    }
}

#[test]
fn every_task_is_accepted_once_and_little_is_done_again() {
    let report = run(&small());
    eprintln!("{report}");
    assert_eq!((report.accepted, report.twice, report.wrong), (2_000, 0, 0));
    assert!(report.redone() < 0.15, "{}", report.redone());
    assert_eq!(report.checking, 0.0);
}

#[test]
fn the_same_seed_is_the_same_world() {
    let once = |seed| Report { seconds: 0.0, ..run(&Scenario { tasks: 300, seed, ..small() }) };
    assert_eq!(once(3), once(3));
    assert_ne!(once(3), once(4));
}

/// A fifth of the devices lie in groups: the chosen error bound holds, at a cost that is reported.
#[test]
fn liars_in_groups_stay_below_the_error_that_was_chosen() {
    for strategy in [Strategy::Always, Strategy::Patient, Strategy::Sleeper] {
        let liars = Some(Liars { share: 0.2, group: 8, strategy });
        let report = run(&Scenario { liars, choice: AcceptanceRule::Confidence(100), days: 60.0, ..small() });
        eprintln!("{strategy:?}\n{report}");
        assert_eq!((report.accepted, report.twice), (2_000, 0));
        assert!(report.wrong_share() <= 0.01, "{strategy:?}: {}", report.wrong_share());
        assert!(report.cost_of_checking() > 1.0);
    }
}

/// Liars get through where no second device is asked, so the test above can fail.
#[test]
fn one_result_is_not_enough_among_liars() {
    let liars = Some(Liars { share: 0.2, group: 8, strategy: Strategy::Always });
    let report = run(&Scenario { liars, ..small() });
    assert!(report.wrong_share() > 0.1, "{}", report.wrong_share());
}
