//! Receipts that are on their way: rows in an outbox, written with the acceptance of a result and deleted
//! when its worker has stored the receipt.

use fog_types::{NodeId, UnixMillis};
use rusqlite::{OptionalExtension as _, params};

use crate::grid::node_from;
use crate::transaction::Savepoint;
use crate::{Store, StoreError};

/// Maximum number of receipts on their way that [`Store::expire_receipts`] leaves.
const MAX_RECEIPTS: u32 = 20_000;

/// Methods about receipts. Each returns [`StoreError`] when the database cannot be read or changed.
#[expect(clippy::missing_errors_doc, reason = "said once for all of them above")]
impl Store {
    /// Stores a receipt until its worker has stored it too.
    pub fn put_receipt(
        &mut self,
        lease: &str,
        node: NodeId,
        message: &[u8],
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.db
            .prepare_cached("INSERT INTO receipts (lease, node, message, at_ms) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (lease) DO NOTHING")?
            .execute(params![lease, node.to_string(), message, now.0])?;
        Ok(())
    }

    /// Returns the receipt for a lease of this node, if it is on its way.
    pub fn receipt(&self, lease: &str, node: NodeId) -> Result<Option<Vec<u8>>, StoreError> {
        let mut query =
            self.db.prepare_cached("SELECT message FROM receipts WHERE lease = ?1 AND node = ?2")?;
        Ok(query.query_row(params![lease, node.to_string()], |row| row.get(0)).optional()?)
    }

    /// Returns lease and worker of all receipts that are on their way.
    pub fn receipts(&self) -> Result<Vec<(String, NodeId)>, StoreError> {
        let mut query = self.db.prepare_cached("SELECT lease, node FROM receipts ORDER BY lease")?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (lease, node) = row?;
            Ok((lease, node_from(&node)?))
        })
        .collect()
    }

    /// Deletes the receipt for a lease of this node, which has stored it.
    pub fn end_receipt(&mut self, lease: &str, node: NodeId) -> Result<(), StoreError> {
        self.relaxed(|db| {
            db.prepare_cached("DELETE FROM receipts WHERE lease = ?1 AND node = ?2")?
                .execute(params![lease, node.to_string()])?;
            Ok(())
        })
    }

    /// Gives up the receipts for results that were accepted before a time, and the oldest beyond 20,000.
    pub fn expire_receipts(&mut self, before: UnixMillis) -> Result<(), StoreError> {
        let savepoint = Savepoint::new(&self.db)?;
        savepoint.execute("DELETE FROM receipts WHERE at_ms < ?1", [before.0])?;
        savepoint.execute("DELETE FROM receipts WHERE lease IN (SELECT lease FROM receipts ORDER BY at_ms DESC LIMIT -1 OFFSET ?1)", [MAX_RECEIPTS])?;
        savepoint.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::store;

    #[test]
    fn a_receipt_waits_until_its_own_worker_has_it() {
        let (_folder, mut store) = store();
        let (worker, other) = (NodeId([1; 32]), NodeId([2; 32]));
        store.put_receipt("a", worker, b"first", UnixMillis(5)).unwrap();
        store.put_receipt("a", worker, b"second", UnixMillis(9)).unwrap();
        assert_eq!(
            store.receipt("a", worker).unwrap().as_deref(),
            Some(&b"first"[..]),
            "a lease has one receipt"
        );
        assert_eq!(store.receipt("a", other).unwrap(), None);
        store.end_receipt("a", other).unwrap();
        assert_eq!(store.receipts().unwrap(), [("a".to_owned(), worker)], "somebody else ends it");
        store.end_receipt("a", worker).unwrap();
        assert!(store.receipts().unwrap().is_empty());
        store.put_receipt("b", worker, b"old", UnixMillis(5)).unwrap();
        store.put_receipt("c", worker, b"new", UnixMillis(7)).unwrap();
        store.expire_receipts(UnixMillis(6)).unwrap();
        assert_eq!(store.receipts().unwrap(), [("c".to_owned(), worker)]);
    }
}
