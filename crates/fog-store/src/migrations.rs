use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::StoreError;

/// SQLite application id in the header of the database file: "FogC".
const APPLICATION_ID: i32 = 0x466f_6743;

/// Version of the schema: it rises only when an older release must not use the database any more. A step that
/// adds a table or a column which an older release need not know leaves it as it is.
const SCHEMA_VERSION: u32 = 7;

/// Number of steps of the releases that kept it as the version of the schema.
const STEPS_IN_VERSION: u32 = 7;

/// Migration steps, applied in order; a step is never edited after a release.
pub(crate) const STEPS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
    include_str!("migrations/0008.sql"),
];

pub(crate) fn run(db: &mut Connection) -> Result<(), StoreError> {
    let found: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::TooNew { found, supported: SCHEMA_VERSION });
    }
    let transaction = db.transaction()?;
    transaction.execute_batch("CREATE TABLE IF NOT EXISTS schema_steps (step INTEGER PRIMARY KEY) STRICT")?;
    // Earlier releases noted the number of steps as the version.
    transaction.execute(
        "WITH RECURSIVE steps (step) AS (SELECT 1 UNION ALL SELECT step + 1 FROM steps WHERE step < ?1)
         INSERT OR IGNORE INTO schema_steps SELECT step FROM steps WHERE ?1 > 0",
        [found.min(STEPS_IN_VERSION)],
    )?;
    for (step, sql) in (1_i64..).zip(STEPS) {
        if transaction.execute("INSERT OR IGNORE INTO schema_steps (step) VALUES (?1)", [step])? > 0 {
            transaction.execute_batch(sql)?;
        }
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
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
        folders
            .filter_map(|folder| std::fs::read_dir(folder.path()).ok())
            .flatten()
            .flatten()
            .next()
            .is_some()
    };
    let empty =
        |problem| StoreError::EmptyDatabase { database: database.to_owned(), blobs: blobs.clone(), problem };
    let foreign = || StoreError::ForeignDatabase { database: database.to_owned() };
    let size = std::fs::metadata(database).map(|about| about.len());
    if size.as_ref().is_ok_and(|size| *size > 0) {
        // Opened for writing, as SQLite may have to recover a journal that a crash left.
        let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.busy_timeout(std::time::Duration::from_secs(2))?;
        let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
        let version = match number("PRAGMA user_version") {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
                return Err(foreign());
            }
            other => other?,
        };
        let (owner, tables) = (
            number("PRAGMA application_id")?,
            number("SELECT count(*) FROM sqlite_schema WHERE type = 'table'")?,
        );
        let has_jobs =
            number("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'jobs'")? > 0;
        let is_foreign = if version == 0 { tables > 0 } else { !has_jobs }
            || (owner != 0 && owner != i64::from(APPLICATION_ID));
        if is_foreign {
            return Err(foreign());
        }
        return if version == 0 && has_blobs() { Err(empty("empty")) } else { Ok(()) };
    }
    if has_blobs() { Err(empty(if size.is_err() { "missing" } else { "empty" })) } else { Ok(()) }
}

#[cfg(test)]
#[path = "migrations_tests.rs"]
mod tests;
