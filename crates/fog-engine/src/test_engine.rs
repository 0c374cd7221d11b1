//! An engine for tests that has no threads and no network, and is driven by hand.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::sync::Arc;

use fog_grid::{Content, ContentId, ContentKey, Relation};
use fog_runtime::WorkerProgram;
use fog_store::{BlobFile, Blobs, NewJob};
use fog_types::job::{GridOptions, JobFile, Map};
use fog_types::{BlobId, ByteCount, NodeId};
use tokio::sync::broadcast;

use self::prelude::*;
use crate::clock::tests::Fake;
use crate::directory::Peer;

pub(crate) struct TestEngine {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<Fake>,
    pub(crate) inbox: mpsc::Receiver<EngineMessage>,
    folder: tempfile::TempDir,
}

pub(crate) fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

pub(crate) fn content(n: u8, size: u64) -> Content {
    Content { id: ContentId([n; 32]), blob: BlobId([n; 32]), size, key: ContentKey([n; 32]) }
}

pub(crate) fn test_engine() -> TestEngine {
    let folder = tempfile::tempdir().unwrap();
    // The key file keeps the keychain from being used.
    std::fs::write(folder.path().join("checkpoint.key"), rand::random::<[u8; 32]>()).unwrap();
    let mut device = TestEngine::in_folder(folder, Fake::new());
    // The disk of the machine that runs the tests may be nearly full.
    device.engine.set_settings([("disk_free_min".to_owned(), 0.1.into())].into()).unwrap();
    device
}

impl TestEngine {
    fn in_folder(folder: tempfile::TempDir, clock: Arc<Fake>) -> Self {
        let store = Store::open(folder.path()).unwrap();
        let config = EngineConfig {
            data_folder: folder.path().to_owned(),
            worker: WorkerProgram::Process { path: "false".into(), args: Vec::new() },
            examples: None,
            device: None,
            network: Default::default(),
            chat: Default::default(),
        };
        let (to_self, inbox) = mpsc::channel(1024);
        let (events, _) = broadcast::channel(64);
        let engine = Engine::new(config, store, Clock::with(clock.clone()), to_self, events).unwrap();
        Self { engine, clock, inbox, folder }
    }

    /// Kills the engine and starts another one in the same folder. What was not committed is lost.
    pub(crate) fn restarted(self) -> Self {
        let Self { engine, clock, folder, inbox } = self;
        drop((engine, inbox));
        Self::in_folder(folder, clock)
    }
}

impl Engine {
    pub(crate) fn set_settings(
        &mut self,
        changes: std::collections::BTreeMap<String, Value>,
    ) -> Result<Reply, ApiError> {
        let done = self.duty.set_settings(&mut self.ctx, changes);
        self.settle();
        done
    }

    /// Carries out a command that is answered at once.
    pub(crate) fn call(&mut self, command: Command) -> Result<Reply, ApiError> {
        let (answer, mut answered) = tokio::sync::oneshot::channel();
        self.command(command, answer);
        self.settle();
        self.drain();
        answered.try_recv().expect("this command is answered later")
    }
}

impl TestEngine {
    pub(crate) fn call(&mut self, command: Command) -> Result<Reply, ApiError> {
        self.engine.call(command)
    }

    /// Does what is due now, like the event loop. What stays due would keep the processor busy.
    pub(crate) fn do_what_is_due(&mut self) {
        for _ in 0..8 {
            let (at, why) = self.engine.poll_timeout();
            if at > self.engine.ctx.now() {
                return self.engine.follow_up();
            }
            self.engine.turn(|engine| engine.handle_timeout(why));
            self.engine.follow_up();
        }
        panic!("{:?} stays due", self.engine.poll_timeout());
    }

    /// Creates a job with this number of tasks; a job for other devices has a wish.
    pub(crate) fn job(
        &mut self,
        tasks: i64,
        grid: Option<GridOptions>,
        change: impl FnOnce(&mut JobFile),
    ) -> JobId {
        let module =
            BlobFile::copy(self.engine.ctx.store.folder(), &b"module"[..], ByteCount::mib(1)).unwrap();
        let module = self
            .engine
            .ctx
            .store
            .add_blob(module, ByteCount::mib(100), self.engine.ctx.clock.unix())
            .unwrap();
        let blobs = Blobs { module, stdin: None, inputs: Default::default(), items: Vec::new() };
        let map = if tasks == 1 { Map::One } else { Map::Range { from: 0, to: tasks } };
        let mut file = JobFile { map, ..JobFile::for_module("job", "m.wasm") };
        change(&mut file);
        let new = NewJob { file, blobs, owner: "me".to_owned(), grid, now: self.engine.ctx.clock.unix() };
        let id = self.engine.ctx.store.insert_job(&new).unwrap();
        if grid.is_some() {
            self.engine.exchange.sync_requester(&mut self.engine.ctx).unwrap();
        }
        id
    }

    /// Adds a peer that shares a network with this device.
    pub(crate) fn meets(&mut self, node: NodeId) {
        self.engine
            .ctx
            .directory
            .peers
            .insert(node, Peer { relation: Some(Relation::Lan), ..Peer::default() });
    }
}

/// Types that tests of the engine use.
pub(crate) mod prelude {
    pub(crate) use crate::clock::Clock;
    pub(crate) use crate::duty::SNOOZE_KEY;
    pub(crate) use crate::event_loop::Engine;
    pub(crate) use crate::handle::EngineConfig;
    pub(crate) use fog_api::{ApiError, Command, Reply};
    pub(crate) use fog_store::Store;
    pub(crate) use fog_types::{JobId, Percent, TaskId, UnixMillis, WorkUnits};
    pub(crate) use serde_json::Value;
    pub(crate) use tokio::sync::{mpsc, oneshot};

    pub(crate) use crate::message::EngineMessage;
    pub(crate) use crate::tasks::estimates::EstimateEvent;
}
