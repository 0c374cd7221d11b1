//! Tests that estimates obey the owner's settings like any job.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_eligibility::Readings;

use crate::disk_room::DiskRoom;
use crate::tasks::submit::{self, CopyPlace};
use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, test_engine};

const MIB: u64 = 1 << 20;

impl TestEngine {
    /// Requests an estimate of a job with this memory limit in MiB.
    fn wants_estimate(&mut self, memory: u64, now: bool) -> oneshot::Receiver<Result<Reply, ApiError>> {
        let (answer, answered) = oneshot::channel();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("m.wasm"), b"\0asm\x01\0\0\0").unwrap();
        let text = format!(
            "version = 1\nname = \"large\"\nmodule = \"m.wasm\"\n[limits]\nmemory = \"{memory}MiB\"\ndisk = \"1MiB\"\n"
        );
        let prepared = {
            let place = CopyPlace {
                room: DiskRoom::unlimited(self.engine.ctx.store.holds()),
                ..self.engine.ctx.copy_place()
            };
            std::thread::scope(|scope| {
                scope
                    .spawn(|| submit::prepare(&text, folder.path(), &place, &|| true).unwrap())
                    .join()
                    .unwrap()
            })
        };
        self.engine.tasks.handle_estimate_event(
            &mut self.engine.ctx,
            EstimateEvent::Prepared(crate::tasks::estimates::Wanted::new(prepared, now, answer)),
        );
        answered
    }

    fn turn(&mut self) {
        self.engine.tasks.set_duties(&self.engine.ctx);
        self.engine.tasks.fill_estimates(&mut self.engine.ctx);
    }

    fn set_memory(&mut self, available: u64) {
        let now = self.engine.ctx.clock.moment();
        self.engine.ctx.rules.handle_readings(
            Readings { ram_available: Some(available), idle: Some(1e6), ..Readings::default() },
            now,
        );
    }
}

#[tokio::test]
async fn an_estimate_waits_while_the_device_is_off_and_has_its_memory_lent() {
    let mut device = test_engine();
    device
        .engine
        .set_settings(
            [("memory_share".to_owned(), 50.into()), ("unknown_idle".to_owned(), "allow".into())].into(),
        )
        .unwrap();
    device.engine.set_settings([("contributing".to_owned(), false.into())].into()).unwrap();
    device.set_memory(1024 * MIB);
    let mut first = device.wants_estimate(100, false);
    let second = device.wants_estimate(400, false);
    device.turn();
    assert!(
        device.engine.tasks.estimates.is_busy() && device.engine.tasks.memory_used(&device.engine.ctx) == 0,
        "it begins although the device is off"
    );
    device.engine.set_settings([("contributing".to_owned(), true.into())].into()).unwrap();
    device.set_memory(1024 * MIB);
    assert!(
        device.engine.ctx.rules.verdict().duty > Percent::ZERO,
        "{:?}",
        device.engine.ctx.rules.verdict()
    );
    device.turn();
    let used = device.engine.tasks.memory_used(&device.engine.ctx);
    assert!(used >= 100 * MIB, "what it holds is in no sum: {used}");
    // Only one estimate runs at a time.
    device.turn();
    assert_eq!(device.engine.tasks.memory_used(&device.engine.ctx), used);
    assert!(first.try_recv().is_err());
    device.engine.tasks.handle_estimate_event(&mut device.engine.ctx, EstimateEvent::Ended);
    // Without room for the second estimate the status says so, and memory that tasks give back is kept for
    // it.
    device.set_memory(600 * MIB);
    device.turn();
    let wait = device.engine.tasks.estimates.wait.clone().expect("it runs without memory");
    assert!(wait.name == "large" && wait.wanted >= 400 * MIB && wait.spare <= 300 * MIB, "{wait:?}");
    assert!(device.engine.tasks.memory_used(&device.engine.ctx) >= 400 * MIB);
    assert_eq!(device.engine.status().unwrap().estimate_wait, Some(wait));
    // The front end is gone.
    drop(second);
    device.turn();
    assert!(
        !device.engine.tasks.estimates.is_busy()
            && device.engine.tasks.memory_used(&device.engine.ctx) == 0
            && device.engine.tasks.estimates.wait.is_none()
    );
}

#[tokio::test]
async fn a_job_that_this_device_cannot_run_is_not_estimated() {
    let mut device = test_engine();
    device.engine.set_settings([("memory_share".to_owned(), 5.into())].into()).unwrap();
    let total = fog_probes::ram_total().unwrap();
    let mut answered = device.wants_estimate((total / MIB).min(4000), false);
    if total / 20 < 4000 * MIB {
        let refused = answered.try_recv().unwrap().unwrap_err();
        assert!(
            refused.kind == fog_types::ErrorKind::LimitReached
                && refused.message.contains("this device lends"),
            "{refused:?}"
        );
        assert!(!device.engine.tasks.estimates.is_busy());
    }
}

#[tokio::test]
async fn an_estimate_that_is_asked_for_now_waits_for_no_rule_that_gives_way() {
    let mut device = test_engine();
    device.engine.set_settings([("contributing".to_owned(), true.into())].into()).unwrap();
    let now = device.engine.ctx.clock.moment();
    device.engine.ctx.rules.handle_readings(
        Readings { ram_available: Some(16 << 30), idle: Some(0.0), ..Readings::default() },
        now,
    );
    assert_eq!(device.engine.ctx.rules.verdict().duty, Percent::ZERO);
    let waits = device.wants_estimate(100, false);
    device.turn();
    assert_eq!(
        device.engine.tasks.memory_used(&device.engine.ctx),
        0,
        "it runs while its owner uses the device"
    );
    drop(waits);
    let _asked = device.wants_estimate(100, true);
    device.engine.set_settings([("contributing".to_owned(), false.into())].into()).unwrap();
    device.turn();
    assert_eq!(device.engine.tasks.memory_used(&device.engine.ctx), 0, "it runs although the device is off");
    device.engine.set_settings([("contributing".to_owned(), true.into())].into()).unwrap();
    device.turn();
    assert!(
        device.engine.tasks.memory_used(&device.engine.ctx) > 0,
        "{:?}",
        device.engine.ctx.rules.verdict().for_requested()
    );
}
