use rusqlite::Connection;

use crate::StoreError;

/// One step each, applied in order and never edited after a release.
const STEPS: &[&str] = &[include_str!("migrations/0001.sql"), include_str!("migrations/0002.sql"), include_str!("migrations/0003.sql")];

pub(crate) fn run(db: &mut Connection) -> Result<(), StoreError> {
    let found: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let supported = STEPS.len() as u32;
    if found > supported {
        return Err(StoreError::TooNew { found, supported });
    }
    let transaction = db.transaction()?;
    for step in &STEPS[found as usize..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", supported)?;
    transaction.commit()?;
    Ok(())
}
