//! Transactions: one for everything that an input of the engine changes, with a savepoint for each change in
//! it.
//!
//! Without [`Store::begin`] each method is a transaction of its own. Between `begin` and [`Store::commit`] it
//! is a savepoint: an error undoes that method alone, and nothing reaches the disk before the commit. Files
//! that no row needs any more are deleted after the commit only.

use std::fs::File;
use std::ops::Deref;
use std::path::PathBuf;

use fog_types::BlobId;
use rusqlite::Connection;

use crate::{DATABASE, Store, StoreError};

/// A change within a transaction, or a transaction of its own outside one. Dropping it undoes it.
pub(crate) struct Savepoint<'a> {
    db: &'a Connection,
    is_open: bool,
}

impl<'a> Savepoint<'a> {
    pub(crate) fn new(db: &'a Connection) -> rusqlite::Result<Self> {
        db.prepare_cached("SAVEPOINT change")?.execute([])?;
        Ok(Self { db, is_open: true })
    }

    /// Keeps the change; outside a transaction it is on the disk then.
    pub(crate) fn commit(mut self) -> rusqlite::Result<()> {
        self.db.prepare_cached("RELEASE change")?.execute([])?;
        self.is_open = false;
        Ok(())
    }
}

impl Deref for Savepoint<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.db
    }
}

impl Drop for Savepoint<'_> {
    fn drop(&mut self) {
        // SQLite may have undone everything by itself, as on a full disk.
        if self.is_open && !self.db.is_autocommit() {
            // An error leaves the transaction to its own end.
            let _ = self.db.execute_batch("ROLLBACK TO change; RELEASE change");
        }
    }
}

/// Changes of a transaction that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Nothing was changed.
    None,
    /// All changes are of the kind that a crash of the system may undo, such as the progress of a task.
    Relaxed,
    /// At least one change is on the disk.
    Durable,
}

/// A transaction that is open.
#[derive(Debug)]
pub(crate) struct Open {
    /// Number of changed rows at its beginning.
    before: u64,
    /// Number of rows that were changed since and need not be synced.
    pub(crate) relaxed: u64,
    /// Files to delete after the commit.
    deletions: Vec<Deletion>,
    /// Whether changes before it were lost, so that it must not be committed.
    is_lost: bool,
}

/// Files that no row needs any more.
#[derive(Debug)]
pub(crate) struct Deletion {
    /// Blobs that are marked for deletion.
    pub(crate) ids: Vec<BlobId>,
    pub(crate) others: Vec<PathBuf>,
    /// List of the blobs, for the next start if this one does not get so far.
    pub(crate) list: Option<tempfile::TempPath>,
}

impl Store {
    /// Begins a transaction for all changes until [`Store::commit`] or [`Store::roll_back`].
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer; each change is a transaction of its own then.
    pub fn begin(&mut self) -> Result<(), StoreError> {
        if self.open.is_some() {
            return Ok(());
        }
        // The commit syncs by itself, where that is needed: the level cannot be changed within a transaction.
        if self.wal.is_some() {
            self.db.prepare_cached("PRAGMA synchronous = NORMAL")?.execute([])?;
        }
        self.db.prepare_cached("BEGIN")?.execute([])?;
        self.open =
            Some(Open { before: self.db.total_changes(), relaxed: 0, deletions: Vec::new(), is_lost: false });
        Ok(())
    }

    /// Ends the transaction. All of its changes are on the disk when this returns, but for those of which
    /// the methods say that they are not synced. Returns which there were.
    ///
    /// # Errors
    /// [`StoreError`] when the changes cannot be stored, as on a full disk. None of them is then.
    pub fn commit(&mut self) -> Result<Changes, StoreError> {
        let Some(open) = self.open.take() else { return Ok(Changes::None) };
        let changed = self.db.total_changes().saturating_sub(open.before);
        let changes = match changed {
            0 => Changes::None,
            _ if changed <= open.relaxed => Changes::Relaxed,
            _ => Changes::Durable,
        };
        let ended = if open.is_lost { Err(StoreError::NotCommitted) } else { self.end(changes) };
        if let Err(error) = ended {
            self.undo(open);
            return Err(error);
        }
        self.sync_each();
        for Deletion { ids, others, list } in open.deletions {
            self.holds.delete(&self.folder, ids, others, list);
        }
        Ok(changes)
    }

