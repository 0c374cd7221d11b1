//! Results of tasks at other devices: fetching and checking them.

use std::collections::BTreeMap;

use fog_grid::{Content, Evidence, LeaseId, MAX_LIST, Signed, TaskResult, Terms};
use fog_store::{JobRow, StoreError};
use fog_types::{BlobId, ByteCount, NodeId, on_disk};

use crate::context::Context;
use crate::disk_room::RoomUse;
use crate::exchange::content;
use crate::exchange::{Exchange, ExchangeEvent, NotReturned, Returned, Transfer, Waiting};
use crate::message::EngineMessage;

/// Most bytes of standard output that are read to check a result; a job may print less.
const MAX_STDOUT: u64 = 1 << 32;

/// Terms of payment of a job.
pub(crate) fn terms_of(job: &JobRow) -> Terms {
    let wish = job.grid.unwrap_or_default();
    Terms { price_tenths: wish.service.price_tenths(), has_bonus: wish.bonus }
}

impl Exchange {
    pub(crate) fn fetch_result(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        node: NodeId,
        result: TaskResult,
    ) {
        if ctx.is_rationed(node) {
            // The worker repeats its message.
            return self.requester.handle_not_fetched(lease, ctx.now_ms());
        }
        if let Some(list) = result.list {
            return self.fetch_list(ctx, lease, node, list, result);
        }
        if let Err(problem) = self.has_room_for(ctx, &result) {
            self.requester.handle_not_fetched(lease, ctx.now_ms());
            if let Some(task) = self.requester.task_of(lease) {
                self.not_stored_yet(ctx, task, &problem);
            }
            return;
        }
        // The network was left a moment ago: the worker repeats its message when the network is back.
        let Some(net) = &ctx.net else { return self.requester.handle_not_fetched(lease, ctx.now_ms()) };
        let (transport, fetches, folder, to) = (
            net.as_transport(),
            self.fetches(ctx, RoomUse::Owner),
            ctx.store.folder().to_owned(),
            ctx.to_self.clone(),
        );
        let signed_hash = self
            .lent
            .get(&lease)
            .and_then(|lent| lent.signed_result.as_ref())
            .map(Signed::hash)
            .unwrap_or_default();
        let waiting =
            Waiting { result: result.clone(), signed_hash, files: Vec::new(), transfer: Transfer::default() };
        self.waiting.insert(lease, waiting);
        let wanted: Vec<Content> = result.contents().copied().collect();
        let transfer = net.spawn(async move {
            let fetch_all = async {
                let mut files = Vec::new();
                for content in result.contents() {
                    let (file, _) = content::fetch(&transport, &fetches, &[node], content, &folder)
                        .await
                        .map_err(NotReturned::Unreachable)?;
                    files.push(file);
                }
                let stdout = files.first().map(|file| file.path().to_owned()).unwrap_or_default();
                let read =
                    tokio::task::spawn_blocking(move || content::read_whole(&stdout, MAX_STDOUT)).await;
                let bytes = read
                    .map_err(|e| NotReturned::Unreachable(e.to_string()))?
                    .map_err(NotReturned::Unreachable)?;
                let listed = result
                    .outputs
                    .iter()
                    .map(|(path, content)| (path.as_str(), blake3::Hash::from_bytes(content.blob.0)));
                let hash = fog_runtime::result_hash(0, result.units, &bytes, listed).to_hex().to_string();
                let is_right = hash == result.hash;
                if is_right {
                    Ok(Returned { files, hash })
                } else {
                    Err(NotReturned::Wrong(
                        "the files do not make the result they are said to make".to_owned(),
                    ))
                }
            };
            let returned = content::in_time(&wanted, fetch_all).await.unwrap_or(Err(NotReturned::TooSlow));
            // A send fails only when the engine has stopped; the worker repeats its message.
            let _ = to
                .send(EngineMessage::Exchange(Box::new(ExchangeEvent::ResultFetched(lease, returned))))
                .await;
        });
        if let Some(waiting) = self.waiting.get_mut(&lease) {
            waiting.transfer = Transfer::new(transfer);
        }
    }

