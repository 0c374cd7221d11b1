//! Scenarios for tests: several engines over a network in memory, each driven like by its event loop.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::time::{Duration, Instant};

use fog_api::{NetworkCommand, NetworkView};
use fog_eligibility::Readings;
use fog_transport::memory::MemoryNetwork;
use fog_types::NodeId;

use crate::test_engine::prelude::*;
use crate::test_engine::{TestEngine, test_engine};

/// Milliseconds of the devices' clocks between two looks at what is due. The machine that runs the tests takes
/// less.
const STEP_MS: u64 = 20;
/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(60);

/// Devices that can reach each other once they have joined a network.
pub(crate) struct Town {
    pub(crate) network: MemoryNetwork,
    pub(crate) devices: Vec<TestEngine>,
}

impl Town {
    pub(crate) fn of(count: usize) -> Self {
        let network = MemoryNetwork::default();
        let device = |_| {
            let mut device = test_engine();
            device.engine.ctx.in_memory = Some(network.clone());
            device
        };
        Self { devices: (0..count).map(device).collect(), network }
    }

    /// Kills a device and starts it again.
    pub(crate) fn restart(&mut self, who: usize) {
        let mut device = self.devices.remove(who).restarted();
        device.engine.ctx.in_memory = Some(self.network.clone());
        self.devices.insert(who, device);
    }

    pub(crate) fn id(&self, who: usize) -> NodeId {
        self.devices[who].engine.ctx.me().unwrap()
    }

    /// Carries out a command that is answered at once.
    pub(crate) fn ask(&mut self, who: usize, command: Command) -> Result<Reply, ApiError> {
        let (answer, mut answered) = oneshot::channel();
        self.devices[who].engine.turn(|engine| engine.command(command, answer));
        answered.try_recv().expect("this command is answered later")
    }

    pub(crate) fn set(&mut self, who: usize, key: &str, value: impl Into<Value>) {
        let changes = [(key.to_owned(), value.into())].into();
        self.ask(who, Command::Settings(fog_api::SettingsCommand::Set { changes })).unwrap();
    }

    pub(crate) fn join(&mut self, who: usize, what: &str) -> Result<Reply, ApiError> {
        self.ask(who, Command::Network(NetworkCommand::Join { what: what.to_owned() }))
    }

    pub(crate) fn view(&self, who: usize) -> NetworkView {
        self.devices[who].engine.network_view()
    }

    /// Network that a device shares with another one; empty when there is none.
    pub(crate) fn shared(&self, who: usize, with: usize) -> String {
        let id = self.id(with).to_string();
        self.view(who)
            .peers
            .into_iter()
            .find(|peer| peer.id == id)
            .map(|peer| peer.network)
            .unwrap_or_default()
    }

    /// Lets a device lend two places, whatever its owner does.
    pub(crate) fn lends(&mut self, who: usize) {
        for key in ["contributing", "run_while_in_use", "run_on_battery"] {
            self.set(who, key, true);
        }
        self.set(who, "duty_in_use", 100.0);
        self.set(who, "unknown_idle", "allow");
        self.set(who, "cores", 2.0);
        let engine = &mut self.devices[who].engine;
        let now = engine.ctx.clock.moment();
        engine.ctx.rules.handle_readings(
            Readings { ram_available: Some(16 << 30), idle: Some(1e6), ..Readings::default() },
            now,
        );
    }

    /// Carries out a command whose answer has to wait for something.
    pub(crate) async fn ask_and_wait(&mut self, who: usize, command: Command) -> Result<Reply, ApiError> {
        let (answer, mut answered) = oneshot::channel();
        self.devices[who].engine.turn(|engine| engine.command(command, answer));
        let mut reply = None;
        self.until("it is answered", |_| {
            reply = answered.try_recv().ok();
            reply.is_some()
        })
        .await;
        reply.unwrap()
    }

    /// Lets some time pass, and every device handle what has come and what is due, and dial the others.
    fn step(&mut self) {
        let ids: Vec<NodeId> = (0..self.devices.len()).map(|who| self.id(who)).collect();
        for (who, device) in self.devices.iter_mut().enumerate() {
            while let Ok(message) = device.inbox.try_recv() {
                // The sensors of the machine that runs the tests say nothing about these devices.
                if !matches!(message, EngineMessage::Sample(_) | EngineMessage::Input) {
                    device.engine.turn(|engine| engine.handle(message));
                }
            }
            device.clock.pass(STEP_MS);
            device.do_what_is_due();
            for other in ids.iter().enumerate().filter(|(other, _)| *other != who).map(|(_, id)| *id) {
                let is_there = device.engine.ctx.directory.peers.contains_key(&other);
                if let Some(net) = device.engine.ctx.net.as_ref().filter(|_| !is_there) {
                    net.transport.dial(other, Vec::new());
                }
            }
        }
    }

    /// Runs the devices until a condition holds.
    pub(crate) async fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        loop {
            self.step();
            if holds(self) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Runs the devices for a while.
    pub(crate) async fn pass(&mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.step();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
