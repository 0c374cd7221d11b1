use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::StoreError;

/// SQLite application id in the header of the database file: "FogC".
const APPLICATION_ID: i32 = 0x466f_6743;

/// Migration steps, applied in order; a step is never edited after a release.
pub(crate) const STEPS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
];

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
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()?;
    Ok(())
}

/// Refuses a database that does not belong to the files beside it, before anything is written: with an
/// empty database every stored result would look like a leftover.
pub(crate) fn check_own(folder: &Path, database: &Path) -> Result<(), StoreError> {
    let blobs = folder.join("blobs");
    let has_blobs = || {
        let folders = std::fs::read_dir(&blobs).into_iter().flatten().flatten();
        folders.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flatten().flatten().next().is_some()
    };
    let empty = |problem| StoreError::EmptyDatabase { database: database.to_owned(), blobs: blobs.clone(), problem };
    let foreign = || StoreError::ForeignDatabase { database: database.to_owned() };
    let size = std::fs::metadata(database).map(|about| about.len());
    if size.as_ref().is_ok_and(|size| *size > 0) {
        // Opened for writing, as SQLite may have to recover a journal that a crash left.
        let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.busy_timeout(std::time::Duration::from_secs(2))?;
        let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
        let version = match number("PRAGMA user_version") {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => return Err(foreign()),
            other => other?,
        };
        let (owner, tables) = (number("PRAGMA application_id")?, number("SELECT count(*) FROM sqlite_schema WHERE type = 'table'")?);
        let has_jobs = number("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'jobs'")? > 0;
        let is_foreign = if version == 0 { tables > 0 } else { !has_jobs } || (owner != 0 && owner != i64::from(APPLICATION_ID));
        if is_foreign {
            return Err(foreign());
        }
        return if version == 0 && has_blobs() { Err(empty("empty")) } else { Ok(()) };
    }
    if has_blobs() { Err(empty(if size.is_err() { "missing" } else { "empty" })) } else { Ok(()) }
}