    fn end(&mut self, changes: Changes) -> Result<(), StoreError> {
        if self.fails_commits && changes != Changes::None {
            return Err(StoreError::NotCommitted);
        }
        if self.db.is_autocommit() {
            // An error within the transaction has ended it.
            return Err(StoreError::NotCommitted);
        }
        self.db.prepare_cached("COMMIT")?.execute([])?;
        if let Some(wal) = self.wal.as_ref().filter(|_| changes == Changes::Durable) {
            let at = |source| StoreError::File { path: self.folder.join(DATABASE), source };
            wal.sync_data().map_err(at)?;
        }
        Ok(())
    }

    /// Stores what was changed so far, and runs `work` outside the transaction, which goes on afterwards.
    pub(crate) fn alone<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let is_open = self.open.is_some();
        let stored = self.commit();
        let done = stored.and_then(|_| work(&self.db));
        if is_open {
            self.begin()?;
            if let (Some(open), Err(_)) = (&mut self.open, &done) {
                open.is_lost = true;
            }
        }
        done
    }

    /// Undoes all changes since [`Store::begin`].
    pub fn roll_back(&mut self) {
        if let Some(open) = self.open.take() {
            self.undo(open);
        }
    }

    fn undo(&mut self, open: Open) {
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction cannot be undone");
        }
        self.sync_each();
        let mut table = self.holds.table();
        for id in open.deletions.iter().flat_map(|deletion| &deletion.ids) {
            table.spare(*id);
        }
        drop(table);
        // What was noted beside the rows is read anew from them.
        self.staged.clear();
        self.is_sweeping = true;
        if let Err(error) = self.find_ending() {
            tracing::error!(%error, "ended jobs cannot be looked for");
        }
    }

    /// Lets SQLite sync each transaction by itself again.
    fn sync_each(&self) {
        if self.wal.is_some()
            && let Err(error) = self.db.execute_batch("PRAGMA synchronous = FULL")
        {
            tracing::error!(%error, "the database does not answer");
        }
    }

    /// Runs `work` in a transaction or savepoint that is not synced by itself, for changes that nobody relies
    /// on yet. A power cut may lose it together with later ones, but damages nothing.
    pub(crate) fn relaxed<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let before = self.db.total_changes();
        let is_alone = self.open.is_none();
        if is_alone {
            self.db.execute_batch("PRAGMA synchronous = NORMAL")?;
        }
        let done = Savepoint::new(&self.db).map_err(StoreError::from).and_then(|savepoint| {
            let found = work(&savepoint)?;
            savepoint.commit()?;
            Ok(found)
        });
        if is_alone {
            self.db.execute_batch("PRAGMA synchronous = FULL")?;
        }
        if let Some(open) = &mut self.open {
            open.relaxed += self.db.total_changes().saturating_sub(before);
        }
        done
    }

    /// Deletes files that no row needs any more, once it is certain that none does.
    pub(crate) fn delete_files(&mut self, deletion: Deletion) {
        match &mut self.open {
            Some(open) => open.deletions.push(deletion),
            None => self.holds.delete(&self.folder, deletion.ids, deletion.others, deletion.list),
        }
    }

    /// Makes every commit of changes fail, or lets them through again; for tests.
    #[doc(hidden)]
    pub fn fail_commits(&mut self, fail: bool) {
        self.fails_commits = fail;
    }
}

/// Opens the write-ahead log of a database, to sync it; `None` if the database has none.
pub(crate) fn open_wal(db: &Connection, database: &std::path::Path) -> Option<File> {
    let mode: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).ok()?;
    if mode != "wal" {
        return None;
    }
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    // It exists while a connection is open. Without it SQLite syncs by itself.
    File::options().read(true).write(true).open(path).ok()
}

#[cfg(test)]
mod tests {
    use fog_types::{BlobId, UnixMillis};
    use serde_json::Value;

    use crate::tests::{CAP, store};
    use crate::{BlobFile, Store, StoreError};

    fn set(store: &mut Store, key: &str) {
        store.set_settings(&[(key.to_owned(), Some(Value::Bool(true)))]).unwrap();
    }

    fn keys(store: &Store) -> Vec<String> {
        store.settings().unwrap().into_keys().collect()
    }

    fn blob(store: &mut Store, folder: &std::path::Path) -> BlobId {
        let file = BlobFile::copy(folder, &b"bytes"[..], CAP).unwrap();
        store.add_blob(file, CAP, UnixMillis(1)).unwrap()
    }

