//! Files of results: rows written in portions if there are many, and read in path order.

use std::collections::{BTreeMap, BTreeSet};

use fog_types::job::JobFile;
use fog_types::{BlobId, JobId, TaskId, UnixMillis};
use rusqlite::{Connection, OptionalExtension, params};

use crate::jobs::{from_json, to_json};
use crate::tasks::{blob_from, to_sql};
use crate::{Blobs, Claim, Output, PlacedFiles, Store, StoreError, blobs};

/// Maximum number of rows of files per transaction where other calls must not wait; takes some
/// milliseconds.
pub const ROWS_AT_ONCE: usize = 64;

/// Rows of a result that is not recorded yet.
#[derive(Debug)]
pub(crate) struct Staged {
    attempt: u64,
    rows: usize,
}

/// Condition for files of a finished task; rows of an unfinished one are hidden, and are written anew.
const OF_RESULT: &str = "job_id = ?1 AND idx = ?2 AND EXISTS (SELECT 1 FROM tasks WHERE tasks.job_id = ?1 AND tasks.idx = ?2 AND tasks.state = 'finished')";

impl Store {
    /// Writes the rows of the next files of a result ahead of [`Store::finish_task`], which then writes
    /// only the rest. The files are given in order, about [`ROWS_AT_ONCE`] at a time, after
    /// [`Store::make_room_for`] made room for them. Returns false if the attempt has ended, as its result
    /// is not wanted any more.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed. A kill leaves rows that no result shows.
    pub fn stage_outputs(
        &mut self,
        claim: Claim,
        placed: &PlacedFiles,
        outputs: &[Output],
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let TaskId { job, index } = claim.task;
        let before = self
            .staged
            .remove(&claim.task)
            .filter(|staged| staged.attempt == claim.attempt)
            .map(|staged| staged.rows);
        let is_wanted = self.relaxed(|db| {
            let mut is_wanted = db.prepare_cached(
                "SELECT 1 FROM attempts WHERE id = ?1 AND outcome = 'running'
                   AND NOT EXISTS (SELECT 1 FROM tasks WHERE job_id = ?2 AND idx = ?3 AND state = 'finished')",
            )?;
            if !is_wanted.exists(params![claim.attempt, job.0, index])? {
                return Ok(false);
            }
            if before.is_none() {
                forget(db, claim.task)?;
            }
            // The file is held before its row is written, so that it is counted once.
            insert(db, claim.task, outputs)?;
            placed.write_rows(db, outputs.iter().map(|output| output.blob), now)?;
            Ok(true)
        })?;
        if is_wanted {
            placed.stored(outputs.iter().map(|output| output.blob));
            self.staged.insert(
                claim.task,
                Staged { attempt: claim.attempt, rows: before.unwrap_or(0) + outputs.len() },
            );
        }
        Ok(is_wanted)
    }

    /// Returns the file of a task's result that has this path.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn output(&self, task: TaskId, path: &str) -> Result<Option<Output>, StoreError> {
        let found: Option<(String, u64)> = self
            .db
            .prepare_cached(&format!("SELECT blob, size FROM outputs WHERE {OF_RESULT} AND path = ?3"))?
            .query_row(params![task.job.0, task.index, path], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        found
            .map(|(blob, size)| Ok(Output { path: path.to_owned(), blob: blob_from(&blob)?, size }))
            .transpose()
    }

