use std::collections::BTreeMap;

use rusqlite::params;

use crate::jobs::from_json;
use crate::transaction::Savepoint;
use crate::{Store, StoreError};

impl Store {
    /// Returns all stored settings; a setting at its default is not stored.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn settings(&self) -> Result<BTreeMap<String, serde_json::Value>, StoreError> {
        let mut query = self.db.prepare_cached("SELECT key, value FROM settings")?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (key, value) = row?;
            Ok((key, from_json(&value)?))
        })
        .collect()
    }

    /// Stores several settings in one transaction; `None` resets a setting to its default.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed; no setting is changed then.
    pub fn set_settings(
        &mut self,
        changes: &[(String, Option<serde_json::Value>)],
    ) -> Result<(), StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        for (key, value) in changes {
            match value {
                Some(value) => transaction.execute(
                    "INSERT INTO settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    params![key, value.to_string()],
                )?,
                None => transaction.execute("DELETE FROM settings WHERE key = ?1", [key])?,
            };
        }
        transaction.commit()?;
        Ok(())
    }
}
