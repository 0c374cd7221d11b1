//! Rows about networks, other devices, leases, hosted jobs and contents.

use fog_types::{BlobId, JobId, NodeId, TaskId, UnixMillis};
use rusqlite::{OptionalExtension, params};

use crate::jobs::from_json;
use crate::tasks::begin_attempt;
use crate::transaction::Savepoint;
use crate::{Claim, Store, StoreError};

/// Network that this device joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRow {
    /// Name of the network: `lan`, `open`, or the name of a group.
    pub name: String,
    /// Secret of a group, sealed.
    pub sealed: Option<Vec<u8>>,
    /// Time at which the network was joined.
    pub joined: UnixMillis,
}

/// Other device that is remembered.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerRow {
    /// Id of the device.
    pub node: NodeId,
    /// Name that the owner gave the device.
    pub name: String,
    /// Addresses at which the device was found.
    pub addresses: Vec<String>,
    /// Evidence about the device, as JSON.
    pub evidence: String,
    /// Time at which the device was last heard of.
    pub seen: UnixMillis,
}

/// Lease of a task that another device has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// Id of the lease, in hexadecimal.
    pub lease: String,
    /// Task of the lease, and the attempt that stands for it.
    pub claim: Claim,
    /// Device that has the lease.
    pub node: NodeId,
    /// Hash of the signed offer, in hexadecimal.
    pub offer: String,
}

/// Job of another device that runs here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostedRow {
    /// Id of the job on this device.
    pub job: JobId,
    /// Id of the lease, in hexadecimal.
    pub lease: String,
    /// Device that requested the job.
    pub requester: NodeId,
    /// Hash of the signed offer, in hexadecimal.
    pub offer: String,
    /// Time after which nobody wants the result.
    pub deadline: UnixMillis,
    /// Message about the end of the job, until it is answered.
    pub message: Option<Vec<u8>>,
    /// Whether the lease is over: the requester accepted, or nobody wants the result any more.
    pub has_receipt: bool,
}

/// Stored file that other devices may fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentRow {
    /// Id of the content, in hexadecimal.
    pub id: String,
    /// Blob of the stored file.
    pub blob: BlobId,
    /// Number of bytes before sealing.
    pub size: u64,
    /// Key of the content; not stored if the file itself is sealed.
    pub key: [u8; 32],
    /// Hashes of the sealed pieces.
    pub manifest: Vec<u8>,
    /// Id of the bytes before sealing, if the stored file is the sealed pieces.
    pub open: Option<BlobId>,
}

pub(crate) fn node_from(text: &str) -> Result<NodeId, StoreError> {
    text.parse().map_err(|e: fog_types::ParseIdError| StoreError::Damaged(e.to_string()))
}

pub(crate) fn blob_from(text: &str) -> Result<BlobId, StoreError> {
    text.parse().map_err(|e: fog_types::ParseIdError| StoreError::Damaged(e.to_string()))
}

/// Maximum number of devices that are remembered.
const MAX_PEERS: u32 = 1000;

