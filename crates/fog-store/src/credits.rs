//! Credits for work between devices: reserved before the work begins, settled by its receipt.

use fog_types::{JobId, NodeId, UnixMillis};
use rusqlite::{Row, params};

use crate::tasks::to_sql;
use crate::{Store, StoreError};

/// Sums in thousandths of a credit; one credit is a thousand million work units at the usual price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CreditRow {
    /// Credits for work done for others, by their receipts.
    pub earned: u64,
    /// Credits for accepted work of others.
    pub spent: u64,
    /// Credits reserved for tasks that are lent now.
    pub reserved: u64,
}

/// Methods about credits. Each returns [`StoreError`] when the database cannot be read or changed.
#[expect(clippy::missing_errors_doc, reason = "said once for all of them above")]
impl Store {
    /// Reserves credits for a task that is about to be lent.
    pub fn reserve_credit(
        &mut self,
        lease: &str,
        node: NodeId,
        job: JobId,
        milli: u64,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.relaxed(|db| {
            db.prepare_cached("INSERT OR IGNORE INTO credits (lease, node, job_id, is_earned, reserved, at_ms) VALUES (?1, ?2, ?3, 0, ?4, ?5)")?
                .execute(params![lease, node.to_string(), job.0, to_sql(milli), now.0])?;
            Ok(())
        })
    }

    /// Settles a lease whose result was accepted: the amount of its receipt is spent, whatever was
    /// reserved.
    pub fn settle_credit(
        &mut self,
        lease: &str,
        node: NodeId,
        job: JobId,
        milli: u64,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.db.execute(
            "INSERT INTO credits (lease, node, job_id, is_earned, reserved, settled, at_ms) VALUES (?1, ?2, ?3, 0, 0, ?4, ?5)
             ON CONFLICT (lease) DO UPDATE SET reserved = 0, settled = coalesce(settled, excluded.settled), at_ms = excluded.at_ms",
            params![lease, node.to_string(), job.0, to_sql(milli), now.0],
        )?;
        Ok(())
    }

    /// Releases the credits reserved for a lease that ended without a result.
    pub fn release_credit(&mut self, lease: &str) -> Result<(), StoreError> {
        self.relaxed(|db| {
            db.prepare_cached("DELETE FROM credits WHERE lease = ?1 AND settled IS NULL")?
                .execute([lease])?;
            Ok(())
        })
    }

    /// Releases the credits reserved for leases that do not exist any more, as after a crash.
    pub fn release_stray_credits(&mut self) -> Result<(), StoreError> {
        self.db.execute(
            "DELETE FROM credits WHERE settled IS NULL AND lease NOT IN (SELECT lease FROM leases)",
            [],
        )?;
        Ok(())
    }

    /// Records a receipt for work done here.
    pub fn earn_credit(
        &mut self,
        lease: &str,
        node: NodeId,
        milli: u64,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.db.execute(
            "INSERT OR IGNORE INTO credits (lease, node, is_earned, reserved, settled, at_ms) VALUES (?1, ?2, 1, 0, ?3, ?4)",
            params![lease, node.to_string(), to_sql(milli), now.0],
        )?;
        Ok(())
    }

    /// Returns the sums over all devices.
    pub fn credits(&self) -> Result<CreditRow, StoreError> {
        let mut query = self
            .db
            .prepare_cached("SELECT node, earned, spent, reserved FROM credit_sums WHERE node = ''")?;
        Ok(query.query_row([], read)?.1)
    }

    /// Returns the sums for each device.
    pub fn credits_by_node(&self) -> Result<Vec<(NodeId, CreditRow)>, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT node, earned, spent, reserved FROM credit_sums WHERE node <> '' ORDER BY node",
        )?;
        let rows = query.query_map([], read)?;
        rows.map(|row| {
            let (node, row) = row?;
            Ok((node.parse().map_err(|e: fog_types::ParseIdError| StoreError::Damaged(e.to_string()))?, row))
        })
        .collect()
    }

    /// Returns the credits spent on a job and those reserved for it.
    pub fn credits_of(&self, job: JobId) -> Result<CreditRow, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT total(settled), total(reserved) FROM credits WHERE job_id = ?1 AND is_earned = 0",
        )?;
        let (spent, reserved): (f64, f64) = query.query_row([job.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(CreditRow { earned: 0, spent: spent as u64, reserved: reserved as u64 })
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<(String, CreditRow)> {
    // A sum below zero would be a bug of the triggers and is read as 0.
    let sum = |index| Ok::<_, rusqlite::Error>(u64::try_from(row.get::<_, i64>(index)?).unwrap_or(0));
    Ok((row.get(0)?, CreditRow { earned: sum(1)?, spent: sum(2)?, reserved: sum(3)? }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JOB: JobId = JobId(7);

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    proptest! {
        /// For any order of events of leases, compared with a model: no credit is spent twice, and none
        /// stays reserved for a lease that is over.
        #[test]
        fn no_credit_is_spent_twice(steps in prop::collection::vec((0u8..4, 0u8..6, 1u64..1000), 0..60)) {
            let folder = tempfile::tempdir().unwrap();
            let mut store = Store::open(folder.path()).unwrap();
            let (mut reserved, mut spent, mut earned) = ([None; 6], [None; 6], [None; 6]);
            for (what, lease, milli) in steps {
                let (at, name, now) = (usize::from(lease), format!("{lease:032x}"), UnixMillis(1));
                match what {
                    0 => {
                        store.reserve_credit(&name, node(lease), JOB, milli, now).unwrap();
                        if spent[at].is_none() && reserved[at].is_none() { reserved[at] = Some(milli); }
                    }
                    1 => {
                        store.settle_credit(&name, node(lease), JOB, milli, now).unwrap();
                        if spent[at].is_none() { spent[at] = Some(milli); }
                        reserved[at] = None;
                    }
                    2 => {
                        store.release_credit(&name).unwrap();
                        reserved[at] = None;
                    }
                    _ => {
                        let name = format!("{:032x}", u32::from(lease) + 100);
                        store.earn_credit(&name, node(lease), milli, now).unwrap();
                        if earned[at].is_none() { earned[at] = Some(milli); }
                    }
                }
            }
            let sum = |list: [Option<u64>; 6]| list.into_iter().flatten().sum::<u64>();
            prop_assert_eq!(store.credits().unwrap(), CreditRow { earned: sum(earned), spent: sum(spent), reserved: sum(reserved) });
            prop_assert_eq!(store.credits_of(JOB).unwrap().spent, sum(spent));
        }
    }
}
