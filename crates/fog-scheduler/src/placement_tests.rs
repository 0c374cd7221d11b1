use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;

fn machine(speed: f64, price: f64, watts: f64, reliability: f64) -> Machine {
    Machine {
        slots: 4,
        memory: 8 << 30,
        disk: 64 << 30,
        speed,
        price,
        watts,
        reliability,
        availability: 1.0,
        bandwidth: 1e7,
    }
}

fn work(group: u32) -> Work {
    Work {
        units: 1e9,
        memory: 512 << 20,
        disk: 1 << 30,
        input: 1e6,
        present: Vec::new(),
        deadline: 1e6,
        group,
        avoid: Vec::new(),
    }
}

const SMALL: Settings = Settings { population: 40, generations: 30 };

#[test]
fn each_preference_gets_what_it_asks_for() {
    let machines = [
        machine(1e9, 3.0, 60.0, 0.9),
        machine(2e8, 1.0, 20.0, 0.9),
        machine(2e8, 3.0, 4.0, 0.9),
        machine(1e8, 3.0, 30.0, 0.999),
    ];
    let works: Vec<Work> = (0..3).map(work).collect();
    let front = plan(&machines, &works, SMALL, &mut StdRng::seed_from_u64(3));
    assert!(front.len() > 3);
    let all_on = |prefer| {
        let (at, why) = choose(&front, prefer).unwrap();
        assert!(!why.is_empty());
        front[at].machine.clone()
    };
    for (prefer, expected) in [(Prefer::Fast, 0), (Prefer::Cheap, 1), (Prefer::Green, 2), (Prefer::Safe, 3)] {
        assert_eq!(all_on(prefer), vec![Some(expected); 3], "{prefer:?}");
        assert_eq!(quick(&machines, &works, prefer), vec![Some(expected); 3], "{prefer:?}");
    }
}

#[test]
fn input_that_is_there_already_draws_the_task() {
    let machines = [machine(1e8, 1.0, 10.0, 0.9), machine(1e8, 1.0, 10.0, 0.9)];
    let mut one = work(0);
    (one.input, one.present) = (1e9, vec![1]);
    assert_eq!(quick(&machines, &[one], Prefer::Fast), vec![Some(1)]);
}

#[test]
fn a_deadline_that_only_one_machine_meets_decides() {
    let machines = [machine(1e6, 1.0, 1.0, 0.999), machine(1e9, 9.0, 99.0, 0.6)];
    let mut one = work(0);
    one.deadline = 10.0;
    let front = plan(&machines, &[one], SMALL, &mut StdRng::seed_from_u64(1));
    assert!(front.iter().all(|plan| plan.machine == vec![Some(1)]), "{front:?}");
}

#[test]
fn what_does_not_fit_waits() {
    let machines = [machine(1e8, 1.0, 10.0, 0.9)];
    let works: Vec<Work> = (0..6).map(work).collect();
    let front = plan(&machines, &works, SMALL, &mut StdRng::seed_from_u64(1));
    assert!(front.iter().all(|plan| plan.machine.iter().flatten().count() == 4));
    assert!(
        plan(&[], &works, SMALL, &mut StdRng::seed_from_u64(1))
            .iter()
            .all(|plan| plan.machine.iter().all(Option::is_none))
    );
}

prop_compose! {
    fn machines()(list in prop::collection::vec((0u32..4, 0u64..6, 1u32..5), 0..8)) -> Vec<Machine> {
        list.into_iter().map(|(slots, memory, speed)| Machine { slots, memory: memory << 29, ..machine(f64::from(speed) * 1e8, 1.0, 10.0, 0.9) }).collect()
    }
}

proptest! {
    /// For any tasks and machines: no machine is overcommitted, no two replicas share a machine, no task
    /// goes to a machine that it must avoid, and no task waits while there is room for it.
    #[test]
    fn nothing_is_ever_over_committed(machines in machines(), groups in prop::collection::vec((0u32..4, 1u64..4, 0usize..8), 0..20), seed: u64) {
        let works: Vec<Work> = groups.iter().map(|(group, memory, avoid)| Work { memory: memory << 29, avoid: vec![*avoid], ..work(*group) }).collect();
        let mut placements: Vec<Vec<Option<usize>>> = plan(&machines, &works, Settings { population: 8, generations: 4 }, &mut StdRng::seed_from_u64(seed))
            .into_iter().map(|plan| plan.machine).collect();
        placements.push(quick(&machines, &works, Prefer::Balanced));
        for placed in placements {
            let on = |at: usize| works.iter().zip(&placed).filter(move |(_, machine)| **machine == Some(at)).map(|(work, _)| work);
            for (at, machine) in machines.iter().enumerate() {
                prop_assert!(on(at).count() as u32 <= machine.slots);
                prop_assert!(on(at).map(|work| work.memory).sum::<u64>() <= machine.memory);
                prop_assert!(on(at).map(|work| work.disk).sum::<u64>() <= machine.disk);
                let mut groups: Vec<u32> = on(at).map(|work| work.group).collect();
                let before = groups.len();
                groups.sort_unstable();
                groups.dedup();
                prop_assert_eq!(groups.len(), before);
                prop_assert!(on(at).all(|work| !work.avoid.contains(&at)));
            }
            for (work, _) in works.iter().zip(&placed).filter(|(_, machine)| machine.is_none()) {
                let has_room = |at: usize| {
                    let machine = &machines[at];
                    (on(at).count() as u32) < machine.slots && on(at).map(|w| w.memory).sum::<u64>() + work.memory <= machine.memory
                        && on(at).all(|w| w.group != work.group) && !work.avoid.contains(&at)
                };
                prop_assert!(!(0..machines.len()).any(has_room), "{:?} waits though there is room", work);
            }
        }
    }
}
