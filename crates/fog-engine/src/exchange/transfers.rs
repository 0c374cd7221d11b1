//! Running transfers and files of interrupted ones, and the room for both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use fog_grid::Content;
use fog_store::Reservation;
use fog_types::{BlobId, on_disk};
use tokio::sync::OwnedMutexGuard;

use crate::context::Context;
use crate::disk_room::{DiskRoom, RoomUse};
use crate::exchange::Exchange;

/// Prefix of the names of files with the sealed chunks of a state; an interrupted state is not continued.
pub(crate) const STATE: &str = "state-";

/// Folder of arriving files, in which interrupted transfers are continued.
pub(crate) fn folder(data_folder: &Path) -> PathBuf {
    data_folder.join("partial")
}

/// Registry of transfers. Each content is fetched by one transfer at a time, because two would write one
/// file.
#[derive(Clone, Default)]
pub(crate) struct Fetches {
    known: Arc<Mutex<Known>>,
    /// Flag that is set once a chunk has arrived.
    has_come: Arc<AtomicBool>,
    /// Handle for requesting room for what arrives.
    asked: Option<DiskRoom>,
}

#[derive(Default)]
struct Known {
    turns: BTreeMap<String, Arc<tokio::sync::Mutex<()>>>,
    /// Bytes on disk of the files that are arriving, by name.
    under_way: BTreeMap<String, u64>,
    room: Room,
}

/// Bytes on disk that arriving and interrupted files may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Bytes for all of these files.
    pub(crate) all: u64,
    /// Bytes for files of interrupted transfers.
    pub(crate) idle: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self { all: u64::MAX, idle: u64::MAX }
    }
}

/// A running transfer; the next one of the same file waits until this is dropped.
pub(crate) struct Turn {
    fetches: Fetches,
    name: String,
    pub(crate) path: PathBuf,
    /// Room for the part of the file that is there or is about to arrive. Room for all of it at once would
    /// let others take the storage with files that never come.
    room: tokio::sync::Mutex<Option<Reservation>>,
    _turn: OwnedMutexGuard<()>,
}

impl Turn {
    /// Requests room for the first `bytes` of the file.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(crate) async fn make_room_for(&self, bytes: u64) -> Result<(), String> {
        match (&self.fetches.asked, self.room.lock().await.as_mut()) {
            (Some(asked), Some(room)) => {
                asked.extend(room, on_disk(bytes), 0).await.map_err(|e| e.to_string())
            }
            _ => Ok(()),
        }
    }

    /// Notes that a chunk has arrived.
    pub(crate) fn note(&self) {
        self.fetches.has_come.store(true, Ordering::Relaxed);
    }
}

impl Fetches {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a handle of the same registry that sets `has_come` once a chunk of its transfers has
    /// arrived.
    pub(crate) fn noting(self, has_come: Arc<AtomicBool>) -> Self {
        Self { has_come, ..self }
    }

    /// Returns a handle of the same registry whose transfers request their room.
    pub(crate) fn asking(self, room: DiskRoom) -> Self {
        Self { asked: Some(room), ..self }
    }

    pub(crate) fn set_room(&self, room: Room) {
        self.known().room = room;
    }

    /// Waits for other transfers of the content, and makes room by removing the oldest interrupted files.
    pub(crate) async fn begin(
        &self,
        content: &Content,
        is_state: bool,
        data_folder: &Path,
    ) -> Result<Turn, String> {
        let name = format!("{}{}", if is_state { STATE } else { "" }, BlobId(content.id.0));
        let turn = {
            let mut known = self.known();
            // Entries of ended transfers are removed.
            known.turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            known.turns.entry(name.clone()).or_default().clone()
        };
        let turn = turn.lock_owned().await;
        let path = folder(data_folder).join(&name);
        let room = match &self.asked {
            Some(asked) => {
                let there = tokio::fs::metadata(&path).await.map_or(0, |about| on_disk(about.len()));
                Some(asked.ask(there).await.map_err(|e| e.to_string())?.of_file(path.clone()))
            }
            None => None,
        };
        self.known().under_way.insert(name.clone(), on_disk(content.size));
        let folder = folder(data_folder);
        let turn =
            Turn { fetches: self.clone(), path, name, room: tokio::sync::Mutex::new(room), _turn: turn };
        let this = self.clone();
        let made = tokio::task::spawn_blocking(move || this.make_room(&folder)).await;
        made.map_err(|e| e.to_string())?
            .map_err(|e| format!("there is no folder for files on their way: {e}"))?;
        Ok(turn)
    }

