//! Rows of chat: sealed messages and people. Only the engine knows their contents.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension as _, params};

use crate::transaction::Savepoint;
use crate::{Store, StoreError};
use fog_types::{MessageState, UnixMillis};

/// Stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRow {
    /// Id of the message.
    pub id: i64,
    /// Id of the peer or group; empty for the room.
    pub thread: String,
    /// Whether this device wrote the message.
    pub is_mine: bool,
    /// Whether the user saw the message.
    pub is_seen: bool,
    /// Delivery state.
    pub state: MessageState,
    /// Time of the message by the clock of its author.
    pub at: UnixMillis,
    /// Id of the message in the protocol.
    pub mid: String,
    /// Author and contents, sealed.
    pub sealed: Vec<u8>,
}

/// New message to be stored.
#[derive(Debug, Clone)]
pub struct NewChat {
    /// Id of the peer or group; empty for the room.
    pub thread: String,
    /// Whether this device wrote the message.
    pub is_mine: bool,
    /// Whether the user saw the message.
    pub is_seen: bool,
    /// Delivery state.
    pub state: MessageState,
    /// Time of the message by the clock of its author.
    pub at: UnixMillis,
    /// Id of the message in the protocol; a known one is not stored again.
    pub mid: String,
    /// Author and contents, sealed.
    pub sealed: Vec<u8>,
    /// File of the message, sealed.
    pub file: Option<Vec<u8>>,
}

/// Bytes that a message counts beside its contents, for its row and index entries; bounds the number of
/// messages too.
pub const CHAT_ROW_BYTES: u64 = 5_000;

/// Maximum bytes of chat messages and their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatCaps {
    /// Maximum bytes of one thread.
    pub of_thread: u64,
    /// Maximum bytes of all threads.
    pub of_all: u64,
}

/// Returns the length to which the longest threads are cut so that all together have at most `bytes`.
fn level(threads: &[(String, u64)], bytes: u64) -> u64 {
    let mut sizes: Vec<u64> = threads.iter().map(|(_, bytes)| *bytes).collect();
    sizes.sort_unstable();
    let mut left = bytes;
    for (place, size) in sizes.iter().enumerate() {
        let share = left / (sizes.len() - place) as u64;
        if *size > share {
            return share;
        }
        left -= size;
    }
    u64::MAX
}

/// Step of deleting all chat; each is one transaction, and the first makes the rest unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WipeStep {
    /// Delete the keys and record that the rest follows.
    Keys,
    /// Delete messages and files.
    Messages,
    /// Delete people, groups and carried messages.
    People,
    /// Remove what the database file still holds of deleted pages.
    Pages,
    /// Record that nothing is left to do.
    Done,
}

impl WipeStep {
    /// All steps in order.
    pub const ALL: [Self; 5] = [Self::Keys, Self::Messages, Self::People, Self::Pages, Self::Done];
}