    /// Returns the number of files that a task's result has after a path.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn count_outputs_after(&self, task: TaskId, after: &str) -> Result<u64, StoreError> {
        let mut query = self
            .db
            .prepare_cached(&format!("SELECT count(*) FROM outputs WHERE {OF_RESULT} AND path > ?3"))?;
        Ok(query.query_row(params![task.job.0, task.index, after], |row| row.get(0))?)
    }

    /// Returns the files of a task's result in path order.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn outputs(&self, task: TaskId) -> Result<Vec<Output>, StoreError> {
        self.outputs_after(task, "", u32::MAX)
    }

    /// Returns the next files of a task's result in path order, after a path.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn outputs_after(&self, task: TaskId, after: &str, limit: u32) -> Result<Vec<Output>, StoreError> {
        let sql = format!(
            "SELECT path, blob, size FROM outputs WHERE {OF_RESULT} AND path > ?3 ORDER BY path LIMIT ?4"
        );
        let mut query = self.db.prepare_cached(&sql)?;
        let rows = query.query_map(params![task.job.0, task.index, after, limit], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?))
        })?;
        rows.map(|row| {
            let (path, blob, size) = row?;
            Ok(Output { path, blob: blob_from(&blob)?, size })
        })
        .collect()
    }
}

/// Writes the rows of a result that were not written ahead, and deletes those of another attempt.
pub(crate) fn write(
    db: &Connection,
    claim: Claim,
    staged: Option<Staged>,
    outputs: &[Output],
) -> Result<(), StoreError> {
    if staged.is_some_and(|staged| staged.attempt == claim.attempt && staged.rows == outputs.len()) {
        return Ok(());
    }
    forget(db, claim.task)?;
    for output in outputs {
        blobs::check_stored(db, output.blob)?;
    }
    insert(db, claim.task, outputs)
}

