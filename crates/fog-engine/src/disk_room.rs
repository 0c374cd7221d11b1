//! Requests for room on the disk, from everything that writes files in the data folder beside the loop.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fog_runtime::ArtifactRoom;
use fog_store::{Holds, Reservation, StoreError};
use fog_types::ByteCount;
use tokio::sync::{mpsc, oneshot};

use crate::context::Context;
use crate::message::EngineMessage;

/// Interval at which a waiting request looks whether the engine ends.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Purpose of the requested room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoomUse {
    /// Files that the owner submits, and results and states of own tasks that other devices run.
    Owner,
    /// Results and other files of work of this device, which leave as much of the disk free as the settings
    /// say.
    Work,
    /// A checkpoint. When the engine ends, room is kept for last ones.
    Checkpoint,
}

/// A request for room, answered by the loop.
#[derive(Debug)]
pub(crate) struct RoomRequest {
    /// Bytes on disk.
    bytes: u64,
    purpose: RoomUse,
    reply: oneshot::Sender<Result<Reservation, StoreError>>,
}

/// Handle for requesting room from the loop.
#[derive(Debug, Clone)]
pub(crate) struct DiskRoom {
    to: mpsc::Sender<EngineMessage>,
    holds: Holds,
    purpose: RoomUse,
}

impl DiskRoom {
    /// Returns a reservation of nothing, to be extended.
    pub(crate) fn none(&self) -> Reservation {
        self.holds.unchecked(0)
    }

    /// Requests room for `bytes` on the disk, and waits for the answer of the loop.
    ///
    /// # Errors
    /// [`StoreError::Full`] and [`StoreError::DiskLow`] when there is no room.
    pub(crate) async fn ask(&self, bytes: u64) -> Result<Reservation, StoreError> {
        let (reply, answer) = oneshot::channel();
        let request = EngineMessage::Room(RoomRequest { bytes, purpose: self.purpose, reply });
        let mut asked = std::pin::pin!(async {
            self.to.send(request).await.ok()?;
            answer.await.ok()
        });
        loop {
            if self.holds.is_ending() {
                return self.at_the_end(bytes);
            }
            if let Ok(answer) = tokio::time::timeout(LOOK_EVERY, &mut asked).await {
                return answer.unwrap_or_else(|| self.at_the_end(bytes));
            }
        }
    }

    fn at_the_end(&self, bytes: u64) -> Result<Reservation, StoreError> {
        match self.purpose {
            RoomUse::Checkpoint => self.holds.reserve_last(bytes),
            RoomUse::Owner | RoomUse::Work => Err(StoreError::Damaged("the engine stops".to_owned())),
        }
    }

    /// Notes that a checkpoint was deleted to make room; when the engine ends, nobody measures it.
    pub(crate) fn note_freed(&self, bytes: u64) {
        self.holds.add_last(bytes);
    }

    /// Requests room as [`DiskRoom::ask`] does, and blocks this thread. Works without the timers of a
    /// runtime, which may be shut down meanwhile.
    ///
    /// # Errors
    /// As [`DiskRoom::ask`].
    pub(crate) fn ask_blocking(&self, bytes: u64) -> Result<Reservation, StoreError> {
        let (reply, answer) = oneshot::channel();
        let asked = self
            .to
            .blocking_send(EngineMessage::Room(RoomRequest { bytes, purpose: self.purpose, reply }))
            .is_ok();
        let answer = if asked { answer.blocking_recv().ok() } else { None };
        answer.unwrap_or_else(|| self.at_the_end(bytes))
    }

    /// Extends a reservation to `wanted` bytes, and by up to `ahead` more if they fit, as each request may
    /// have to remove rows.
    ///
    /// # Errors
    /// As [`DiskRoom::ask`].
    pub(crate) async fn extend(
        &self,
        room: &mut Reservation,
        wanted: u64,
        ahead: u64,
    ) -> Result<(), StoreError> {
        let lacking = wanted.saturating_sub(room.bytes());
        if lacking == 0 {
            return Ok(());
        }
        let more = match self.ask(lacking.saturating_add(ahead)).await {
            Err(error) if ahead > 0 && is_no_room(&error) => self.ask(lacking).await,
            other => other,
        };
        room.absorb(more?);
        Ok(())
    }

    /// Extends as [`DiskRoom::extend`] does, and blocks as [`DiskRoom::ask_blocking`] does.
    ///
    /// # Errors
    /// As [`DiskRoom::ask`].
    pub(crate) fn extend_blocking(
        &self,
        room: &mut Reservation,
        wanted: u64,
        ahead: u64,
    ) -> Result<(), StoreError> {
        let lacking = wanted.saturating_sub(room.bytes());
        if lacking == 0 {
            return Ok(());
        }
        let more = match self.ask_blocking(lacking.saturating_add(ahead)) {
            Err(error) if ahead > 0 && is_no_room(&error) => self.ask_blocking(lacking),
            other => other,
        };
        room.absorb(more?);
        Ok(())
    }
}

