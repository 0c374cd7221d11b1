//! States of tasks at other devices, kept here so that another one can go on.

use fog_grid::Content;
use fog_store::{BlobFile, ContentRow, StoreError};
use fog_types::{BlobId, NodeId, TaskId};

use super::{Core, Message as CoreMessage};
use crate::grid::state::{StateFile, seal_stored};
use crate::grid::{NetNews, Transfer, content, content_of};

impl Core {
    pub(super) fn fetch_state(&mut self, task: TaskId, node: NodeId, units: u64, content: Content) -> Result<(), StoreError> {
        let Some(net) = &self.grid.net else { return Ok(()) };
        let job = self.store.job(task.job)?;
        // One at a time: a slow way that began anew with each state would never bring one.
        if Self::must_be_shown(&job) || self.grid.states.contains_key(&task) || self.is_rationed(node) {
            return Ok(());
        }
        let most = job.file.limits.state_size().0.min(self.settings.storage_cap().0 / 2);
        if content.size > most {
            tracing::debug!(%node, size = content.size, "a state that is larger than it may be is not fetched");
            return Ok(());
        }
        let (transport, fetches, folder, to) = (net.as_transport(), self.fetches(net), self.store.folder().to_owned(), self.to_self.clone());
        let transfer = net.spawn(async move {
            let file = content::fetch_state(&transport, &fetches, node, &content, &folder).await;
            let _ = to.send(CoreMessage::Net(Box::new(NetNews::State { task, node, units, file }))).await;
        });
        // Ends when the task is not wanted any more.
        self.grid.states.insert(task, Transfer::new(transfer));
        Ok(())
    }

    pub(super) fn state_arrived(&mut self, task: TaskId, node: NodeId, units: u64, file: Result<StateFile, String>) -> Result<(), StoreError> {
        self.grid.states.remove(&task);
        let file = match file {
            Ok(file) => file,
            Err(error) => {
                tracing::debug!(%task, error, "a state did not arrive");
                return Ok(());
            }
        };
        if !self.grid.requester.has(task) {
            return Ok(());
        }
        // Sealed anew with a key of this device, from which whoever goes on from it gets it.
        let (folder, secret, to) = (self.store.folder().to_owned(), self.grid.secret, self.to_self.clone());
        if let Some(net) = &self.grid.net {
            net.spawn_blocking(move || {
                let sealed = seal_stored(|| file.open(), &folder, &secret);
                let _ = to.blocking_send(CoreMessage::Net(Box::new(NetNews::Kept { task, node, units, sealed })));
            });
        }
        Ok(())
    }

    pub(super) fn state_sealed(&mut self, task: TaskId, node: NodeId, units: u64, sealed: Result<(BlobFile, ContentRow), String>) -> Result<(), StoreError> {
        let (file, row) = match sealed {
            Ok(sealed) if self.grid.requester.has(task) => sealed,
            Ok(_) => return Ok(()),
            Err(error) => {
                tracing::warn!(%task, error, "a state is not kept");
                return Ok(());
            }
        };
        let blob = self.store.add_blob(file, self.settings.storage_cap(), self.clock.unix())?;
        self.store.keep_state(task, units, node, blob)?;
        self.store.put_content(&row)?;
        self.know_state(task, units, node, &row);
        Ok(())
    }

    /// The file of a state was damaged on this device, which came out when somebody fetched it: it is as if there were none.
    /// Its task begins anew, and the attempt that was to go on from it says why it ended.
    pub(super) fn state_damaged(&mut self, blob: BlobId) -> Result<(), StoreError> {
        for (task, units) in self.store.drop_state(blob)? {
            tracing::warn!(%task, units, "the state of a task that was kept here is damaged; it begins anew");
            let why = format!("its state at {units} work units, which is kept on this device, was damaged on the disk; the task begins anew");
            self.grid.requester.handle_state_lost(task, &why, self.grid.now());
            self.announce_job(task.job);
        }
        self.lend()
    }

    /// A row with its key: that of a file which is sealed on this device is not stored, but made anew.
    pub(super) fn unlocked(&self, row: ContentRow) -> ContentRow {
        let key = row.open.map_or(row.key, |open| self.content_key(open).0);
        ContentRow { key, ..row }
    }

    fn know_state(&mut self, task: TaskId, units: u64, node: NodeId, row: &ContentRow) {
        if let Some(content) = content_of(row) {
            self.grid.requester.has_checkpoint(task, units, node, content);
        }
    }
}