/// Deletes the rows of a result that was never recorded, and releases the files that nothing else of the
/// job names.
fn forget(db: &Connection, task: TaskId) -> Result<(), StoreError> {
    let (job, index) = (task.job.0, task.index);
    let blobs = |sql: &str| -> Result<Vec<String>, StoreError> {
        let mut query = db.prepare_cached(sql)?;
        let rows = query.query_map(params![job, index], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    let mut left: BTreeSet<String> =
        blobs("SELECT blob FROM outputs WHERE job_id = ?1 AND idx = ?2")?.into_iter().collect();
    if left.is_empty() {
        return Ok(());
    }
    db.prepare_cached("DELETE FROM outputs WHERE job_id = ?1 AND idx = ?2")?.execute(params![job, index])?;
    // All results of the job are read, which is rare: after a kill or with two attempts at once.
    for others in [
        "SELECT blob FROM outputs WHERE job_id = ?1 AND idx <> ?2",
        "SELECT stdout FROM tasks WHERE job_id = ?1 AND stdout IS NOT NULL AND ?2 = ?2",
        "SELECT stderr FROM tasks WHERE job_id = ?1 AND stderr IS NOT NULL AND ?2 = ?2",
    ] {
        for blob in blobs(others)? {
            left.remove(&blob);
        }
    }
    let own: Blobs = from_json(
        &db.query_row("SELECT blobs FROM jobs WHERE id = ?1", [job], |row| row.get::<_, String>(0))?,
    )?;
    let Blobs { module, stdin, inputs, items } = &own;
    for blob in std::iter::once(module).chain(stdin).chain(inputs.values()).chain(items) {
        left.remove(&blob.to_string());
    }
    let mut let_go = db.prepare_cached("DELETE FROM job_blobs WHERE job_id = ?1 AND blob = ?2")?;
    for blob in left {
        let_go.execute(params![job, blob])?;
    }
    Ok(())
}

/// Maximum number of files of a hosted job that are let go in one step.
const LET_GO_ROWS: u32 = 500;

/// Lets go of the files of a hosted job and their names, by [`Store::sweep_removed`]. Its program and
/// inputs are kept while there is room, for the next job of its requester.
pub(crate) fn let_go_of_files(db: &Connection, job: JobId) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR IGNORE INTO let_go VALUES (?1)")?.execute([job.0])?;
    let spec: Option<(String, String)> = db
        .prepare_cached("SELECT spec, blobs FROM jobs WHERE id = ?1")?
        .query_row([job.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    // A job file that cannot be read is no reason to keep the files.
    if let Some((Ok(file), Ok(blobs))) =
        spec.map(|(spec, blobs)| (from_json::<JobFile>(&spec), from_json::<Blobs>(&blobs)))
    {
        // Arguments and inputs are dropped: the job never runs again, and they may be as long as a message.
        let file = JobFile { args: Vec::new(), env: BTreeMap::new(), inputs: BTreeMap::new(), ..file };
        let blobs = Blobs { inputs: BTreeMap::new(), items: Vec::new(), ..blobs };
        db.prepare_cached("UPDATE jobs SET spec = ?2, blobs = ?3 WHERE id = ?1")?.execute(params![
            job.0,
            to_json(&file)?,
            to_json(&blobs)?
        ])?;
    }
    Ok(())
}

/// Deletes at most `most` names of files of a job's results, and returns the files.
pub(crate) fn delete_names(db: &Connection, job: u64, most: u32) -> Result<Vec<String>, StoreError> {
    // The deletion goes up to a place in the order, so that no name is visited that stays.
    let last: Option<(u32, String)> = db
        .prepare_cached(
            "SELECT idx, path FROM outputs WHERE job_id = ?1 ORDER BY idx, path LIMIT 1 OFFSET ?2",
        )?
        .query_row(params![job, most.saturating_sub(1)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let end = if last.is_some() { "AND (idx, path) <= (?2, ?3)" } else { "AND ?2 IS NULL AND ?3 IS NULL" };
    let mut delete =
        db.prepare_cached(&format!("DELETE FROM outputs WHERE job_id = ?1 {end} RETURNING blob"))?;
    let (index, path) = last.unzip();
    Ok(delete.query_map(params![job, index, path], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Lets go of the next files of a hosted job; returns the files whose names were deleted.
pub(crate) fn let_go_on(db: &Connection, job: u64) -> Result<Vec<String>, StoreError> {
    // The job releases its files before their names are deleted.
    let held = db
        .prepare_cached("DELETE FROM job_blobs WHERE job_id = ?1 AND blob IN (SELECT blob FROM job_blobs WHERE job_id = ?1 LIMIT ?2)")?
        .execute(params![job, LET_GO_ROWS])?;
    if held == LET_GO_ROWS as usize {
        return Ok(Vec::new());
    }
    let files = delete_names(db, job, LET_GO_ROWS)?;
    if files.len() < LET_GO_ROWS as usize {
        db.prepare_cached("DELETE FROM let_go WHERE job_id = ?1")?.execute([job])?;
    }
    Ok(files)
}

fn insert(db: &Connection, task: TaskId, outputs: &[Output]) -> Result<(), StoreError> {
    let mut insert =
        db.prepare_cached("INSERT INTO outputs (job_id, idx, path, blob, size) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for output in outputs {
        insert.execute(params![
            task.job.0,
            task.index,
            output.path,
            output.blob.to_string(),
            to_sql(output.size)
        ])?;
        hold(db, task, output.blob)?;
    }
    Ok(())
}

/// Keeps a file as long as its job exists.
pub(crate) fn hold(db: &Connection, task: TaskId, blob: BlobId) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR IGNORE INTO job_blobs (job_id, blob) VALUES (?1, ?2)")?
        .execute(params![task.job.0, blob.to_string()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{CAP, job, result, store};
    use crate::{BlobFile, TaskResult};

    fn place(store: &mut Store, names: &[&str], of: &str) -> (PlacedFiles, Vec<Output>) {
        let file =
            |name: &&str| BlobFile::copy(store.folder(), format!("{name} of {of}").as_bytes(), CAP).unwrap();
        let files: Vec<BlobFile> = names.iter().map(file).collect();
        let outputs = names
            .iter()
            .zip(&files)
            .map(|(name, file)| Output { path: (*name).to_owned(), blob: file.id(), size: file.size() })
            .collect();
        let placed = PlacedFiles::place(store.folder(), &store.holds(), files).unwrap();
        store.make_room_for(&placed, &[], CAP, UnixMillis(1)).unwrap();
        (placed, outputs)
    }

    fn with(store: &mut Store, outputs: &[Output]) -> TaskResult {
        TaskResult { outputs: outputs.to_vec(), ..result(store) }
    }

    #[test]
    fn files_written_ahead_are_seen_with_their_result_and_kept_with_their_job() {
        let (_folder, mut store) = store();
        let id = job(&mut store, 1, 0);
        let claim = store.claim_task("test", UnixMillis(1)).unwrap().unwrap();
        let (placed, outputs) = place(&mut store, &["a", "b", "c"], "this");
        for part in [&outputs[..2], &outputs[2..]] {
            assert!(store.stage_outputs(claim, &placed, part, UnixMillis(2)).unwrap());
            assert_eq!(
                (store.outputs(claim.task).unwrap(), store.count_outputs_after(claim.task, "").unwrap()),
                (vec![], 0)
            );
            assert_eq!(store.output(claim.task, "a").unwrap(), None);
        }
        store.add_rest(&placed, &[], UnixMillis(2)).unwrap();
        let done = with(&mut store, &outputs);
        assert!(store.finish_task(claim, &done, UnixMillis(3)).unwrap().is_some());
        drop(placed);
        assert_eq!(store.outputs(claim.task).unwrap(), outputs);
        assert!(outputs.iter().all(|output| store.blob(output.blob).is_ok()));
        assert_eq!(
            store
                .db
                .query_row("SELECT count(*) FROM job_blobs WHERE job_id = ?1", [id.0], |row| row
                    .get::<_, u32>(0))
                .unwrap(),
            5,
            "the module, the logs and three files"
        );
    }

    #[test]
    fn rows_of_an_attempt_that_ended_are_in_no_result() {
        let (folder, mut store) = store();
        let id = job(&mut store, 1, 0);
        let module = store.job(id).unwrap().blobs.module;
        let first = store.claim_task("test", UnixMillis(1)).unwrap().unwrap();
        let (placed, mut outputs) = place(&mut store, &["a", "left"], "the first");
        // One of the files is also the program, which stays.
        outputs.push(Output { path: "the program".to_owned(), blob: module, size: 6 });
        assert!(store.stage_outputs(first, &placed, &outputs[..2], UnixMillis(2)).unwrap());
        insert(&store.db, first.task, &outputs[2..]).unwrap();
        // The engine is killed here.
        drop(placed);
        drop(store);
        let mut store = Store::open(folder.path()).unwrap();
        store.recover(UnixMillis(3)).unwrap();
        let second = store.claim_task("test", UnixMillis(4)).unwrap().unwrap();
        let (placed, outputs) = place(&mut store, &["a", "b"], "the second");
        assert!(!store.stage_outputs(first, &placed, &outputs, UnixMillis(5)).unwrap());
        // Two attempts run at once.
        let third = Claim {
            attempt: store
                .begin_lease(second.task, "lease", fog_types::NodeId([1; 32]), "offer", UnixMillis(5))
                .unwrap()
                .attempt,
            ..second
        };
        assert!(store.stage_outputs(second, &placed, &outputs[..1], UnixMillis(5)).unwrap());
        let (others, theirs) = place(&mut store, &["a", "theirs"], "the third");
        assert!(store.stage_outputs(third, &others, &theirs, UnixMillis(5)).unwrap());
        assert!(store.stage_outputs(second, &placed, &outputs[1..], UnixMillis(5)).unwrap());
        store.add_rest(&placed, &[], UnixMillis(5)).unwrap();
        let done = with(&mut store, &outputs);
        assert!(store.finish_task(second, &done, UnixMillis(6)).unwrap().is_some());
        assert_eq!(store.outputs(second.task).unwrap(), outputs);
        assert!(!store.stage_outputs(third, &others, &theirs, UnixMillis(7)).unwrap());
        assert_eq!(store.outputs(second.task).unwrap(), outputs);
        let held = store
            .db
            .query_row("SELECT count(*) FROM job_blobs WHERE job_id = ?1", [id.0], |row| row.get::<_, u32>(0))
            .unwrap();
        assert_eq!(held, 4, "the program, the log and two files");
    }
}
