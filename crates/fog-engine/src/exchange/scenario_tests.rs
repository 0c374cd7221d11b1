//! Tests of lending with several engines over a network in memory. The workers' program ends at once with a
//! failure, so that tasks come back.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::time::Duration;

use fog_api::{JobAction, JobCommand, PlacementCommand};
use fog_types::JobState;
use fog_types::job::GridOptions;

use crate::scenario::Town;
use crate::test_engine::prelude::*;

const WISH: fn() -> GridOptions = || GridOptions { replicas: 1, ..GridOptions::default() };

/// A requester and devices that lend, all in the local network.
async fn lenders(count: usize) -> Town {
    let mut town = Town::of(1 + count);
    for who in 0..=count {
        town.join(who, "lan").unwrap();
        if who > 0 {
            town.lends(who);
        }
    }
    town.until("they meet", |town| {
        (1..=count).all(|who| town.shared(0, who) == "lan" && town.shared(who, 0) == "lan")
    })
    .await;
    town
}

fn hosted(town: &Town, who: usize) -> usize {
    town.devices[who].engine.exchange.hosted_jobs()
}

fn problem(town: &Town, id: JobId) -> Option<String> {
    town.devices[0].engine.exchange.why_waiting(id).map(str::to_owned)
}

#[tokio::test]
async fn a_task_reaches_a_device_that_lends_and_a_failure_comes_back() {
    let mut town = lenders(1).await;
    let id = town.devices[0].job(1, Some(WISH()), |file| file.attempts = 1);
    town.until("it is lent", |town| hosted(town, 1) == 1).await;
    let Ok(Reply::Places(places)) = town.ask(0, Command::Placement(PlacementCommand::Places { id })) else {
        panic!("it is nowhere")
    };
    assert_eq!((places.len(), places[0].node.as_str()), (1, town.id(1).to_string().as_str()));
    // The worker's program is none: the job fails there, and its requester hears why.
    town.until("it has failed", |town| {
        town.devices[0].engine.ctx.store.job_state(id).unwrap() == JobState::Failed
    })
    .await;
    town.until("the worker has done with it", |town| hosted(town, 1) == 0).await;
    let task = town.devices[0].engine.ctx.store.task(TaskId { job: id, index: 0 }).unwrap();
    assert!(!task.problem.is_empty());
    assert!(town.devices[0].engine.ctx.store.leases().unwrap().is_empty());
    assert_eq!(town.devices[0].engine.ctx.store.credits().unwrap().reserved, 0);
}

#[tokio::test]
async fn a_job_that_is_cancelled_ends_where_it_runs() {
    let mut town = lenders(2).await;
    let id = town.devices[0].job(2, Some(WISH()), |_| {});
    town.until("it is lent", |town| hosted(town, 1) + hosted(town, 2) == 2).await;
    town.ask(0, Command::Jobs(JobCommand::Change { id, action: JobAction::Cancel })).unwrap();
    town.until("it ends there", |town| hosted(town, 1) + hosted(town, 2) == 0).await;
    assert!(town.devices[0].engine.ctx.store.leases().unwrap().is_empty());
    assert_eq!(town.devices[0].engine.ctx.store.credits().unwrap().reserved, 0);
    town.pass(Duration::from_millis(100)).await;
    assert_eq!(hosted(&town, 1) + hosted(&town, 2), 0, "it comes back");
}

#[tokio::test]
async fn a_price_beyond_the_limit_is_not_offered_and_said() {
    let mut town = lenders(1).await;
    town.set(0, "credit_limit", 0.000_001);
    let id = town.devices[0].job(1, Some(WISH()), |_| {});
    town.until("it is said", |town| {
        problem(town, id).is_some_and(|problem| problem.contains("credit_limit"))
    })
    .await;
    assert_eq!(hosted(&town, 1), 0);
    assert!(town.devices[0].engine.ctx.store.leases().unwrap().is_empty());
    assert_eq!(town.devices[0].engine.ctx.store.credits().unwrap().reserved, 0);
    town.set(0, "credit_limit", 0.0);
    town.until("it is lent", |town| hosted(town, 1) == 1).await;
    assert_eq!(problem(&town, id), None);
}

#[tokio::test]
async fn a_device_that_does_not_lend_gets_nothing() {
    let mut town = lenders(2).await;
    town.set(1, "contributing", false);
    // The others hear so.
    let off = town.id(1);
    town.until("it is heard", |town| {
        town.devices[0].engine.ctx.directory.peers.get(&off).is_some_and(|peer| peer.capacity.duty == 0)
    })
    .await;
    town.devices[0].job(1, Some(WISH()), |_| {});
    town.until("it is lent", |town| hosted(town, 2) == 1).await;
    assert_eq!(hosted(&town, 1), 0);
    // Replicas need as many devices as they are, whether those lend now or later.
    let three = GridOptions { replicas: 3, ..GridOptions::default() };
    let id = town.devices[0].job(1, Some(three), |_| {});
    town.until("it is said", |town| problem(town, id).is_some_and(|problem| problem.contains("3 devices")))
        .await;
}

#[tokio::test]
async fn a_hosted_job_outlives_a_restart_of_either_side() {
    let mut town = lenders(1).await;
    // The worker's own program never starts: the device does not work now.
    let id = town.devices[0].job(1, Some(WISH()), |_| {});
    town.until("it is lent", |town| hosted(town, 1) == 1).await;
    for who in [1, 0] {
        let network = town.network.clone();
        let device = town.devices.remove(who).restarted();
        town.devices.insert(who, device);
        town.devices[who].engine.ctx.in_memory = Some(network);
        if who == 1 {
            assert_eq!(hosted(&town, 1), 1, "it has forgotten the job");
        } else {
            assert_eq!(town.devices[0].engine.ctx.store.leases().unwrap().len(), 1);
        }
        town.until("they meet again", |town| town.shared(0, 1) == "lan" && town.shared(1, 0) == "lan").await;
    }
    town.ask(0, Command::Jobs(JobCommand::Change { id, action: JobAction::Cancel })).unwrap();
    town.until("it ends there", |town| hosted(town, 1) == 0).await;
}
