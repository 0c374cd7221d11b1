//! What work between devices is worth: put aside before it begins, settled by its receipt.

use fog_types::{JobId, NodeId, UnixMillis};
use rusqlite::params;

use crate::{Store, StoreError};

/// Sums in thousandths of a credit; a credit is a thousand million work units at the usual price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CreditRow {
    /// For work done for others, by their receipts.
    pub earned: u64,
    /// For work of others that was accepted.
    pub spent: u64,
    /// Put aside for tasks that are lent now.
    pub reserved: u64,
}

/// Methods about credits. Each returns [`StoreError`] when the database refuses.
#[expect(clippy::missing_errors_doc, reason = "said once for all of them above")]
impl Store {
    /// Puts credits aside for a task that is about to be lent.
    pub fn reserve_credit(&mut self, lease: &str, node: NodeId, job: JobId, milli: u64, now: UnixMillis) -> Result<(), StoreError> {
        self.db
            .prepare_cached("INSERT OR IGNORE INTO credits (lease, node, job_id, is_earned, reserved, at_ms) VALUES (?1, ?2, ?3, 0, ?4, ?5)")?
            .execute(params![lease, node.to_string(), job.0, i64::try_from(milli).unwrap_or(i64::MAX), now.0])?;
        Ok(())
    }

    /// The result of a lease was accepted: what its receipt says is spent, whatever was put aside.
    pub fn settle_credit(&mut self, lease: &str, node: NodeId, job: JobId, milli: u64, now: UnixMillis) -> Result<(), StoreError> {
        self.db.execute(
            "INSERT INTO credits (lease, node, job_id, is_earned, reserved, settled, at_ms) VALUES (?1, ?2, ?3, 0, 0, ?4, ?5)
             ON CONFLICT (lease) DO UPDATE SET reserved = 0, settled = coalesce(settled, excluded.settled), at_ms = excluded.at_ms",
            params![lease, node.to_string(), job.0, i64::try_from(milli).unwrap_or(i64::MAX), now.0],
        )?;
        Ok(())
    }

    /// Nothing comes of a lease: what was put aside is free again.
    pub fn release_credit(&mut self, lease: &str) -> Result<(), StoreError> {
        self.db.prepare_cached("DELETE FROM credits WHERE lease = ?1 AND settled IS NULL")?.execute([lease])?;
        Ok(())
    }

    /// Frees what was put aside for leases that nobody knows any more, as after a crash.
    pub fn release_stray_credits(&mut self) -> Result<(), StoreError> {
        self.db.execute("DELETE FROM credits WHERE settled IS NULL AND lease NOT IN (SELECT lease FROM leases)", [])?;
        Ok(())
    }

    /// A receipt came for work done here.
    pub fn earn_credit(&mut self, lease: &str, node: NodeId, milli: u64, now: UnixMillis) -> Result<(), StoreError> {
        self.db.execute(
            "INSERT OR IGNORE INTO credits (lease, node, is_earned, reserved, settled, at_ms) VALUES (?1, ?2, 1, 0, ?3, ?4)",
            params![lease, node.to_string(), i64::try_from(milli).unwrap_or(i64::MAX), now.0],
        )?;
        Ok(())
    }

    /// The sums, of everybody.
    pub fn credits(&self) -> Result<CreditRow, StoreError> {
        Ok(self.credits_where("?1 IS NULL", None)?.into_iter().fold(CreditRow::default(), |sum, (_, row)| CreditRow {
            earned: sum.earned.saturating_add(row.earned),
            spent: sum.spent.saturating_add(row.spent),
            reserved: sum.reserved.saturating_add(row.reserved),
        }))
    }

    /// The sums with each device.
    pub fn credits_by_node(&self) -> Result<Vec<(NodeId, CreditRow)>, StoreError> {
        self.credits_where("?1 IS NULL", None)
    }

    /// What a job has cost, and what is put aside for it.
    pub fn credits_of(&self, job: JobId) -> Result<CreditRow, StoreError> {
        Ok(self.credits_where("job_id = ?1", Some(job))?.into_iter().fold(CreditRow::default(), |sum, (_, row)| CreditRow {
            earned: 0,
            spent: sum.spent.saturating_add(row.spent),
            reserved: sum.reserved.saturating_add(row.reserved),
        }))
    }

    fn credits_where(&self, condition: &str, job: Option<JobId>) -> Result<Vec<(NodeId, CreditRow)>, StoreError> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT node, total(CASE is_earned WHEN 1 THEN settled END), total(CASE is_earned WHEN 0 THEN settled END), total(reserved)
             FROM credits WHERE {condition} GROUP BY node ORDER BY node"
        ))?;
        let rows = query
            .query_map([job.map(|job| job.0)], |row| Ok((row.get::<_, String>(0)?, row.get::<_, f64>(1)?, row.get::<_, f64>(2)?, row.get::<_, f64>(3)?)))?;
        rows.map(|row| {
            let (node, earned, spent, reserved) = row?;
            let node = node.parse().map_err(|e: fog_types::ParseIdError| StoreError::Damaged(e.to_string()))?;
            Ok((node, CreditRow { earned: earned as u64, spent: spent as u64, reserved: reserved as u64 }))
        })
        .collect()
    }
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
        /// Against a model: whatever happens to leases in whatever order, nothing is spent twice and nothing
        /// stays put aside for a lease that is over.
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