    /// Fetches the list of a result's files first, because there are many of them.
    fn fetch_list(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        node: NodeId,
        list: Content,
        result: TaskResult,
    ) {
        // The network was left a moment ago: the worker repeats its message when the network is back.
        let Some(net) = &ctx.net else { return self.requester.handle_not_fetched(lease, ctx.now_ms()) };
        let (transport, fetches, folder, to) = (
            net.as_transport(),
            self.fetches(ctx, RoomUse::Owner),
            ctx.store.folder().to_owned(),
            ctx.to_self.clone(),
        );
        let waiting = Waiting {
            result: result.clone(),
            signed_hash: [0; 32],
            files: Vec::new(),
            transfer: Transfer::default(),
        };
        self.waiting.insert(lease, waiting);
        let transfer = net.spawn(async move {
            let fetched = content::fetch(&transport, &fetches, &[node], &list, &folder).await;
            let read = match fetched {
                Ok((file, _)) => tokio::task::spawn_blocking(move || {
                    let bytes =
                        content::read_whole(file.path(), MAX_LIST).map_err(NotReturned::Unreachable)?;
                    result.with_list(&bytes).map(Box::new).map_err(NotReturned::Wrong)
                })
                .await
                .unwrap_or_else(|error| Err(NotReturned::Unreachable(error.to_string()))),
                Err(problem) => Err(NotReturned::Unreachable(problem)),
            };
            let _ = to.send(EngineMessage::Exchange(Box::new(ExchangeEvent::Listed(lease, read)))).await;
        });
        if let Some(waiting) = self.waiting.get_mut(&lease) {
            waiting.transfer = Transfer::new(transfer);
        }
    }

    /// Handles the fetched list of a result's files, or its failure. The files are fetched if the list can
    /// be right.
    pub(crate) fn listed_files(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        listed: Result<Box<TaskResult>, NotReturned>,
    ) -> Result<(), StoreError> {
        if self.waiting.remove(&lease).is_none() {
            return Ok(());
        }
        let (Some(task), Some(node)) = (self.requester.task_of(lease), self.requester.node_of(lease)) else {
            return Ok(());
        };
        let limits = ctx.store.job(task.job)?.file.limits;
        match listed.and_then(|result| {
            result
                .check_against(&limits)
                .map(|()| result)
                .map_err(|problem| NotReturned::Wrong(problem.to_owned()))
        }) {
            Ok(result) => {
                self.fetch_result(ctx, lease, node, *result);
                Ok(())
            }
            Err(not) => self.returned(ctx, lease, Err(not)),
        }
    }

    pub(crate) fn returned(
        &mut self,
        ctx: &mut Context,
        lease: LeaseId,
        returned: Result<Returned, NotReturned>,
    ) -> Result<(), StoreError> {
        let now = ctx.now_ms();
        let checked = match returned {
            Ok(Returned { files, hash }) => {
                let Some(waiting) = self.waiting.get_mut(&lease) else { return Ok(()) };
                waiting.files = files;
                let result = waiting.result.clone();
                if let Some(node) = self.requester.node_of(lease)
                    && self.must_prove(ctx, lease, node, &result, &hash)?
                {
                    return Ok(());
                }
                Ok(hash)
            }
            Err(NotReturned::Unreachable(problem)) => {
                tracing::debug!(%lease, problem, "a result could not be fetched yet");
                self.waiting.remove(&lease);
                self.requester.handle_not_fetched(lease, now);
                return Ok(());
            }
            Err(NotReturned::TooSlow) => {
                tracing::debug!(%lease, "a result comes too slowly");
                self.waiting.remove(&lease);
                self.requester.handle_too_slow(lease, now);
                return Ok(());
            }
            Err(NotReturned::Wrong(problem)) => {
                self.waiting.remove(&lease);
                if let Some(node) = self.requester.node_of(lease) {
                    ctx.judge(node, Evidence::saw_invalid);
                }
                Err(problem)
            }
        };
        self.checked(ctx, lease, checked);
        Ok(())
    }

    /// Handles the check of a fetched result by itself; the requester decides with the other results
    /// whether it is accepted.
    pub(crate) fn checked(&mut self, ctx: &mut Context, lease: LeaseId, checked: Result<String, String>) {
        let now = ctx.now_ms();
        self.requester.handle_checked(lease, checked, |node| ctx.directory.evidence(node), now);
    }

    /// Checks that the files of a result would find room. A result without room is not fetched, since
    /// repeated fetches would use up the data limit.
    pub(crate) fn has_room_for(&self, ctx: &Context, result: &TaskResult) -> Result<(), StoreError> {
        let cap = ctx.settings.storage_cap();
        let room = ctx.store.disk_use()?.room(cap.0);
        let mut new: BTreeMap<BlobId, u64> =
            result.contents().map(|content| (content.blob, on_disk(content.size))).collect();
        let sum =
            |new: &BTreeMap<BlobId, u64>| new.values().fold(0u64, |sum, size| sum.saturating_add(*size));
        if sum(&new) <= room {
            return Ok(());
        }
        // Files that are stored already take no more room.
        new.retain(|blob, _| ctx.store.blob(*blob).is_err());
        let wanted = sum(&new);
        if wanted <= room { Ok(()) } else { Err(StoreError::Full { wanted: ByteCount(wanted), cap }) }
    }
}