#[cfg(test)]
impl DiskRoom {
    /// Returns a handle whose requests are all granted.
    pub(crate) fn unlimited(holds: Holds) -> Self {
        let (room, mut requests) = Self::answered_by_test(holds.clone());
        std::thread::spawn(move || {
            while let Some(request) = requests.blocking_recv() {
                request.answer(|bytes| Ok(holds.unchecked(bytes)));
            }
        });
        room
    }

    /// Returns a handle and the requests made with it; the channel ends with the last handle.
    pub(crate) fn answered_by_test(holds: Holds) -> (Self, mpsc::Receiver<RoomRequest>) {
        let (to, mut from) = mpsc::channel(4);
        let (pass_on, requests) = mpsc::channel(4);
        std::thread::spawn(move || {
            while let Some(message) = from.blocking_recv() {
                if let EngineMessage::Room(request) = message {
                    let _ = pass_on.blocking_send(request);
                }
            }
        });
        (Self { to, holds, purpose: RoomUse::Work }, requests)
    }
}

#[cfg(test)]
impl RoomRequest {
    pub(crate) fn answer(self, with: impl FnOnce(u64) -> Result<Reservation, StoreError>) {
        let _ = self.reply.send(with(self.bytes));
    }
}

/// Whether an error says that there is no room on the disk, which may change.
pub(crate) fn is_no_room(error: &StoreError) -> bool {
    matches!(error, StoreError::Full { .. } | StoreError::DiskLow { .. })
}

/// Room for one compiled module, held until this is dropped.
pub(crate) struct CompiledRoom {
    room: DiskRoom,
    path: PathBuf,
    answer: Mutex<Option<Result<Reservation, StoreError>>>,
}

impl CompiledRoom {
    pub(crate) fn new(room: DiskRoom, artifact: PathBuf) -> Self {
        Self { room, path: artifact, answer: Mutex::new(None) }
    }

    /// Returns the error if there was no room.
    pub(crate) fn refusal(self) -> Option<StoreError> {
        self.answer.into_inner().unwrap_or_else(PoisonError::into_inner)?.err()
    }
}

impl ArtifactRoom for CompiledRoom {
    fn reserve(&self, bytes: u64) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async move {
            let answer =
                self.room.ask(fog_types::on_disk(bytes)).await.map(|room| room.of_file(self.path.clone()));
            let said = answer.as_ref().map(drop).map_err(ToString::to_string);
            *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            said
        })
    }
}

impl Context {
    /// Returns a handle for requesting room.
    pub(crate) fn room_for(&self, purpose: RoomUse) -> DiskRoom {
        DiskRoom { to: self.to_self.clone(), holds: self.store.holds(), purpose }
    }

    pub(crate) fn answer_room(&mut self, request: RoomRequest) {
        let RoomRequest { bytes, purpose, reply } = request;
        let found = match purpose {
            RoomUse::Work | RoomUse::Checkpoint => self.reserve_for_work(bytes),
            RoomUse::Owner => self.store.reserve(bytes, self.settings.storage_cap(), self.clock.unix()),
        };
        // Whoever asked may not wait any more; the reservation is given back then.
        let _ = reply.send(found);
    }

    fn reserve_for_work(&mut self, bytes: u64) -> Result<Reservation, StoreError> {
        let most = self.most_for_work()?;
        self.store.reserve(bytes, most.cap, self.clock.unix()).map_err(|error| most.explain(error))
    }

    /// Keeps as much room for last checkpoints as the storage setting has, and half of the disk's free space at
    /// most. Nobody gets room from the loop any more.
    pub(crate) fn end_room(&mut self, wanted: u64) {
        let (cap, now) = (self.settings.storage_cap(), self.clock.unix());
        let mut left = || -> Result<u64, StoreError> {
            let most = self
                .store
                .disk_use()?
                .room(cap.0)
                .min(fog_probes::disk_free(self.store.folder()).map_or(u64::MAX, |free| free / 2));
            match self.store.reserve(most.min(wanted), cap, now) {
                Ok(room) => Ok(room.bytes()),
                // Some of what can be given up is in use.
                Err(StoreError::Full { .. }) => Ok(cap.0.saturating_sub(self.store.disk_use()?.counted())),
                Err(error) => Err(error),
            }
        };
        let left = left().unwrap_or_else(|error| {
            tracing::warn!(%error, "there is no room for last checkpoints");
            0
        });
        self.store.holds().end(left, cap);
    }

