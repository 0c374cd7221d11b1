//! Transfers under way, and what those that broke off left: both have their room.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use fog_grid::Content;
use fog_store::on_disk;
use fog_types::BlobId;
use tokio::sync::OwnedMutexGuard;

/// How the files begin that hold the sealed pieces of a state: nobody goes on with one that broke off.
pub(crate) const STATE: &str = "state-";

/// The folder in which files arrive, and from which transfers that broke off go on from.
pub(crate) fn folder(data_folder: &Path) -> PathBuf {
    data_folder.join("partial")
}

/// Content is fetched once at a time: two transfers would write one file.
#[derive(Clone, Default)]
pub(crate) struct Fetches {
    known: Arc<Mutex<Known>>,
    /// Set once a piece has come.
    has_come: Arc<AtomicBool>,
}

#[derive(Default)]
struct Known {
    turns: BTreeMap<String, Arc<tokio::sync::Mutex<()>>>,
    /// Bytes on disk of the files that arrive now, by name.
    under_way: BTreeMap<String, u64>,
    room: Room,
}

/// Bytes on disk of files that arrive or broke off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Of all of them.
    pub(crate) all: u64,
    /// Of those that broke off.
    pub(crate) idle: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self { all: u64::MAX, idle: u64::MAX }
    }
}

/// A transfer under way; the next one of the same file waits until it is dropped.
pub(crate) struct Turn {
    fetches: Fetches,
    name: String,
    pub(crate) path: PathBuf,
    _turn: OwnedMutexGuard<()>,
}

impl Turn {
    /// A piece has come.
    pub(crate) fn note(&self) {
        self.fetches.has_come.store(true, Ordering::Relaxed);
    }
}

impl Fetches {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same transfers; the flag is set once a piece of one that is begun here has come.
    pub(crate) fn noting(self, has_come: Arc<AtomicBool>) -> Self {
        Self { has_come, ..self }
    }

    pub(crate) fn set_room(&self, room: Room) {
        self.known().room = room;
    }

    /// Waits for its turn and makes room: what broke off longest ago goes first.
    pub(crate) async fn begin(&self, content: &Content, is_state: bool, data_folder: &Path) -> Result<Turn, String> {
        let name = format!("{}{}", if is_state { STATE } else { "" }, BlobId(content.id.0));
        let turn = {
            let mut known = self.known();
            // Those that nobody waits for any more.
            known.turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            known.turns.entry(name.clone()).or_default().clone()
        };
        let turn = turn.lock_owned().await;
        self.known().under_way.insert(name.clone(), on_disk(content.size));
        let folder = folder(data_folder);
        let turn = Turn { fetches: self.clone(), path: folder.join(&name), name, _turn: turn };
        let this = self.clone();
        let made = tokio::task::spawn_blocking(move || this.make_room(&folder)).await;
        made.map_err(|e| e.to_string())?.map_err(|e| format!("there is no folder for files on their way: {e}"))?;
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
            // Somebody may have begun to go on with it; who would begins after this.
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
        // One that arrived whole is not there any more.
        if self.name.starts_with(STATE) {
            let _ = std::fs::remove_file(&self.path);
        }
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

    /// A member offers file after file, each under another id, and falls silent just before its end.
    #[tokio::test]
    async fn transfers_that_broke_off_do_not_add_up() {
        let data = tempfile::tempdir().unwrap();
        let fetches = Fetches::default();
        fetches.set_room(Room { all: 1000, idle: 250 });
        let bytes = || std::fs::read_dir(folder(data.path())).unwrap().flatten().map(|entry| entry.metadata().unwrap().len()).sum::<u64>();
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
        // The last to break off are those that can go on.
        let last = fetches.begin(&content(49, 100), false, data.path()).await.unwrap();
        assert_eq!(std::fs::metadata(&last.path).unwrap().len(), 95);
        // What is on its way leaves less for them.
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
        // Released, or given up.
        drop(turn);
        assert!(!path.exists());
    }
}