/// Reads a delivery state. An unknown word is an error: the database is damaged.
fn state_in(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<MessageState> {
    let word: String = row.get(column)?;
    MessageState::from_word(&word).ok_or_else(|| {
        let why = format!("message state '{word}'").into();
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why)
    })
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<ChatRow> {
    Ok(ChatRow {
        id: row.get(0)?,
        thread: row.get(1)?,
        is_mine: row.get(2)?,
        is_seen: row.get(3)?,
        state: state_in(row, 4)?,
        at: UnixMillis(row.get(5)?),
        mid: row.get(6)?,
        sealed: row.get(7)?,
    })
}

const COLUMNS: &str = "id, thread, is_mine, is_seen, state, at_ms, mid, sealed";

impl Store {
    /// Returns the sealed keys of chat, if there are any.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn chat_keys(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.db.query_row("SELECT sealed FROM chat_keys", [], |row| row.get(0)).optional()?)
    }

    /// Stores the sealed keys of chat, once.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be changed or has keys already.
    pub fn put_chat_keys(&mut self, sealed: &[u8]) -> Result<(), StoreError> {
        self.db.execute("INSERT INTO chat_keys (one, sealed) VALUES (1, ?1)", [sealed])?;
        Ok(())
    }

    /// Stores a message and returns its id; `None` if it is known already.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be changed.
    pub fn add_chat(&mut self, new: &NewChat, now: UnixMillis) -> Result<Option<i64>, StoreError> {
        let added = self.db.execute(
            "INSERT INTO chat_messages (thread, is_mine, is_seen, state, at_ms, stored_ms, mid, sealed, file)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (thread, is_mine, mid) DO NOTHING",
            params![
                new.thread,
                new.is_mine,
                new.is_seen,
                new.state.as_str(),
                new.at.0,
                now.0,
                new.mid,
                new.sealed,
                new.file
            ],
        )?;
        Ok((added > 0).then(|| self.db.last_insert_rowid()))
    }

    /// Returns at most `limit` messages of a thread, newest first; with `before`, those with smaller ids.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn chat_thread(
        &self,
        thread: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ChatRow>, StoreError> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM chat_messages WHERE thread = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3"
        ))?;
        let rows = query.query_map(params![thread, before.unwrap_or(i64::MAX), limit], row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns a message.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn chat_message(&self, id: i64) -> Result<Option<ChatRow>, StoreError> {
        Ok(self
            .db
            .query_row(&format!("SELECT {COLUMNS} FROM chat_messages WHERE id = ?1"), [id], row)
            .optional()?)
    }

    /// Returns the sealed file of a message.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn chat_file(&self, id: i64) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self
            .db
            .query_row("SELECT file FROM chat_messages WHERE id = ?1", [id], |row| {
                row.get::<_, Option<Vec<u8>>>(0)
            })
            .optional()?;
        Ok(found.flatten())
    }

    /// Returns at most 1000 threads, newest first: the number of unseen messages, and the newest message.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn chat_threads(&self) -> Result<Vec<(u32, ChatRow)>, StoreError> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS}, (SELECT count(*) FROM chat_messages u WHERE u.thread = m.thread AND u.is_seen = 0)
             FROM chat_messages m WHERE id IN (SELECT max(id) FROM chat_messages GROUP BY thread) ORDER BY id DESC LIMIT 1000"
        ))?;
        let rows = query.query_map([], |found| Ok((found.get(8)?, row(found)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns private messages of this device that are not known to have arrived, with the time at which
    /// each was stored, oldest first. Messages to the room and to groups are never confirmed.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn chat_waiting(&self) -> Result<Vec<(UnixMillis, ChatRow)>, StoreError> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT {COLUMNS}, stored_ms FROM chat_messages WHERE state IN ('queued', 'carried', 'sent') AND is_mine = 1 AND thread <> '' AND length(thread) < 32 ORDER BY id"
        ))?;
        let rows = query.query_map([], |found| Ok((UnixMillis(found.get(8)?), row(found)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Sets the delivery state of a message of this device; returns its row if that changed. A read message
    /// stays read, and a delivered one can only become read. The part of a stored id after a `#` is local
    /// to this device.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be changed.
    pub fn set_chat_state(
        &mut self,
        thread: &str,
        mid: &str,
        state: MessageState,
    ) -> Result<Option<ChatRow>, StoreError> {
        let sql = format!(
            "UPDATE chat_messages SET state = ?3 WHERE thread = ?1 AND is_mine = 1 AND state <> ?3
             AND (mid = ?2 OR substr(mid, 1, length(?2) + 1) = ?2 || '#')
             AND state <> 'read' AND (state <> 'delivered' OR ?3 = 'read') RETURNING {COLUMNS}"
        );
        Ok(self.db.query_row(&sql, params![thread, mid, state.as_str()], row).optional()?)
    }

    /// Marks a thread as seen; returns the messages that were new.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be changed.
    pub fn see_chat(&mut self, thread: &str) -> Result<Vec<ChatRow>, StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        let seen = {
            let sql = format!(
                "UPDATE chat_messages SET is_seen = 1 WHERE thread = ?1 AND is_seen = 0 RETURNING {COLUMNS}"
            );
            let mut query = transaction.prepare_cached(&sql)?;
            query.query_map([thread], row)?.collect::<Result<Vec<_>, _>>()?
        };
        transaction.commit()?;
        Ok(seen)
    }

    /// Deletes a thread; returns the number of its messages.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be changed.
    pub fn clear_chat(&mut self, thread: &str) -> Result<usize, StoreError> {
        Ok(self.db.execute("DELETE FROM chat_messages WHERE thread = ?1", [thread])?)
    }

    /// Deletes the oldest messages of threads until chat is within its caps; returns the number of deleted
    /// messages.
    ///
    /// A thread never takes more than its own cap. If all threads together take too much, they shrink in
    /// this order: first those in which this device never wrote, so that a stranger under many names
    /// displaces only strangers; then conversations and the room; last those of `marked` people. Within a
    /// kind the longest threads are cut to one common length. Each kind keeps a quarter of the whole before
    /// the next one loses anything.
    ///
    /// Every row is read, but no file.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be changed.
    pub fn cut_chats(&mut self, caps: ChatCaps, marked: &BTreeSet<String>) -> Result<usize, StoreError> {
        let threads = self.chat_sizes()?;
        let mut kinds: [Vec<(String, u64)>; 3] = Default::default();
        for (thread, bytes, is_answered) in threads {
            let kind =
                if marked.contains(&thread) { 2 } else { usize::from(is_answered || thread.is_empty()) };
            kinds[kind].push((thread, bytes));
        }
        let size =
            |kind: &[(String, u64)]| kind.iter().map(|(_, bytes)| (*bytes).min(caps.of_thread)).sum::<u64>();
        let mut over = kinds.iter().map(|kind| size(kind)).sum::<u64>().saturating_sub(caps.of_all);
        let mut gone = 0;
        for kind in &kinds {
            let size = size(kind);
            let gives = over.min(size.saturating_sub(caps.of_all / 4));
            over -= gives;
            let level = level(kind, size - gives).min(caps.of_thread);
            for (thread, _) in kind.iter().filter(|(_, bytes)| *bytes > level) {
                gone += self.cut_chat(thread, level)?;
            }
        }
        Ok(gone)
    }

    /// Returns the bytes of each thread, and whether this device wrote in it.
    fn chat_sizes(&self) -> Result<Vec<(String, u64, bool)>, StoreError> {
        let mut query =
            self.db.prepare_cached("SELECT thread, sum(length(sealed) + coalesce(length(file), 0) + ?1), max(is_mine) FROM chat_messages GROUP BY thread")?;
        let rows = query.query_map([CHAT_ROW_BYTES.cast_signed()], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs(), row.get(2)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Keeps only the newest messages of a thread, at most `bytes`; returns the number of deleted messages.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be changed.
    pub fn cut_chat(&mut self, thread: &str, bytes: u64) -> Result<usize, StoreError> {
        let sql = "DELETE FROM chat_messages WHERE id IN (
                     SELECT id FROM (SELECT id, sum(length(sealed) + coalesce(length(file), 0) + ?3) OVER (ORDER BY id DESC) AS upto
                                     FROM chat_messages WHERE thread = ?1) WHERE upto > ?2)";
        Ok(self.db.execute(
            sql,
            params![thread, bytes.min(i64::MAX as u64).cast_signed(), CHAT_ROW_BYTES.cast_signed()],
        )?)
    }

    /// Deletes messages that were stored before a time; returns their number.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be changed.
    pub fn expire_chat(&mut self, before: UnixMillis) -> Result<usize, StoreError> {
        Ok(self.db.execute("DELETE FROM chat_messages WHERE stored_ms < ?1", [before.0])?)
    }

    /// Returns all remembered people: peer id, sealed data, and the time at which each was last heard.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn chat_people(&self) -> Result<Vec<(String, Vec<u8>, UnixMillis)>, StoreError> {
        let mut query = self.db.prepare_cached("SELECT peer, sealed, seen_ms FROM chat_people")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, UnixMillis(row.get(2)?))))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Stores a person. Beyond `keep` people, those are deleted who are not marked and were not heard for
    /// longest.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be changed.
    pub fn put_chat_person(
        &mut self,
        peer: &str,
        sealed: &[u8],
        seen: UnixMillis,
        is_marked: bool,
        keep: u32,
    ) -> Result<(), StoreError> {
        self.db.execute(
            "INSERT INTO chat_people (peer, sealed, seen_ms, is_marked) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (peer) DO UPDATE SET sealed = excluded.sealed, seen_ms = excluded.seen_ms, is_marked = excluded.is_marked",
            params![peer, sealed, seen.0, is_marked],
        )?;
        let count: u32 = self.db.query_row("SELECT count(*) FROM chat_people", [], |row| row.get(0))?;
        if count > keep {
            self.db.execute(
                "DELETE FROM chat_people WHERE peer IN (SELECT peer FROM chat_people WHERE peer <> ?1 ORDER BY is_marked, seen_ms LIMIT ?2)",
                params![peer, count - keep],
            )?;
        }
        Ok(())
    }

    /// Replaces the chat identity in one transaction, with the people that it knows (id, sealed data, time
    /// last heard, whether marked) and the state of the protocol.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be changed; nothing is changed then.
    pub fn replace_chat_identity(
        &mut self,
        keys: &[u8],
        people: &[(String, Vec<u8>, UnixMillis, bool)],
        states: &[(&str, Vec<u8>)],
    ) -> Result<(), StoreError> {
        let all = Savepoint::new(&self.db)?;
        all.execute("INSERT INTO chat_keys (one, sealed) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET sealed = excluded.sealed", [keys])?;
        for (peer, sealed, seen, is_marked) in people {
            all.execute(
                "INSERT INTO chat_people (peer, sealed, seen_ms, is_marked) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (peer) DO UPDATE SET sealed = excluded.sealed, seen_ms = excluded.seen_ms, is_marked = excluded.is_marked",
                params![peer, sealed, seen.0, is_marked],
            )?;
        }
        for (name, sealed) in states {
            all.execute(
                "INSERT INTO chat_state (name, sealed) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed",
                params![name, sealed],
            )?;
        }
        Ok(all.commit()?)
    }

    /// Returns the sealed protocol state that is stored under a name.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn chat_state(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .db
            .query_row("SELECT sealed FROM chat_state WHERE name = ?1", [name], |row| row.get(0))
            .optional()?)
    }

    /// Stores protocol state that is needed after a start, sealed.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be changed.
    pub fn put_chat_state(&mut self, name: &str, sealed: &[u8]) -> Result<(), StoreError> {
        let sql = "INSERT INTO chat_state (name, sealed) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed";
        self.db.execute(sql, params![name, sealed])?;
        Ok(())
    }

    /// Returns whether a deletion of all chat was begun and is not complete.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn is_wiping_chat(&self) -> Result<bool, StoreError> {
        Ok(self.db.query_row("SELECT count(*) FROM chat_wiping", [], |row| row.get::<_, u32>(0))? > 0)
    }

    /// Runs one step of deleting all chat; a step can be repeated without harm.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be changed.
    pub fn wipe_chat(&mut self, step: WipeStep) -> Result<(), StoreError> {
        // Each step is on the disk before the next, and cleaning up the file needs no transaction around it.
        self.alone(|db| {
            match step {
                // Deleted pages are overwritten with zeros, not only freed.
                WipeStep::Keys => db.execute_batch(
                    "PRAGMA secure_delete = ON;
                     BEGIN IMMEDIATE; INSERT OR IGNORE INTO chat_wiping (one) VALUES (1); DELETE FROM chat_keys; COMMIT;
                     PRAGMA wal_checkpoint(TRUNCATE);",
                )?,
                WipeStep::Messages => db.execute_batch("PRAGMA secure_delete = ON; DELETE FROM chat_messages;")?,
                WipeStep::People => db.execute_batch("PRAGMA secure_delete = ON; DELETE FROM chat_people; DELETE FROM chat_state;")?,
                WipeStep::Pages => db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")?,
                WipeStep::Done => db.execute_batch("DELETE FROM chat_wiping;")?,
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn message(thread: &str, mid: &str, is_mine: bool) -> NewChat {
        let state = if is_mine { MessageState::Queued } else { MessageState::Received };
        NewChat {
            thread: thread.to_owned(),
            is_mine,
            is_seen: is_mine,
            state,
            at: NOW,
            mid: mid.to_owned(),
            sealed: format!("secret words {mid}").into_bytes(),
            file: None,
        }
    }

    #[test]
    fn a_message_is_stored_once_and_gets_further() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let id = store.add_chat(&message("anna", "1", false), NOW).unwrap();
        assert!(id.is_some());
        assert_eq!(store.add_chat(&message("anna", "1", false), NOW).unwrap(), None);
        // A message of this device may have the same id as one of the peer.
        assert!(store.add_chat(&message("anna", "1", true), NOW).unwrap().is_some());
        store.add_chat(&message("", "r", false), NOW).unwrap();
        let threads: Vec<_> = store
            .chat_threads()
            .unwrap()
            .into_iter()
            .map(|(unread, row)| (unread, row.thread, row.is_mine))
            .collect();
        assert_eq!(threads, [(1, String::new(), false), (1, "anna".to_owned(), true)]);
        assert_eq!(store.chat_waiting().unwrap().len(), 1);
        assert!(
            store
                .set_chat_state("anna", "1", MessageState::Delivered)
                .unwrap()
                .is_some_and(|row| row.is_mine)
        );
        assert_eq!(store.set_chat_state("anna", "1", MessageState::Delivered).unwrap(), None);
        assert_eq!(store.set_chat_state("anna", "1", MessageState::Sent).unwrap(), None);
        assert!(store.chat_waiting().unwrap().is_empty());
        assert_eq!(store.see_chat("anna").unwrap().len(), 1);
        assert!(store.see_chat("anna").unwrap().is_empty());
        assert_eq!(store.chat_thread("anna", None, 10).unwrap().len(), 2);
        assert_eq!(store.chat_thread("anna", id.map(|id| id + 1), 10).unwrap().len(), 1);
        assert_eq!(
            (store.cut_chat("anna", 11_000).unwrap(), store.cut_chat("anna", 10_000).unwrap()),
            (0, 1)
        );
        assert_eq!(store.expire_chat(UnixMillis(NOW.0 + 1)).unwrap(), 2);
    }

    /// Returns the number of rows and the counted bytes of each thread.
    fn sizes(store: &Store) -> BTreeMap<String, (usize, u64)> {
        let rows = |thread: &str| store.chat_thread(thread, None, 10_000).unwrap().len();
        store
            .chat_sizes()
            .unwrap()
            .into_iter()
            .map(|(thread, bytes, _)| (thread.clone(), (rows(&thread), bytes)))
            .collect()
    }

    #[test]
    fn strangers_displace_strangers_and_nobody_whom_the_user_knows() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let mut add = |thread: &str, mid: &str, is_mine: bool, file: usize| {
            let file = (file > 0).then(|| vec![7; file]);
            store.add_chat(&NewChat { file, ..message(thread, mid, is_mine) }, NOW).unwrap();
        };
        // The oldest messages are of a verified person, of somebody who was answered, and of the room.
        for n in 0..20 {
            add("marked", &n.to_string(), false, 10_000);
            add("friend", &n.to_string(), n == 0, 10_000);
            add("", &n.to_string(), false, 0);
        }
        // A stranger uses fifty names, with files, and then one name with many messages.
        for n in 0..50 {
            for k in 0..5 {
                add(&format!("stranger {n}"), &k.to_string(), false, 20_000);
            }
        }
        for n in 0..200 {
            add("stranger 0", &format!("more {n}"), false, 20_000);
        }
        let before = sizes(&store);
        let all: u64 = before.values().map(|(_, bytes)| bytes).sum();
        let caps = ChatCaps { of_thread: 1_000_000, of_all: 2_000_000 };
        assert!(all > 5 * caps.of_all, "{all} bytes");
        let marked = BTreeSet::from(["marked".to_owned()]);
        assert!(store.cut_chats(caps, &marked).unwrap() > 200);
        let after = sizes(&store);
        let all: u64 = after.values().map(|(_, bytes)| bytes).sum();
        assert!(all <= caps.of_all && all > caps.of_all / 2, "{all} bytes");
        assert_eq!(
            (after["marked"], after["friend"], after[""]),
            (before["marked"], before["friend"], before[""]),
            "small threads lose nothing"
        );
        assert!(after["stranger 0"].1 < 40_000, "{:?}", after["stranger 0"]);
        // The newest messages of the stranger are the ones that stay.
        assert_eq!(store.chat_thread("stranger 0", None, 1).unwrap()[0].mid, "more 199");
        assert_eq!(store.cut_chats(caps, &marked).unwrap(), 0);
        // With less room, conversations shrink before marked people.
        let caps = ChatCaps { of_thread: 1_000_000, of_all: 400_000 };
        store.cut_chats(caps, &marked).unwrap();
        let after = sizes(&store);
        assert!(after["friend"].0 < 20 && after["marked"].0 > after["friend"].0, "{after:?}");
        assert!(after.values().map(|(_, bytes)| bytes).sum::<u64>() <= caps.of_all);
    }

    #[test]
    fn one_thread_has_a_cap_of_its_own_and_files_count() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        for n in 0..40 {
            store
                .add_chat(
                    &NewChat { file: Some(vec![1; 100_000]), ..message("", &n.to_string(), false) },
                    NOW,
                )
                .unwrap();
        }
        let caps = ChatCaps { of_thread: 1_000_000, of_all: 1 << 30 };
        assert_eq!(store.cut_chats(caps, &BTreeSet::new()).unwrap(), 31);
        assert_eq!(sizes(&store)[""].0, 9);
    }

    #[test]
    fn the_longest_are_cut_to_one_length() {
        let threads = |sizes: &[u64]| sizes.iter().map(|size| (String::new(), *size)).collect::<Vec<_>>();
        assert_eq!(level(&threads(&[10, 20, 1_000]), 100), 70);
        assert_eq!(level(&threads(&[100, 100, 100]), 100), 33);
        assert_eq!(level(&threads(&[10, 20]), 100), u64::MAX);
        assert_eq!(level(&[], 0), u64::MAX);
    }

    #[test]
    fn of_too_many_people_those_that_were_marked_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        for (n, (peer, is_marked)) in
            [("anna", true), ("ben", false), ("cleo", false), ("dora", false)].into_iter().enumerate()
        {
            store.put_chat_person(peer, b"", UnixMillis(NOW.0 + n as i64), is_marked, 3).unwrap();
        }
        let people: Vec<String> = store.chat_people().unwrap().into_iter().map(|(peer, _, _)| peer).collect();
        assert_eq!(people, ["anna", "cleo", "dora"]);
        store.put_chat_state("groups", b"1").unwrap();
        store.put_chat_state("groups", b"2").unwrap();
        assert_eq!(store.chat_state("groups").unwrap().as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn a_wipe_goes_on_after_a_crash_at_any_step_and_leaves_nothing() {
        for crash in 0..WipeStep::ALL.len() {
            let folder = tempfile::tempdir().unwrap();
            let mut store = Store::open(folder.path()).unwrap();
            store.put_chat_keys(b"the sealed key of everything").unwrap();
            store.put_chat_person("anna", b"secret person", NOW, false, 10).unwrap();
            store.put_chat_state("groups", b"secret group").unwrap();
            store.add_chat(&message("anna", "1", false), NOW).unwrap();
            for step in &WipeStep::ALL[..crash] {
                store.wipe_chat(*step).unwrap();
            }
            drop(store);
            let mut store = Store::open(folder.path()).unwrap();
            // The keys go first, so that the rest cannot be read.
            assert_eq!(store.chat_keys().unwrap().is_some(), crash == 0);
            assert_eq!(store.is_wiping_chat().unwrap(), crash > 0);
            for step in WipeStep::ALL {
                store.wipe_chat(step).unwrap();
            }
            assert!(!store.is_wiping_chat().unwrap());
            assert!(store.chat_threads().unwrap().is_empty() && store.chat_people().unwrap().is_empty());
            assert_eq!(store.chat_state("groups").unwrap(), None);
            drop(store);
            for file in
                std::fs::read_dir(folder.path()).unwrap().flatten().filter(|file| file.path().is_file())
            {
                let bytes = std::fs::read(file.path()).unwrap();
                for secret in [&b"the sealed key"[..], b"secret person", b"secret words", b"secret group"] {
                    assert!(
                        !bytes.windows(secret.len()).any(|window| window == secret),
                        "{:?} after a crash at {crash}",
                        file.path()
                    );
                }
            }
        }
    }
}
