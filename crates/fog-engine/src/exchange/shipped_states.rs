//! States of hosted tasks that are sealed for their requesters, so that another device can continue.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fog_grid::{Message, WorkerState};
use fog_runtime::{Checkpoint, Key};
use fog_store::{BlobFile, ContentRow, StoreError};
use fog_types::{JobId, TaskId};

use crate::context::Context;
use crate::disk_room::{DiskRoom, RoomUse};
use crate::exchange::sealed_state::seal_stored;
use crate::exchange::{Exchange, ExchangeEvent};
use crate::message::EngineMessage;
use crate::tasks::checkpoints::checkpoint_path;

/// Shortest interval between two shipped states of a running task; a state is always shipped when the task
/// stops.
const SHIP: Duration = Duration::from_secs(20);
/// Number of shipped states that are kept per task: the newest, and the previous one, which may be in
/// transfer.
const SHIPPED_KEPT: u32 = 2;

impl Exchange {
    /// Handles a stored checkpoint of a hosted task: the requester gets a copy, so that another device can
    /// continue if this one leaves.
    pub(crate) fn host_saved(&mut self, ctx: &mut Context, task: TaskId, units: u64) {
        let room = ctx.room_for(RoomUse::Work);
        let (path, key, to) = (checkpoint_path(ctx.store.folder(), task), ctx.key, ctx.to_self.clone());
        let Some(hosted) = self.hosted.get_mut(&task.job) else { return };
        // A slow link finishes the current state first; a newer one would replace it.
        let is_fetched = hosted.shipped.as_ref().is_some_and(|(_, in_use)| Arc::strong_count(in_use) > 1);
        let is_due = hosted.standing == WorkerState::Paused
            || (!is_fetched && hosted.last_ship.is_none_or(|last| ctx.since(last) >= SHIP));
        let (Some(net), Some(key), true) = (&ctx.net, key, is_due && !hosted.is_sealing) else { return };
        hosted.last_ship = Some(ctx.now());
        hosted.is_sealing = true;
        let (folder, secret) = (ctx.store.folder().to_owned(), ctx.secret);
        net.spawn_blocking(move || {
            let file = ship(&path, &folder, &key, &secret, &room);
            let _ = to.blocking_send(EngineMessage::Exchange(Box::new(ExchangeEvent::Shipped {
                job: task.job,
                units,
                file,
            })));
        });
    }

    pub(crate) fn shipped(
        &mut self,
        ctx: &mut Context,
        job: JobId,
        units: u64,
        file: Result<(BlobFile, ContentRow), String>,
    ) -> Result<(), StoreError> {
        if let Some(hosted) = self.hosted.get_mut(&job) {
            hosted.is_sealing = false;
        }
        let (file, row) = match file {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(error, "a state was not shipped");
                return Ok(());
            }
        };
        // The state of a finished task is not wanted.
        if !self.hosted.contains_key(&job) {
            return Ok(());
        }
        let (now, cap) = (ctx.clock.unix(), ctx.settings.storage_cap());
        let blob = ctx.store.add_blob(file, cap, now)?;
        ctx.store.put_content(&row)?;
        ctx.store.ship_state(job, blob, SHIPPED_KEPT)?;
        if let (Some(hosted), Some(content)) = (self.hosted.get_mut(&job), crate::exchange::content_of(&row))
        {
            hosted.shipped = Some((blob, Arc::default()));
            let (to, lease) = (hosted.requester, hosted.lease);
            ctx.say(to, Message::Saved { lease, units, content });
        }
        Ok(())
    }
}

/// Prepares a checkpoint for another device: opens it piece by piece and seals it under a key that can be
/// shared.
pub(crate) fn ship(
    path: &Path,
    folder: &Path,
    key: &Key,
    secret: &[u8; 32],
    room: &DiskRoom,
) -> Result<(BlobFile, ContentRow), String> {
    seal_stored(|| Checkpoint::open(path, Some(key)).map_err(|e| e.to_string()), folder, secret, Some(room))
}
