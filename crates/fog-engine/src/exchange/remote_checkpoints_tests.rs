//! Tests of states that other devices claim to have saved.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_grid::{Evidence, LeaseId};
use fog_runtime::{CheckpointWriter, Generation};
use fog_types::NodeId;
use fog_types::job::GridOptions;

use crate::exchange::remote_checkpoints::look_at;
use crate::exchange::sealed_state::{StateFile, seal_stored};
use crate::exchange::{ExchangeEvent, NotReturned, content_of};
use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, node, test_engine};

/// Builds a state file as it arrives from another device.
fn file(device: &TestEngine, bytes: &[u8]) -> StateFile {
    let (file, row) =
        seal_stored(|| Ok(bytes), device.engine.ctx.store.folder(), &device.engine.ctx.secret, None).unwrap();
    StateFile { file, content: content_of(&row).unwrap() }
}

/// Encodes a number with seven bits per byte.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Builds the state of a task after `units`, as a worker saves it.
fn state(device: &TestEngine, task: TaskId, units: u64) -> Vec<u8> {
    let job = device.engine.ctx.store.job(task.job).unwrap();
    let launch = device.engine.exchange.launch_elsewhere(&device.engine.ctx, task, &job).unwrap();
    let header = launch.place.header(&launch.spec);
    // Version, cost table, series and number; one image without bytes; no globals, no frames; units left,
    // units granted and running time; no tables.
    let numbers =
        [header.state_version.into(), header.cost_version.into(), 7, 0, 1, 0, 0, 0, 0, 0, units, 1, 0];
    let state = numbers.into_iter().flat_map(varint).collect();
    let header = fog_runtime::CheckpointHeader { units, ..header };
    let path = device.engine.ctx.store.folder().join("a state");
    CheckpointWriter::new(path.clone(), None)
        .write(&Generation { header, stdout: vec![], stderr: vec![], state, files: None }, true)
        .unwrap();
    let bytes = std::fs::read(&path).unwrap();
    fog_runtime::Checkpoint::remove(&path);
    bytes
}

/// Delivers a state that a device claims to have saved, with its file.
async fn comes(
    device: &mut TestEngine,
    lease: LeaseId,
    task: TaskId,
    from: NodeId,
    said: u64,
    bytes: &[u8],
) -> Result<u64, NotReturned> {
    let job = device.engine.ctx.store.job(task.job).unwrap();
    let claim = device.engine.exchange.claim_of(&device.engine.ctx, task, &job, said).unwrap();
    let state = look_at(file(device, bytes), claim).await;
    let found = match &state {
        Ok((units, _)) => Ok(*units),
        Err(NotReturned::Wrong(problem)) => Err(NotReturned::Wrong(problem.clone())),
        Err(_) => panic!("it is here"),
    };
    device
        .engine
        .exchange
        .handle_event(&mut device.engine.ctx, ExchangeEvent::State { lease, task, node: from, state })
        .unwrap();
    if let Ok(units) = &found {
        // The network's thread seals it this way.
        let sealed =
            seal_stored(|| Ok(bytes), device.engine.ctx.store.folder(), &device.engine.ctx.secret, None);
        device.engine.exchange.state_sealed(&mut device.engine.ctx, task, from, *units, sealed).unwrap();
    }
    found
}

#[tokio::test]
async fn a_made_up_state_is_not_kept_and_costs_its_maker_the_task() {
    let mut device = test_engine();
    let wish =
        GridOptions { replicas: 1, adaptive: false, spot_checks: 0, trust: None, ..GridOptions::default() };
    let id = device.job(3, Some(wish), |_| {});
    let task = TaskId { job: id, index: 1 };
    let most = device.engine.ctx.store.job(id).unwrap().file.limits.units.0;
    let honest = device.lend(1, task, node(1));
    let early = state(&device, task, 1000);
    assert_eq!(comes(&mut device, honest, task, node(1), 1000, &early).await.unwrap(), 1000);
    let other = state(&device, TaskId { job: id, index: 2 }, 5000);
    let beyond = state(&device, task, most + 1);
    let mut changed = state(&device, task, 5000);
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let made_up: [(u64, &[u8]); 5] = [
        (most, b"forty-one bytes that are nothing at all"),
        (most, &early),
        (5000, &other),
        (most, &beyond),
        (5000, &changed),
    ];
    for (n, (said, bytes)) in made_up.into_iter().enumerate() {
        let liar = node(10 + n as u8);
        let lease = device.lend(10 + n as u8, task, liar);
        let found = comes(&mut device, lease, task, liar, said, bytes).await;
        assert!(matches!(found, Err(NotReturned::Wrong(_))), "{n}: {found:?}");
        let kept: Vec<(u64, NodeId)> = device
            .engine
            .ctx
            .store
            .kept_states(id)
            .unwrap()
            .into_iter()
            .map(|(_, units, node, _)| (units, node))
            .collect();
        assert_eq!(kept, [(1000, node(1))], "{n}");
        assert_eq!(device.engine.exchange.requester.checkpoint(task).map(|(units, _)| units), Some(1000));
        let evidence: Evidence = device.engine.ctx.directory.evidence(liar);
        assert!(evidence.invalid > 0.0, "{n}: it costs nothing");
        assert!(device.engine.exchange.requester.lease(lease, liar).is_none(), "{n}: it has the task still");
    }
    // Real work of other devices counts.
    let later = state(&device, task, 2000);
    assert_eq!(comes(&mut device, honest, task, node(1), 2000, &later).await.unwrap(), 2000);
    assert_eq!(device.engine.ctx.store.kept_states(id).unwrap()[0].1, 2000);
    // The file grew after it was announced.
    let longer = state(&device, task, 3000);
    assert_eq!(comes(&mut device, honest, task, node(1), 2500, &longer).await.unwrap(), 3000);
    assert_eq!(device.engine.exchange.requester.checkpoint(task).map(|(units, _)| units), Some(3000));
    assert_eq!(device.engine.ctx.directory.evidence(node(1)).invalid, 0.0);
}

/// A device that cannot use the given state reports where it begins, not the claim of the state's maker.
#[test]
fn a_hosted_task_says_from_where_it_begins() {
    let mut device = test_engine();
    let id = device.job(1, None, |_| {});
    let (lease, deadline) =
        (LeaseId([7; 16]).to_string(), UnixMillis(device.engine.ctx.clock.unix().0 + 86_400_000));
    let offer = fog_types::BlobId([0; 32]).to_string();
    device
        .engine
        .ctx
        .store
        .host(&fog_store::HostedRow {
            job: id,
            lease,
            requester: node(2),
            offer,
            deadline,
            message: None,
            has_receipt: false,
        })
        .unwrap();
    device.engine.exchange.restore_hosted(&mut device.engine.ctx).unwrap();
    device.engine.exchange.hosted.get_mut(&id).unwrap().units = 1_000_000_000;
    device.engine.exchange.host_began(&mut device.engine.ctx, id, 5);
    device.engine.exchange.host_progress(&mut device.engine.ctx, id, None, 9, None);
    assert_eq!(device.engine.exchange.hosted[&id].units, 9);
    // A pause does not reduce the units.
    device.engine.exchange.host_progress(
        &mut device.engine.ctx,
        id,
        Some(fog_grid::WorkerState::Paused),
        0,
        None,
    );
    assert_eq!(device.engine.exchange.hosted[&id].units, 9);
}