    #[test]
    fn a_transaction_is_stored_whole_or_not_at_all() {
        let (folder, mut store) = store();
        store.begin().unwrap();
        set(&mut store, "a");
        set(&mut store, "b");
        assert_eq!(keys(&store), ["a", "b"], "a handler reads what it has written");
        assert!(
            crate::Reader::open(folder.path()).unwrap().settings().unwrap().is_empty(),
            "others read it before it is stored"
        );
        store.roll_back();
        assert!(keys(&store).is_empty());
        store.begin().unwrap();
        set(&mut store, "c");
        store.fail_commits(true);
        assert!(matches!(store.commit(), Err(StoreError::NotCommitted)));
        store.fail_commits(false);
        assert!(keys(&store).is_empty());
        store.begin().unwrap();
        set(&mut store, "d");
        store.commit().unwrap();
        assert_eq!(
            crate::Reader::open(folder.path()).unwrap().settings().unwrap().into_keys().collect::<Vec<_>>(),
            ["d"]
        );
    }

    #[test]
    fn a_change_that_fails_is_undone_alone() {
        let (_folder, mut store) = store();
        store.begin().unwrap();
        set(&mut store, "a");
        let failed = store.relaxed(|db| {
            db.execute("INSERT INTO settings (key, value) VALUES ('b', 'true')", [])?;
            Err::<(), _>(StoreError::NotCommitted)
        });
        assert!(failed.is_err());
        set(&mut store, "c");
        store.commit().unwrap();
        assert_eq!(keys(&store), ["a", "c"]);
    }

    /// A file that was deleted before the commit would be missing after a crash.
    #[test]
    fn a_file_is_deleted_after_the_commit_only() {
        let (folder, mut store) = store();
        let id = blob(&mut store, folder.path());
        let path = store.blob(id).unwrap();
        store.begin().unwrap();
        store.forget_blob(id).unwrap();
        assert!(store.blob(id).is_err() && path.exists());
        store.roll_back();
        assert_eq!(store.blob(id).unwrap(), path, "its row is there again");
        store.begin().unwrap();
        store.forget_blob(id).unwrap();
        store.commit().unwrap();
        assert!(store.blob(id).is_err() && !path.exists());
    }

    /// Deleting all chat cleans up the file, which SQLite does outside transactions only.
    #[test]
    fn a_step_that_needs_no_transaction_around_it_keeps_what_came_before() {
        let (folder, mut store) = store();
        store.begin().unwrap();
        set(&mut store, "a");
        for step in crate::WipeStep::ALL {
            store.wipe_chat(step).unwrap();
        }
        assert!(crate::Reader::open(folder.path()).unwrap().settings().unwrap().contains_key("a"));
        set(&mut store, "b");
        store.roll_back();
        assert_eq!(keys(&store), ["a"]);
        store.begin().unwrap();
        set(&mut store, "c");
        store.fail_commits(true);
        assert!(store.wipe_chat(crate::WipeStep::Done).is_err());
        store.fail_commits(false);
        set(&mut store, "d");
        assert!(store.commit().is_err(), "half of it would be stored");
        assert_eq!(keys(&store), ["a"]);
    }

    /// On a full disk SQLite may end a transaction by itself; what follows in it must not be stored alone.
    #[test]
    fn a_transaction_that_sqlite_has_ended_is_not_committed() {
        let (_folder, mut store) = store();
        store.begin().unwrap();
        set(&mut store, "a");
        store.db.execute_batch("ROLLBACK").unwrap();
        assert!(matches!(store.commit(), Err(StoreError::NotCommitted)));
        assert!(keys(&store).is_empty());
    }

    /// Changes that others rely on are synced: at the commit, or by the level of SQLite outside a transaction.
    #[test]
    fn the_level_of_syncing_is_full_outside_a_transaction() {
        let (_folder, mut store) = store();
        assert!(store.wal.is_some(), "this file system has no write-ahead log");
        let level =
            |store: &Store| store.db.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0)).unwrap();
        for fail in [false, true] {
            store.begin().unwrap();
            assert_eq!(level(&store), 1);
            set(&mut store, if fail { "a" } else { "b" });
            store.fail_commits(fail);
            assert_eq!(store.commit().is_err(), fail);
            assert_eq!(level(&store), 2);
        }
    }
}
