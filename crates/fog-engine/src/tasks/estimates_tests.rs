//! Tests that estimates obey the owner's settings like any job.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_eligibility::Readings;

use crate::disk_room::DiskRoom;
use crate::tasks::submit::{self, CopyPlace};
use crate::test_engine::prelude::*;
use crate::test_engine::{Turned, turned};

const MIB: u64 = 1 << 20;

impl Turned {
    /// Requests an estimate of a job with this memory limit in MiB.
    fn wants_estimate(&mut self, memory: u64, now: bool) -> oneshot::Receiver<Result<Reply, ApiError>> {
        let (answer, answered) = oneshot::channel();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("m.wasm"), b"\0asm\x01\0\0\0").unwrap();
        let text = format!("version = 1\nname = \"large\"\nmodule = \"m.wasm\"\n[limits]\nmemory = \"{memory}MiB\"\ndisk = \"1MiB\"\n");
        let prepared = {
            let place = CopyPlace { room: DiskRoom::unlimited(self.core.ctx.store.holds()), ..self.core.ctx.copy_place() };
            std::thread::scope(|scope| scope.spawn(|| submit::prepare(&text, folder.path(), &place, &|| true).unwrap()).join().unwrap())
        };
        self.core.tasks.estimate_news(&mut self.core.ctx, EstimateNews::Prepared(crate::tasks::estimates::Wanted::new(prepared, now, answer)));
        answered
    }

    fn turn(&mut self) {
        self.core.tasks.set_duties(&self.core.ctx);
        self.core.tasks.fill_estimates(&mut self.core.ctx);
    }

    fn set_memory(&mut self, available: u64) {
        let now = self.core.ctx.clock.moment();
        self.core.ctx.rules.handle_readings(Readings { ram_available: Some(available), idle: Some(1e6), ..Readings::default() }, now);
    }
}

#[tokio::test]
async fn an_estimate_waits_while_the_device_is_off_and_has_its_memory_lent() {
    let mut turned = turned();
    turned.core.set_settings([("memory_share".to_owned(), 50.into()), ("unknown_idle".to_owned(), "allow".into())].into()).unwrap();
    turned.core.set_settings([("contributing".to_owned(), false.into())].into()).unwrap();
    turned.set_memory(1024 * MIB);
    let mut first = turned.wants_estimate(100, false);
    let second = turned.wants_estimate(400, false);
    turned.turn();
    assert!(turned.core.tasks.estimates.is_busy() && turned.core.tasks.memory_used(&turned.core.ctx) == 0, "it begins although the device is off");
    turned.core.set_settings([("contributing".to_owned(), true.into())].into()).unwrap();
    turned.set_memory(1024 * MIB);
    assert!(turned.core.ctx.rules.verdict().duty > Percent::ZERO, "{:?}", turned.core.ctx.rules.verdict());
    turned.turn();
    let used = turned.core.tasks.memory_used(&turned.core.ctx);
    assert!(used >= 100 * MIB, "what it holds is in no sum: {used}");
    // Only one estimate runs at a time.
    turned.turn();
    assert_eq!(turned.core.tasks.memory_used(&turned.core.ctx), used);
    assert!(first.try_recv().is_err());
    turned.core.tasks.estimate_news(&mut turned.core.ctx, EstimateNews::Ended);
    // Without room for the second estimate the status says so, and memory that tasks give back is kept for
    // it.
    turned.set_memory(600 * MIB);
    turned.turn();
    let wait = turned.core.tasks.estimates.wait.clone().expect("it runs without memory");
    assert!(wait.name == "large" && wait.wanted >= 400 * MIB && wait.spare <= 300 * MIB, "{wait:?}");
    assert!(turned.core.tasks.memory_used(&turned.core.ctx) >= 400 * MIB);
    assert_eq!(turned.core.status().unwrap().estimate_wait, Some(wait));
    // The front end is gone.
    drop(second);
    turned.turn();
    assert!(!turned.core.tasks.estimates.is_busy() && turned.core.tasks.memory_used(&turned.core.ctx) == 0 && turned.core.tasks.estimates.wait.is_none());
}

#[tokio::test]
async fn a_job_that_this_device_cannot_run_is_not_estimated() {
    let mut turned = turned();
    turned.core.set_settings([("memory_share".to_owned(), 5.into())].into()).unwrap();
    let total = fog_probes::ram_total().unwrap();
    let mut answered = turned.wants_estimate((total / MIB).min(4000), false);
    if total / 20 < 4000 * MIB {
        let refused = answered.try_recv().unwrap().unwrap_err();
        assert!(refused.kind == fog_types::ErrorKind::LimitReached && refused.message.contains("this device lends"), "{refused:?}");
        assert!(!turned.core.tasks.estimates.is_busy());
    }
}

#[tokio::test]
async fn an_estimate_that_is_asked_for_now_waits_for_no_rule_that_gives_way() {
    let mut turned = turned();
    turned.core.set_settings([("contributing".to_owned(), true.into())].into()).unwrap();
    let now = turned.core.ctx.clock.moment();
    turned.core.ctx.rules.handle_readings(Readings { ram_available: Some(16 << 30), idle: Some(0.0), ..Readings::default() }, now);
    assert_eq!(turned.core.ctx.rules.verdict().duty, Percent::ZERO);
    let waits = turned.wants_estimate(100, false);
    turned.turn();
    assert_eq!(turned.core.tasks.memory_used(&turned.core.ctx), 0, "it runs while its owner uses the device");
    drop(waits);
    let _asked = turned.wants_estimate(100, true);
    turned.core.set_settings([("contributing".to_owned(), false.into())].into()).unwrap();
    turned.turn();
    assert_eq!(turned.core.tasks.memory_used(&turned.core.ctx), 0, "it runs although the device is off");
    turned.core.set_settings([("contributing".to_owned(), true.into())].into()).unwrap();
    turned.turn();
    assert!(turned.core.tasks.memory_used(&turned.core.ctx) > 0, "{:?}", turned.core.ctx.rules.verdict().for_requested());
}