    /// Returns the cap for files of work. They may not bring the free disk space below the minimum of the
    /// settings: the device would pause, and wait for room that its own work takes.
    pub(crate) fn most_for_work(&self) -> Result<MostForWork, StoreError> {
        let (cap, kept) = (self.settings.storage_cap(), self.settings.disk_free_min());
        // The level at which a paused device goes on: the database takes some room as well.
        let kept = kept / 10 * 11;
        let Some(free) = fog_probes::disk_free(self.store.folder()) else {
            return Ok(MostForWork { cap, low: None });
        };
        // Reserved room is not written yet, so the disk does not know of it.
        let lies = self.store.disk_use()?.counted().saturating_sub(self.store.holds().unwritten());
        let most = ByteCount(lies.saturating_add(free).saturating_sub(kept));
        Ok(if most < cap {
            MostForWork { cap: most, low: Some((ByteCount(free), ByteCount(kept))) }
        } else {
            MostForWork { cap, low: None }
        })
    }
}

/// Most bytes that may lie in the data folder after files of work are written.
pub(crate) struct MostForWork {
    pub(crate) cap: ByteCount,
    /// Free space of the disk and the part of it that stays free, if that sets the cap.
    low: Option<(ByteCount, ByteCount)>,
}

impl MostForWork {
    /// Makes an error about this cap name what sets it.
    pub(crate) fn explain(&self, error: StoreError) -> StoreError {
        match (error, self.low) {
            (StoreError::Full { wanted, .. }, Some((free, kept))) => {
                StoreError::DiskLow { wanted, free, kept }
            }
            (error, _) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::Engine;
    use crate::test_engine::test_engine;

    fn answer(engine: &mut Engine, bytes: u64, purpose: RoomUse) -> Result<Reservation, StoreError> {
        let (reply, mut answer) = oneshot::channel();
        engine.ctx.answer_room(RoomRequest { bytes, purpose, reply });
        answer.try_recv().unwrap()
    }

    /// A device whose result fills the disk would pause and wait for itself.
    #[test]
    fn work_leaves_the_disk_as_free_as_the_settings_say() {
        let mut device = test_engine();
        let engine = &mut device.engine;
        let free = fog_probes::disk_free(engine.ctx.store.folder()).unwrap();
        let keep = |engine: &mut Engine, bytes: u64| {
            let gigabytes = (bytes as f64 / 1e9).clamp(0.1, 2000.0);
            engine.set_settings([("disk_free_min".to_owned(), gigabytes.into())].into()).unwrap();
        };
        keep(engine, free / 2);
        let room = answer(engine, 1 << 20, RoomUse::Work).unwrap();
        keep(engine, free + (1 << 30));
        let refused = answer(engine, 1 << 20, RoomUse::Work).unwrap_err();
        assert!(matches!(refused, StoreError::DiskLow { wanted, .. } if wanted.0 == 1 << 20), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("1.0 MiB") && text.contains("disk_free_min"), "{text}");
        assert!(answer(engine, 1 << 20, RoomUse::Checkpoint).is_err(), "checkpoints are work");
        assert!(
            answer(engine, 1 << 20, RoomUse::Owner).is_ok(),
            "the owner's files are for the owner to weigh"
        );
        assert_eq!(engine.exchange.capacity(&engine.ctx).disk, 0, "no work of others is taken");
        drop(room);
        keep(engine, free / 2);
        let cap = engine.ctx.settings.storage_cap().0;
        assert!(matches!(
            answer(engine, cap + 1, RoomUse::Work),
            Err(StoreError::Full { .. } | StoreError::DiskLow { .. })
        ));
    }

    /// The last checkpoint of a task is written although the loop answers nobody any more, but not beyond the
    /// storage setting.
    #[tokio::test]
    async fn at_the_end_only_checkpoints_are_written() {
        let device = test_engine();
        let (work, checkpoint) =
            (device.engine.ctx.room_for(RoomUse::Work), device.engine.ctx.room_for(RoomUse::Checkpoint));
        let waiting = tokio::spawn({
            let checkpoint = checkpoint.clone();
            async move { checkpoint.ask(4096).await }
        });
        tokio::time::sleep(LOOK_EVERY).await;
        assert!(!waiting.is_finished(), "the loop may answer yet");
        device.engine.ctx.store.holds().end(10_000, ByteCount(20_000));
        assert_eq!(waiting.await.unwrap().unwrap().bytes(), 4096);
        assert!(work.ask(4096).await.is_err());
        assert!(checkpoint.ask(4096).await.is_ok());
        assert!(
            matches!(checkpoint.ask(4096).await, Err(StoreError::Full { .. })),
            "the rest is 1,808 bytes"
        );
    }
}