    fn make_room(&self, folder: &Path) -> std::io::Result<()> {
        fog_store::make_private_folder(folder)?;
        let mut idle: Vec<(SystemTime, String, u64)> = Vec::new();
        for entry in std::fs::read_dir(folder)?.flatten() {
            if let (Ok(name), Ok(about)) = (entry.file_name().into_string(), entry.metadata()) {
                idle.push((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), name, on_disk(about.len())));
            }
        }
        idle.sort();
        let most = {
            let known = self.known();
            idle.retain(|(_, name, _)| !known.under_way.contains_key(name));
            let coming = known.under_way.values().fold(0, |sum: u64, size| sum.saturating_add(*size));
            known.room.all.saturating_sub(coming).min(known.room.idle)
        };
        let mut left = idle.iter().fold(0, |sum: u64, (_, _, size)| sum.saturating_add(*size));
        for (_, name, size) in idle {
            if left <= most {
                break;
            }
            // A transfer may have begun to continue the file; under the lock none can begin now.
            let known = self.known();
            if !known.under_way.contains_key(&name) && std::fs::remove_file(folder.join(&name)).is_ok() {
                left -= size;
            }
        }
        Ok(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.fetches.known().under_way.remove(&self.name);
        // A file that arrived whole was moved already.
        if self.name.starts_with(STATE) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Exchange {
    /// Handle for one more transfer: interrupted files take no needed room, and at most a quarter of the
    /// storage.
    pub(crate) fn fetches(&self, ctx: &Context, purpose: RoomUse) -> Fetches {
        let fetches = self.fetching.clone();
        fetches.set_room(Room { all: self.disk_room(ctx), idle: ctx.settings.storage_cap().0 / 4 });
        fetches.asking(ctx.room_for(purpose))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use std::time::Duration;

    use fog_grid::{ContentId, ContentKey};

    use super::*;

    fn content(id: u8, size: u64) -> Content {
        Content { id: ContentId([id; 32]), blob: BlobId([id; 32]), size, key: ContentKey([9; 32]) }
    }

    /// A member offers file after file, each with a new id, and falls silent just before the end.
    #[tokio::test]
    async fn transfers_that_broke_off_do_not_add_up() {
        let data = tempfile::tempdir().unwrap();
        let fetches = Fetches::default();
        fetches.set_room(Room { all: 1000, idle: 250 });
        let bytes = || {
            std::fs::read_dir(folder(data.path()))
                .unwrap()
                .flatten()
                .map(|entry| entry.metadata().unwrap().len())
                .sum::<u64>()
        };
        let kept = fetches.begin(&content(0, 100), false, data.path()).await.unwrap();
        std::fs::write(&kept.path, [0; 95]).unwrap();
        for id in 1..50 {
            let turn = fetches.begin(&content(id, 100), false, data.path()).await.unwrap();
            std::fs::write(&turn.path, [id; 95]).unwrap();
            let old = SystemTime::now() - Duration::from_secs(1000 - u64::from(id));
            std::fs::File::open(&turn.path).unwrap().set_modified(old).unwrap();
            drop(turn);
            assert!(bytes() <= 95 + 250 + 95, "{} bytes after {id}", bytes());
        }
        assert!(kept.path.exists(), "what is being fetched stays");
        // The files that were interrupted last can be continued.
        let last = fetches.begin(&content(49, 100), false, data.path()).await.unwrap();
        assert_eq!(std::fs::metadata(&last.path).unwrap().len(), 95);
        // A running transfer leaves less room for interrupted ones.
        let large = fetches.begin(&content(77, 790), false, data.path()).await.unwrap();
        assert_eq!(bytes(), 2 * 95);
        drop((kept, last, large));
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_state_that_did_not_arrive() {
        let data = tempfile::tempdir().unwrap();
        let fetches = Fetches::default();
        let turn = fetches.begin(&content(3, 100), true, data.path()).await.unwrap();
        std::fs::write(&turn.path, [1; 50]).unwrap();
        let path = turn.path.clone();
        // The transfer was released or given up.
        drop(turn);
        assert!(!path.exists());
    }

    /// A member announces files that it never sends: room is taken by what comes, not by what is announced.
    #[tokio::test]
    async fn a_file_takes_room_as_it_arrives() {
        let data = tempfile::tempdir().unwrap();
        let mut store = fog_store::Store::open(data.path()).unwrap();
        let (room, mut asked) = DiskRoom::answered_by_test(store.holds());
        let holds = store.holds();
        let (cap, now) = (fog_types::ByteCount::mib(1), fog_types::UnixMillis(1));
        let fetches = Fetches::default().asking(room);
        let answering = async {
            while let Some(request) = asked.recv().await {
                request.answer(|bytes| store.reserve(bytes, cap, now));
            }
            store
        };
        let fetching = async move {
            let turn = fetches.begin(&content(5, 1 << 40), false, data.path()).await.unwrap();
            assert_eq!(holds.unwritten(), 0);
            turn.make_room_for(500_000).await.unwrap();
            assert_eq!(holds.unwritten(), on_disk(500_000));
            let refused = turn.make_room_for(2 << 20).await.unwrap_err();
            assert!(refused.contains("storage limit"), "{refused}");
            drop((turn, fetches));
            assert_eq!(holds.unwritten(), 0);
        };
        tokio::join!(answering, fetching);
    }
}
