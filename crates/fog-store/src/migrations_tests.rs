//! Tests of the migrations on a database of each released schema.

use fog_types::{JobId, JobState, NodeId, TaskId, TaskState, UnixMillis, WorkUnits};
use rusqlite::Connection;

use super::{SCHEMA_VERSION, STEPS};
use crate::{JobFilter, Store, StoreError};

/// Databases as the releases with these schemas wrote them.
const RELEASED: [&str; 7] = [
    include_str!("../fixtures/schema-1.sql"),
    include_str!("../fixtures/schema-2.sql"),
    include_str!("../fixtures/schema-3.sql"),
    include_str!("../fixtures/schema-4.sql"),
    include_str!("../fixtures/schema-5.sql"),
    include_str!("../fixtures/schema-6.sql"),
    include_str!("../fixtures/schema-7.sql"),
];
/// Readable schema, kept for people.
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.sql");

fn folder_with(sql: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let db = Connection::open(folder.path().join(crate::DATABASE)).unwrap();
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = OFF;").unwrap();
    db.execute_batch(sql).unwrap();
    folder
}

/// Statements that make all tables, indexes and triggers.
fn schema_of(db: &Connection) -> String {
    let mut query = db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY tbl_name, type DESC, name").unwrap();
    let rows = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(|sql| sql.unwrap() + ";\n\n").collect()
}

#[test]
fn a_database_of_each_release_is_upgraded_and_keeps_what_was_in_it() {
    let fresh = {
        let folder = tempfile::tempdir().unwrap();
        schema_of(&Store::open(folder.path()).unwrap().db)
    };
    for (version, sql) in (1..).zip(RELEASED) {
        let folder = folder_with(sql);
        // Twice: an upgraded database is opened like any other.
        for _ in 0..2 {
            let mut store = Store::open(folder.path()).unwrap();
            assert_eq!(schema_of(&store.db), fresh, "schema {version}");
            let jobs = store.jobs(&JobFilter { limit: 9, ..JobFilter::default() }).unwrap();
            let states: Vec<_> = jobs.iter().map(|job| (job.id, job.state)).collect();
            assert_eq!(
                states,
                [(JobId(2), JobState::Queued), (JobId(1), JobState::Finished)],
                "schema {version}"
            );
            let done = store.task(TaskId { job: JobId(1), index: 0 }).unwrap();
            assert_eq!(
                (done.state, done.units, done.agreed),
                (TaskState::Finished, WorkUnits(500), 1),
                "schema {version}"
            );
            let outputs = store.outputs(done.id).unwrap();
            assert_eq!(
                (outputs.len(), outputs[0].path.as_str(), outputs[0].size),
                (1, "out/a.txt", 70),
                "schema {version}"
            );
            let failed = store.task(TaskId { job: JobId(2), index: 0 }).unwrap();
            assert_eq!(
                (failed.attempts, failed.problem.as_str()),
                (1, "it ended with 3"),
                "schema {version}"
            );
            assert_eq!(store.settings().unwrap()["cores"], 3.0, "schema {version}");
            assert_eq!(store.journal(JobId(1), 9).unwrap().len(), 2, "schema {version}");
            let (bytes, needed) = store.blob_bytes().unwrap();
            assert_eq!((bytes.0, needed.0), (8192 + 3 * 4096, 8192 + 3 * 4096), "schema {version}");
            let (worked, units, results) =
                store.totals_since(UnixMillis(1_789_990_000_000), UnixMillis(1_790_010_000_000)).unwrap();
            assert_eq!((worked, units, results), (41_000, WorkUnits(500), 1), "schema {version}");
            if version > 1 {
                assert_eq!(
                    (store.credits().unwrap().spent, store.credits().unwrap().earned),
                    (1500, 700),
                    "schema {version}"
                );
                assert_eq!(
                    (store.peers(9).unwrap()[0].name.as_str(), store.networks().unwrap().len()),
                    ("attic", 1),
                    "schema {version}"
                );
            }
            // The task that ran in the old release is queued again.
            store.recover(UnixMillis(1_790_000_200_000)).unwrap();
            assert_eq!(
                store.task(TaskId { job: JobId(2), index: 1 }).unwrap().state,
                TaskState::Queued,
                "schema {version}"
            );
            store.put_receipt("a", NodeId([1; 32]), b"receipt", UnixMillis(5)).unwrap();
        }
    }
}

/// A release whose new tables this one need not know can be replaced by this one again.
#[test]
fn a_database_with_further_steps_is_opened_and_one_with_a_higher_version_is_not() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let database = folder.path().join(crate::DATABASE);
    let db = Connection::open(&database).unwrap();
    db.execute_batch("CREATE TABLE of_a_later_release (id INTEGER PRIMARY KEY) STRICT; INSERT INTO of_a_later_release VALUES (7);").unwrap();
    db.execute("INSERT INTO schema_steps (step) VALUES (?1)", [STEPS.len() as i64 + 1]).unwrap();
    drop(db);
    drop(Store::open(folder.path()).unwrap());
    let db = Connection::open(&database).unwrap();
    let kept: (i64, i64) = db
        .query_row(
            "SELECT (SELECT count(*) FROM of_a_later_release), (SELECT max(step) FROM schema_steps)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!(kept, (1, STEPS.len() as i64 + 1));
    db.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    drop(db);
    assert!(matches!(Store::open(folder.path()), Err(StoreError::TooNew { .. })));
}

/// The readable schema is written anew with `FOG_WRITE_SCHEMA=1`.
#[test]
fn the_readable_schema_is_that_of_a_new_database() {
    let folder = tempfile::tempdir().unwrap();
    let schema = format!(
        "-- Schema of the database, for people; the steps in src/migrations make it.\n\n{}",
        schema_of(&Store::open(folder.path()).unwrap().db)
    );
    if std::env::var_os("FOG_WRITE_SCHEMA").is_some() {
        std::fs::write(SCHEMA, &schema).unwrap();
    }
    let kept = std::fs::read_to_string(SCHEMA).unwrap_or_default();
    assert!(kept == schema, "schema.sql is out of date: run this test with FOG_WRITE_SCHEMA=1");
}