/// Methods about networks and other devices. Each returns [`StoreError`] when the database cannot be read
/// or changed.
#[expect(clippy::missing_errors_doc, reason = "said once for all of them above")]
impl Store {
    /// Returns the joined networks.
    pub fn networks(&self) -> Result<Vec<NetworkRow>, StoreError> {
        let mut query =
            self.db.prepare_cached("SELECT name, sealed, joined_ms FROM networks ORDER BY joined_ms")?;
        let rows = query.query_map([], |row| {
            Ok(NetworkRow { name: row.get(0)?, sealed: row.get(1)?, joined: UnixMillis(row.get(2)?) })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Records that a network was joined.
    pub fn add_network(&mut self, row: &NetworkRow) -> Result<(), StoreError> {
        self.db.execute(
            "INSERT OR REPLACE INTO networks (name, sealed, joined_ms) VALUES (?1, ?2, ?3)",
            params![row.name, row.sealed, row.joined.0],
        )?;
        Ok(())
    }

    /// Deletes a network, or all of them without a name; returns their number.
    pub fn remove_network(&mut self, name: Option<&str>) -> Result<usize, StoreError> {
        Ok(self.db.execute("DELETE FROM networks WHERE ?1 IS NULL OR name = ?1", [name])?)
    }

    /// Returns at most `limit` remembered devices, the last heard of first.
    pub fn peers(&self, limit: u32) -> Result<Vec<PeerRow>, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT node, name, addresses, evidence, seen_ms FROM peers ORDER BY seen_ms DESC LIMIT ?1",
        )?;
        let rows = query.query_map([limit], |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get(3)?, row.get(4)?))
        })?;
        rows.map(|row| {
            let (node, name, addresses, evidence, seen) = row?;
            Ok(PeerRow {
                node: node_from(&node)?,
                name,
                addresses: from_json(&addresses)?,
                evidence,
                seen: UnixMillis(seen),
            })
        })
        .collect()
    }

    /// Records that a device was heard of, with its name and addresses; an empty name or list leaves the
    /// known one. Beyond 1,000 devices those of which least is known are deleted, the longest silent first;
    /// `connected` ones, those with work under way and those with valid results go last.
    pub fn touch_peer(
        &mut self,
        node: NodeId,
        name: &str,
        addresses: &[String],
        connected: impl IntoIterator<Item = NodeId>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let addresses = crate::jobs::to_json(&addresses)?;
        let transaction = Savepoint::new(&self.db)?;
        transaction.execute(
            "INSERT INTO peers (node, name, addresses, evidence, seen_ms) VALUES (?1, ?2, ?3, '{}', ?4) ON CONFLICT (node) DO UPDATE SET
             name = CASE excluded.name WHEN '' THEN name ELSE excluded.name END,
             addresses = CASE excluded.addresses WHEN '[]' THEN addresses ELSE excluded.addresses END,
             seen_ms = excluded.seen_ms",
            params![node.to_string(), name, addresses, now.0],
        )?;
        let count: u32 = transaction.query_row("SELECT count(*) FROM peers", [], |row| row.get(0))?;
        if count > MAX_PEERS {
            let connected: Vec<String> = connected.into_iter().map(|node| node.to_string()).collect();
            // Names cost nothing, so a device that worked is kept before one that only spoke. A device with
            // only bad evidence counts as known too, although it could escape that evidence under a new
            // name.
            transaction.execute(
                "DELETE FROM peers WHERE node IN (
                   SELECT node FROM peers ORDER BY
                     node = ?2 OR node IN (SELECT value FROM json_each(?3)) DESC,
                     node IN (SELECT node FROM leases) OR node IN (SELECT requester FROM hosted WHERE message IS NULL AND receipt IS NULL) DESC,
                     coalesce(json_extract(evidence, '$.valid'), 0) + coalesce(json_extract(evidence, '$.receipted'), 0) > 0 DESC,
                     coalesce(json_extract(evidence, '$.invalid'), 0) + coalesce(json_extract(evidence, '$.lost'), 0)
                       + coalesce(json_extract(evidence, '$.unpaid'), 0) > 0 DESC,
                     seen_ms DESC
                   LIMIT -1 OFFSET ?1)",
                params![MAX_PEERS, node.to_string(), crate::jobs::to_json(&connected)?],
            )?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Stores the evidence about a device, as JSON; its name and addresses stay.
    pub fn set_evidence(&mut self, node: NodeId, evidence: &str, now: UnixMillis) -> Result<(), StoreError> {
        self.db.execute(
            "INSERT INTO peers (node, name, addresses, evidence, seen_ms) VALUES (?1, '', '[]', ?2, ?3)
             ON CONFLICT (node) DO UPDATE SET evidence = excluded.evidence",
            params![node.to_string(), evidence, now.0],
        )?;
        Ok(())
    }

    /// Gives a task to another device: the attempt begins. The transaction is not synced, as a device may
    /// decline often. After a power cut within the same minute the lease may be unknown, which its holder
    /// is told.
    pub fn begin_lease(
        &mut self,
        task: TaskId,
        lease: &str,
        node: NodeId,
        offer: &str,
        now: UnixMillis,
    ) -> Result<Claim, StoreError> {
        let (job, index) = (task.job.0, task.index);
        self.relaxed(|db| {
            db.prepare_cached(
                "UPDATE tasks SET started_ms = CASE state WHEN 'running' THEN started_ms ELSE ?3 END, state = 'running' WHERE job_id = ?1 AND idx = ?2 AND state IN ('queued', 'running')",
            )?
            .execute(params![job, index, now.0])?;
            db.prepare_cached("UPDATE jobs SET state = 'running' WHERE id = ?1 AND state = 'queued'")?.execute([job])?;
            let attempt = begin_attempt(db, task, &node.to_string(), now)?;
            db.prepare_cached("INSERT INTO leases (lease, job_id, idx, node, attempt, offer) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute(params![lease, job, index, node.to_string(), attempt, offer])?;
            Ok(Claim { task, attempt })
        })
    }

    /// Ends a lease, unsynced; its task goes back to the queue if no other device has it.
    pub fn end_lease(&mut self, lease: &str, why: &str, now: UnixMillis) -> Result<(), StoreError> {
        self.relaxed(|db| {
            let found: Option<(u64, u32, u64)> = db
                .prepare_cached("SELECT job_id, idx, attempt FROM leases WHERE lease = ?1")?
                .query_row([lease], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            let Some((job, index, attempt)) = found else { return Ok(()) };
            db.prepare_cached("UPDATE attempts SET outcome = 'interrupted', detail = ?2, ended_ms = ?3 WHERE id = ?1 AND outcome = 'running'")?
                .execute(params![attempt, why, now.0])?;
            db.prepare_cached("DELETE FROM leases WHERE lease = ?1")?.execute([lease])?;
            db.prepare_cached("DELETE FROM credits WHERE lease = ?1 AND settled IS NULL")?.execute([lease])?;
            db.prepare_cached(
                "UPDATE tasks SET state = 'queued', permille = 0 WHERE job_id = ?1 AND idx = ?2 AND state = 'running'
                 AND NOT EXISTS (SELECT 1 FROM leases WHERE job_id = ?1 AND idx = ?2)",
            )?
            .execute(params![job, index])?;
            Ok(())
        })
    }

    /// Ends every lease of a task and closes their attempts; a task without a result waits again.
    pub fn end_leases_of(&mut self, task: TaskId, why: &str, now: UnixMillis) -> Result<(), StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        transaction.execute(
            "UPDATE attempts SET outcome = 'interrupted', detail = ?3, ended_ms = ?4
             WHERE outcome = 'running' AND id IN (SELECT attempt FROM leases WHERE job_id = ?1 AND idx = ?2)",
            params![task.job.0, task.index, why, now.0],
        )?;
        transaction.execute(
            "DELETE FROM credits WHERE settled IS NULL AND lease IN (SELECT lease FROM leases WHERE job_id = ?1 AND idx = ?2)",
            params![task.job.0, task.index],
        )?;
        transaction
            .execute("DELETE FROM leases WHERE job_id = ?1 AND idx = ?2", params![task.job.0, task.index])?;
        transaction
            .execute("UPDATE tasks SET state = 'queued', permille = 0 WHERE job_id = ?1 AND idx = ?2 AND state = 'running'", params![task.job.0, task.index])?;
        let kept: Option<String> = transaction
            .query_row(
                "DELETE FROM kept WHERE job_id = ?1 AND idx = ?2
                 AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.job_id = ?1 AND tasks.idx = ?2 AND state = 'queued') RETURNING blob",
                params![task.job.0, task.index],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(blob) = &kept {
            transaction.execute(
                "DELETE FROM job_blobs WHERE job_id = ?1 AND blob = ?2",
                params![task.job.0, blob],
            )?;
        }
        transaction.commit()?;
        // The kept state of a task that is over is not needed.
        kept.map_or(Ok(()), |blob| self.forget_blob(blob_from(&blob)?))
    }

    /// Ends the leases of all tasks of a job as [`Store::end_leases_of`] does; the cost depends on leases
    /// and kept states only.
    pub fn end_leases_of_job(&mut self, job: JobId, why: &str, now: UnixMillis) -> Result<(), StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        transaction.execute(
            "UPDATE attempts SET outcome = 'interrupted', detail = ?2, ended_ms = ?3
             WHERE outcome = 'running' AND id IN (SELECT attempt FROM leases WHERE job_id = ?1)",
            params![job.0, why, now.0],
        )?;
        transaction.execute("DELETE FROM credits WHERE settled IS NULL AND lease IN (SELECT lease FROM leases WHERE job_id = ?1)", [job.0])?;
        transaction.execute(
            "UPDATE tasks SET state = 'queued', permille = 0 WHERE job_id = ?1 AND state = 'running' AND idx IN (SELECT idx FROM leases WHERE job_id = ?1)",
            [job.0],
        )?;
        transaction.execute("DELETE FROM leases WHERE job_id = ?1", [job.0])?;
        let kept: Vec<String> = {
            let mut query = transaction.prepare_cached(
                "DELETE FROM kept WHERE job_id = ?1
                 AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.job_id = ?1 AND tasks.idx = kept.idx AND state = 'queued') RETURNING blob",
            )?;
            let rows = query.query_map([job.0], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        {
            let mut let_go =
                transaction.prepare_cached("DELETE FROM job_blobs WHERE job_id = ?1 AND blob = ?2")?;
            for blob in &kept {
                let_go.execute(params![job.0, blob])?;
            }
        }
        transaction.commit()?;
        kept.iter().try_for_each(|blob| self.forget_blob(blob_from(blob)?))
    }

    /// Returns a lease.
    pub fn lease(&self, lease: &str) -> Result<Option<LeaseRow>, StoreError> {
        Ok(self.leases_where("lease = ?1", Some(lease))?.pop())
    }

    /// Returns all leases.
    pub fn leases(&self) -> Result<Vec<LeaseRow>, StoreError> {
        self.leases_where("?1 IS NULL", None)
    }

    fn leases_where(&self, condition: &str, value: Option<&str>) -> Result<Vec<LeaseRow>, StoreError> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT lease, job_id, idx, attempt, node, offer FROM leases WHERE {condition}"
        ))?;
        let rows = query.query_map([value], |row| {
            let task = TaskId { job: JobId(row.get(1)?), index: row.get(2)? };
            Ok((row.get(0)?, Claim { task, attempt: row.get(3)? }, row.get::<_, String>(4)?, row.get(5)?))
        })?;
        rows.map(|row| {
            let (lease, claim, node, offer) = row?;
            Ok(LeaseRow { lease, claim, node: node_from(&node)?, offer })
        })
        .collect()
    }

    /// Returns the devices that were given a task, by its attempts.
    pub fn tried_by(&self, task: TaskId) -> Result<Vec<NodeId>, StoreError> {
        let mut query =
            self.db.prepare_cached("SELECT DISTINCT engine FROM attempts WHERE job_id = ?1 AND idx = ?2")?;
        let rows = query
            .query_map(params![task.job.0, task.index], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        // An attempt of this device has the name of an engine in place of a node id.
        Ok(rows.iter().filter_map(|engine| engine.parse().ok()).collect())
    }

    /// Returns finished tasks whose result several devices gave, with its hash, newest first.
    pub fn known_answers(&self, limit: u32) -> Result<Vec<(TaskId, String)>, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT job_id, idx, result_hash FROM tasks WHERE state = 'finished' AND agreed >= 2 AND result_hash IS NOT NULL
             AND EXISTS (SELECT 1 FROM jobs WHERE id = job_id) ORDER BY finished_ms DESC LIMIT ?1",
        )?;
        let rows = query.query_map([limit], |row| {
            Ok((TaskId { job: JobId(row.get(0)?), index: row.get(1)? }, row.get(2)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns the number of checks of devices by tasks of a job, and of those that found a wrong result.
    pub fn checks_of(&self, job: JobId) -> Result<(u32, u32), StoreError> {
        Ok(self.db.query_row(
            "SELECT count(*), coalesce(sum(detail LIKE '%: wrong%'), 0) FROM journal WHERE job_id = ?1 AND kind = 'checked'",
            [job.0],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?)
    }

    /// Returns the least number of devices that gave the result of any finished task of a job.
    pub fn least_agreed(&self, job: JobId) -> Result<u32, StoreError> {
        Ok(self.db.query_row(
            "SELECT coalesce(min(agreed), 0) FROM tasks WHERE job_id = ?1 AND state = 'finished'",
            [job.0],
            |row| row.get(0),
        )?)
    }

    /// Returns the jobs for other devices that have not ended and are not paused.
    pub fn grid_jobs(&self) -> Result<Vec<JobId>, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT id FROM jobs WHERE grid IS NOT NULL AND state IN ('queued', 'running')",
        )?;
        Ok(query.query_map([], |row| Ok(JobId(row.get(0)?)))?.collect::<Result<_, _>>()?)
    }

    /// Returns the wish of a job for other devices, with its tasks that have no result yet; `None` if the
    /// job has no wish, has ended or is paused. All tasks of the job are read, so this is for a start or a
    /// change of the whole job.
    pub fn grid_tasks(
        &self,
        job: JobId,
    ) -> Result<Option<(fog_types::job::GridOptions, Vec<TaskId>)>, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT grid FROM jobs WHERE id = ?1 AND grid IS NOT NULL AND state IN ('queued', 'running')",
        )?;
        let Some(wish) = query.query_row([job.0], |row| row.get::<_, String>(0)).optional()? else {
            return Ok(None);
        };
        let mut query = self.db.prepare_cached(
            "SELECT idx FROM tasks WHERE job_id = ?1 AND state IN ('queued', 'running') ORDER BY idx",
        )?;
        let tasks = query
            .query_map([job.0], |row| Ok(TaskId { job, index: row.get(0)? }))?
            .collect::<Result<_, _>>()?;
        Ok(Some((from_json(&wish)?, tasks)))
    }

    /// Keeps a state of a task if it holds more units than the one that is kept.
    pub fn keep_state(
        &mut self,
        task: TaskId,
        units: u64,
        node: NodeId,
        blob: BlobId,
    ) -> Result<(), StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        let before: Option<(u64, String)> = transaction
            .query_row(
                "SELECT units, blob FROM kept WHERE job_id = ?1 AND idx = ?2",
                params![task.job.0, task.index],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        if before.as_ref().is_some_and(|(known, _)| *known >= units) {
            return Ok(());
        }
        if let Some((_, old)) = &before {
            // The job uses the file of a state for nothing else.
            transaction
                .execute("DELETE FROM job_blobs WHERE job_id = ?1 AND blob = ?2", params![task.job.0, old])?;
        }
        transaction.execute(
            "INSERT OR REPLACE INTO kept (job_id, idx, units, node, blob) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![task.job.0, task.index, units.cast_signed(), node.to_string(), blob.to_string()],
        )?;
        crate::blobs::check_stored(&transaction, blob)?;
        transaction.execute(
            "INSERT OR IGNORE INTO job_blobs (job_id, blob) VALUES (?1, ?2)",
            params![task.job.0, blob.to_string()],
        )?;
        transaction.commit()?;
        before.map_or(Ok(()), |(_, old)| self.forget_blob(blob_from(&old)?))
    }

    /// Deletes a kept state whose file is damaged or gone, and its contents for others. Returns the tasks
    /// of the state, with its units.
    pub fn drop_state(&mut self, blob: BlobId) -> Result<Vec<(TaskId, u64)>, StoreError> {
        let text = blob.to_string();
        let transaction = Savepoint::new(&self.db)?;
        let found: Vec<(TaskId, u64)> = {
            let mut query = transaction
                .prepare_cached("DELETE FROM kept WHERE blob = ?1 RETURNING job_id, idx, units")?;
            let rows = query.query_map([&text], |row| {
                Ok((TaskId { job: JobId(row.get(0)?), index: row.get(1)? }, row.get(2)?))
            })?;
            rows.collect::<Result<_, _>>()?
        };
        for (task, _) in &found {
            transaction.execute(
                "DELETE FROM job_blobs WHERE job_id = ?1 AND blob = ?2",
                params![task.job.0, text],
            )?;
        }
        transaction.execute("DELETE FROM contents WHERE blob = ?1", [&text])?;
        transaction.commit()?;
        self.forget_blob(blob)?;
        Ok(found)
    }

    /// Returns the states that are kept of the tasks of a job.
    pub fn kept_states(&self, job: JobId) -> Result<Vec<(TaskId, u64, NodeId, BlobId)>, StoreError> {
        let mut query =
            self.db.prepare_cached("SELECT idx, units, node, blob FROM kept WHERE job_id = ?1")?;
        let rows = query.query_map([job.0], |row| {
            Ok((
                TaskId { job, index: row.get(0)? },
                row.get::<_, u64>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
            ))
        })?;
        rows.map(|row| {
            let (task, units, node, blob) = row?;
            Ok((task, units, node_from(&node)?, blob_from(&blob)?))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_of_a_device_that_is_gone_does_not_erase_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let node = NodeId([7; 32]);
        store.touch_peer(node, "anna", &["/ip4/198.51.100.7/tcp/4".to_owned()], [], UnixMillis(5)).unwrap();
        store.set_evidence(node, r#"{"lost":1.0}"#, UnixMillis(6)).unwrap();
        store.touch_peer(node, "", &[], [], UnixMillis(7)).unwrap();
        let row = store.peers(10).unwrap().remove(0);
        assert_eq!(
            (row.name.as_str(), row.addresses.len(), row.evidence.as_str(), row.seen),
            ("anna", 1, r#"{"lost":1.0}"#, UnixMillis(7))
        );
        // When the calendar is set, evidence decays from the same moment as before; nothing else of it
        // changes.
        store.set_evidence(node, r#"{"valid":2.125,"at_ms":1000}"#, UnixMillis(6)).unwrap();
        store.shift_times(-400).unwrap();
        assert_eq!(store.peers(10).unwrap()[0].evidence, r#"{"valid":2.125,"at_ms":600}"#);
        // A device of which only evidence is known is remembered too.
        store.set_evidence(NodeId([8; 32]), "{}", UnixMillis(8)).unwrap();
        assert_eq!(store.peers(10).unwrap().len(), 2);
    }

    /// A member under many names does not displace devices of which something is known.
    #[test]
    fn a_thousand_names_of_one_device_erase_nobody_who_worked() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let [worker, liar, connected, away] = [1, 2, 3, 4].map(|n| NodeId([n; 32]));
        for (node, evidence) in
            [(worker, r#"{"valid":3.0}"#), (liar, r#"{"invalid":1.0}"#), (connected, "{}"), (away, "{}")]
        {
            store
                .touch_peer(node, "old", &["/ip4/198.51.100.7/tcp/4".to_owned()], [], UnixMillis(1))
                .unwrap();
            store.set_evidence(node, evidence, UnixMillis(1)).unwrap();
        }
        for n in 0..1100_u32 {
            let mut made = [9; 32];
            made[..4].copy_from_slice(&n.to_le_bytes());
            store
                .touch_peer(NodeId(made), "mallory", &[], [connected], UnixMillis(2 + i64::from(n)))
                .unwrap();
        }
        let rows = store.peers(2000).unwrap();
        assert_eq!(rows.len(), 1000);
        let kept = |node: NodeId| {
            rows.iter().find(|row| row.node == node).map(|row| (row.evidence.as_str(), row.addresses.len()))
        };
        assert_eq!(kept(worker), Some((r#"{"valid":3.0}"#, 1)));
        assert_eq!(kept(liar), Some((r#"{"invalid":1.0}"#, 1)));
        assert_eq!(kept(connected), Some(("{}", 1)));
        assert_eq!(kept(away), None);
        // The newest device is kept, as otherwise no new one could be remembered.
        assert_eq!(rows[0].seen, UnixMillis(1101));
    }
}
