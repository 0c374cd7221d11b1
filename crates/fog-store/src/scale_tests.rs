//! Tests that the queries of every event cost the same, however much is stored.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fog_types::job::JobFile;
use fog_types::{BlobId, JobId, JobState, NodeId, TaskId, UnixMillis};
use proptest::prelude::*;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use crate::tests::{blob, broke, job, result, store};
use crate::*;

thread_local! {
    static STATEMENTS: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// Runs what the engine asks of the store at an event, at a status, and for a task from its claim to its
/// end.
fn every_event(store: &mut Store, now: i64) {
    let at = UnixMillis(now);
    store.wake_tasks(at).unwrap();
    let next = store.next_task().unwrap().unwrap();
    let claim = store.claim(next, "test", at).unwrap();
    store.set_progress(claim.task, 500).unwrap();
    store.mean_units(claim.task.job).unwrap();
    let done = result(store);
    store.finish_task(claim, &done, at).unwrap().unwrap();
    let claim = store.claim_task("test", at).unwrap().unwrap();
    store.release_task(claim, "why", true, at).unwrap();
    let claim = store.claim_task("test", at).unwrap().unwrap();
    store.fail_task(claim, &broke(), Failure::Retry(UnixMillis(now + 1_000_000)), at).unwrap().unwrap();
    let next = store.next_task().unwrap().unwrap();
    let (lease, node) = (format!("{now:032x}"), NodeId([4; 32]));
    store.reserve_credit(&lease, node, next.job, 5, at).unwrap();
    store.begin_lease(next, &lease, node, "o", at).unwrap();
    store.end_lease(&lease, "declined", at).unwrap();
    store.begin_lease(next, &lease, node, "o", at).unwrap();
    store.settle_credit(&lease, node, next.job, 5, at).unwrap();
    store.end_leases_of(next, "why", at).unwrap();
    // A member fails at a task that it was lent.
    let lent = store.next_task().unwrap().unwrap();
    store.begin_lease(lent, &lease, node, "o", at).unwrap();
    let row = store.lease(&lease).unwrap().unwrap();
    store.end_lease(&lease, "no", at).unwrap();
    let claim = store.begin_lease(lent, &lease, node, "o", at).unwrap();
    assert_eq!(row.claim.task, claim.task);
    store.job(lent.job).unwrap();
    store.task(lent).unwrap();
    store.fail_task(claim, &broke(), Failure::Retry(UnixMillis(now + 1_000_000)), at).unwrap().unwrap();
    store.end_leases_of(lent, "no", at).unwrap();
    store.end_leases_of_job(lent.job, "no", at).unwrap();
    store.credits().unwrap();
    // A status and the chores follow.
    store.job_counts().unwrap();
    store.totals_since(UnixMillis(now - 1000), UnixMillis(now)).unwrap();
    store.disk_use().unwrap();
    store.expire_jobs(UnixMillis(1)).unwrap();
    store.remove_jobs(UnixMillis(0), None).unwrap();
    store.sweep_removed().unwrap();
    store.known_answers(10).unwrap();
    store.checks_of(next.job).unwrap();
    store.job_state(next.job).unwrap();
    store.content(&"0".repeat(64)).unwrap();
    store.forget_blob(BlobId([9; 32])).unwrap();
}

/// Every statement of an event finds its rows through an index, in order.
#[test]
fn no_statement_of_an_event_looks_through_a_table() {
    let (_folder, mut store) = store();
    job(&mut store, 20, 0);
    every_event(&mut store, 1_000_000);
    store.db.flush_prepared_statement_cache();
    store.db.trace_v2(
        TraceEventCodes::SQLITE_TRACE_STMT,
        Some(|event| {
            if let TraceEvent::Stmt(_, sql) = event {
                STATEMENTS.with_borrow_mut(|all| all.insert(sql.to_owned()));
            }
        }),
    );
    every_event(&mut store, 2_000_000);
    store.db.trace_v2(TraceEventCodes::empty(), None);
    let statements = STATEMENTS.take();
    // These tables have few rows, such as one, or one for each state of a job.
    let small = ["blob_sums", "job_sums", "chat_sums", "removed_jobs", "let_go"];
    let mut looked_at = 0;
    for sql in statements.iter().filter(|sql| {
        !sql.starts_with("--")
            && ["SELECT", "UPDATE", "DELETE", "INSERT"].iter().any(|word| sql.starts_with(word))
    }) {
        let mut query = store.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let parameters = query.parameter_count();
        let nothing = vec![rusqlite::types::Null; parameters];
        let plan: Vec<String> = query
            .query_map(rusqlite::params_from_iter(nothing), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for step in &plan {
            let is_scan = step.starts_with("SCAN")
                && !step.contains("CONSTANT ROW")
                && !small.iter().any(|table| step.contains(table));
            // A scan of a partial index is allowed if its rows are the wanted ones.
            let is_partial = step.contains("USING")
                && step.contains("INDEX")
                && ["tasks_waiting", "progress_next", "tasks_agreed"]
                    .iter()
                    .any(|index| step.contains(index));
            assert!(!is_scan || is_partial, "{sql}\n{plan:#?}");
            assert!(!step.contains("TEMP B-TREE"), "{sql}\n{plan:#?}");
        }
        looked_at += 1;
    }
    assert!(looked_at > 40, "{looked_at} statements were looked at");
}

/// Returns the steps of SQLite's virtual machine, which no other program on the device changes.
pub(crate) fn steps_of(store: &mut Store, work: impl FnOnce(&mut Store)) -> u64 {
    let steps = Arc::new(AtomicU64::new(0));
    let counted = steps.clone();
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    store.db.progress_handler(1, Some(count)).unwrap();
    work(store);
    store.db.progress_handler(1, None::<fn() -> bool>).unwrap();
    steps.load(Ordering::Relaxed)
}

#[test]
fn an_event_costs_the_same_with_a_hundred_thousand_tasks() {
    let cost = |tasks: i64, jobs: i64| {
        let (_folder, mut store) = store();
        for _ in 0..jobs {
            job(&mut store, 3, -5);
        }
        job(&mut store, tasks, 0);
        every_event(&mut store, 1_000_000);
        let event = steps_of(&mut store, |store| every_event(store, 2_000_000));
        let status = steps_of(&mut store, |store| {
            store.next_task().unwrap();
            store.job_counts().unwrap();
            store.totals_since(UnixMillis(0), UnixMillis(i64::MAX)).unwrap();
            store.disk_use().unwrap();
        });
        (event, status)
    };
    let few = cost(100, 2);
    let many =
        if std::env::var_os("FOG_TEST_FULL").is_some() { cost(100_000, 1_000) } else { cost(20_000, 1_000) };
    println!("steps for all of one event, and a status: {few:?} with 100 tasks, {many:?} with many");
    assert!(many.0 <= few.0 + few.0 / 10 && many.1 <= few.1 + few.1 / 10, "{few:?} {many:?}");
}

/// Tasks for other devices are read only when their job comes, goes on or ends.
#[test]
fn the_tasks_for_others_are_found_by_their_jobs() {
    let (_folder, mut store) = store();
    let wish = fog_types::job::GridOptions { replicas: 3, ..Default::default() };
    let own = job(&mut store, 40, 0);
    let lent = [job_for_others(&mut store, own, wish), job_for_others(&mut store, own, wish)];
    let gone = job_for_others(&mut store, own, wish);
    store.set_job_state(gone, JobState::Paused, "", UnixMillis(1)).unwrap();
    assert_eq!(store.grid_jobs().unwrap(), lent);
    for id in lent {
        let wanted: Vec<TaskId> = (0..40).map(|index| TaskId { job: id, index }).collect();
        assert_eq!(store.grid_tasks(id).unwrap(), Some((wish, wanted)));
    }
    assert_eq!((store.grid_tasks(own).unwrap(), store.grid_tasks(gone).unwrap()), (None, None));
}

/// Stores the same job for other devices.
fn job_for_others(store: &mut Store, like: JobId, wish: fog_types::job::GridOptions) -> JobId {
    let row = store.job(like).unwrap();
    store
        .insert_job(&NewJob {
            file: row.file,
            blobs: row.blobs,
            owner: "me".to_owned(),
            grid: Some(wish),
            now: UnixMillis(0),
        })
        .unwrap()
}

/// Taking back the lent tasks of a job costs as much as those tasks, however many others the job has.
#[test]
fn a_job_of_a_hundred_thousand_tasks_comes_back_like_one_of_a_hundred() {
    let cost = |tasks: i64, to: JobState| {
        let (_folder, mut store) = store();
        let own = job(&mut store, tasks, 0);
        let id = job_for_others(&mut store, own, Default::default());
        let (at, state) = (UnixMillis(5), blob(&mut store, b"state", 1).unwrap());
        for index in [3, 50, 99] {
            let (task, lease) = (TaskId { job: id, index }, index.to_string());
            store.reserve_credit(&lease, NodeId([4; 32]), id, 5, at).unwrap();
            store.begin_lease(task, &lease, NodeId([4; 32]), "o", at).unwrap();
        }
        store.keep_state(TaskId { job: id, index: 3 }, 7, NodeId([4; 32]), state).unwrap();
        store.set_job_state(id, to, "", at).unwrap();
        let steps = steps_of(&mut store, |store| {
            store.end_leases_of_job(id, "the job was paused or cancelled", at).unwrap()
        });
        assert!(store.leases().unwrap().is_empty());
        assert_eq!(store.credits().unwrap().reserved, 0);
        let (is_over, task) = (to.is_final(), store.task(TaskId { job: id, index: 3 }).unwrap());
        assert_eq!(task.state == fog_types::TaskState::Queued, !is_over, "{:?}", task.state);
        assert!(store.attempts(task.id).unwrap().iter().all(|attempt| attempt.outcome != "running"));
        assert_eq!(
            (store.kept_states(id).unwrap().is_empty(), store.blob(state).is_err()),
            (is_over, is_over),
            "it goes on from its state when it does"
        );
        check_counts(&store);
        steps
    };
    let many = if std::env::var_os("FOG_TEST_FULL").is_some() { 100_000 } else { 20_000 };
    for to in [JobState::Paused, JobState::Cancelled] {
        let (few, many) = (cost(100, to), cost(many, to));
        println!("steps until a {to:?} job is back: {few} with 100 tasks, {many} with many");
        assert!(many <= few + few / 10, "{to:?}: {few} {many}");
    }
}

/// A result of very many files is recorded in as many transactions as one of a few.
#[test]
fn files_are_named_in_one_transaction() {
    let count = |files: usize| {
        let (_folder, mut store) = store();
        let known = blob(&mut store, b"0", 1).unwrap();
        let copied = (0..files)
            .map(|n| BlobFile::copy(store.folder(), n.to_string().as_bytes(), crate::tests::CAP).unwrap())
            .collect();
        thread_local!(static ENDS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });
        ENDS.set(0);
        store.db.trace_v2(
            TraceEventCodes::SQLITE_TRACE_STMT,
            Some(|event| {
                if let TraceEvent::Stmt(_, sql) = event
                    && ["SAVEPOINT", "RELEASE", "PRAGMA"].iter().any(|word| sql.starts_with(word))
                {
                    ENDS.set(ENDS.get() + 1);
                }
            }),
        );
        let ids = store.add_blobs(copied, &[known], fog_types::ByteCount::mib(8), UnixMillis(9)).unwrap();
        store.db.trace_v2(TraceEventCodes::empty(), None);
        assert_eq!((ids.len(), ids[0]), (files, known));
        ENDS.get()
    };
    assert_eq!((count(3), count(300)), (2, 2));
}

/// Checks that the counts kept by triggers equal a fresh count.
fn check_counts(store: &Store) {
    let wrong: Vec<u64> = store
        .db
        .prepare(
            "SELECT job_id FROM progress WHERE
               ready <> (SELECT count(*) FROM tasks t WHERE t.job_id = progress.job_id AND state = 'queued' AND not_before_ms = 0)
            OR waiting <> (SELECT count(*) FROM tasks t WHERE t.job_id = progress.job_id AND state = 'queued' AND not_before_ms > 0)
            OR running <> (SELECT count(*) FROM tasks t WHERE t.job_id = progress.job_id AND state = 'running')
            OR finished <> (SELECT count(*) FROM tasks t WHERE t.job_id = progress.job_id AND state = 'finished')
            OR failed <> (SELECT count(*) FROM tasks t WHERE t.job_id = progress.job_id AND state = 'failed')
            OR cancelled <> (SELECT count(*) FROM tasks t WHERE t.job_id = progress.job_id AND state = 'cancelled')
            OR is_runnable <> (SELECT state IN ('queued', 'running') AND grid IS NULL FROM jobs WHERE id = job_id)",
        )
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(wrong, Vec::<u64>::new());
    let counted: Vec<(String, u64)> = store
        .db
        .prepare("SELECT state, count(*) FROM jobs GROUP BY state ORDER BY state")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut kept: Vec<(String, u64)> = store
        .job_counts()
        .unwrap()
        .into_iter()
        .map(|(state, number)| (state.as_str().to_owned(), number))
        .collect();
    kept.sort();
    assert_eq!(kept, counted);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Any order of events of jobs and tasks is tried.
    #[test]
    fn counts_are_what_counting_gives(steps in prop::collection::vec((0u8..9, 1u64..4, 0u32..4), 0..40)) {
        let (_folder, mut store) = store();
        for priority in 0..3 {
            job(&mut store, 4, priority);
        }
        let mut claims: Vec<Claim> = Vec::new();
        for (now, (what, id, index)) in (10..).zip(steps) {
            let (job, at) = (JobId(id), UnixMillis(now));
            let task = TaskId { job, index };
            match what {
                0 => claims.extend(store.claim_task("test", at).unwrap()),
                // The files of a removed job are gone, so they are made anew.
                1 => if let Some(claim) = claims.pop() {
                    let done = result(&mut store);
                    store.finish_task(claim, &done, at).unwrap();
                },
                2 => if let Some(claim) = claims.pop() { store.release_task(claim, "", index > 1, at).unwrap(); },
                3 => if let Some(claim) = claims.pop() {
                    let then = if index > 1 { Failure::Final } else { Failure::Retry(UnixMillis(now + i64::from(index) * 3)) };
                    store.fail_task(claim, &broke(), then, at).unwrap();
                },
                4 if store.task(task).is_ok() => claims.push(store.begin_lease(task, &now.to_string(), NodeId([1; 32]), "", at).unwrap()),
                5 => store.end_lease(&(now - 3).to_string(), "", at).unwrap(),
                6 => if let Ok(to) = store.job(job).map(|_| [JobState::Paused, JobState::Queued, JobState::Cancelled][index as usize % 3]) {
                    store.set_job_state(job, to, "", at).unwrap();
                },
                7 => { store.recover(at).unwrap(); }
                _ => { store.remove_jobs(UnixMillis(i64::MAX), Some(job)).unwrap(); }
            }
            check_counts(&store);
        }
    }
}

#[test]
fn a_database_of_the_release_before_is_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    {
        let db = rusqlite::Connection::open(folder.path().join("fog.sqlite")).unwrap();
        for step in &crate::migrations::STEPS[..3] {
            db.execute_batch(step).unwrap();
        }
        db.pragma_update(None, "user_version", 3).unwrap();
        let spec = serde_json::to_string(&fog_types::job::JobFile::for_module("old", "m.wasm")).unwrap();
        let blob = BlobId([5; 32]);
        let blobs = serde_json::to_string(&Blobs {
            module: blob,
            stdin: None,
            inputs: Default::default(),
            items: Vec::new(),
        })
        .unwrap();
        db.execute(
            "INSERT INTO jobs (name, owner, spec, blobs, state, priority, created_ms, deadline_ms, tasks_total, tasks_finished, units, failures_in_row)
             VALUES ('old', 'me', ?1, ?2, 'running', 3, 1, 99, 4, 2, 30, 1)",
            [spec, blobs],
        )
        .unwrap();
        db.execute_batch(&format!(
            "INSERT INTO tasks (job_id, idx, state, not_before_ms) VALUES (1, 0, 'finished', 0), (1, 1, 'finished', 0), (1, 2, 'queued', 0), (1, 3, 'queued', 500);
             INSERT INTO blobs VALUES ('{blob}', 1000, 1), ('{}', 24, 1); INSERT INTO job_blobs VALUES (1, '{blob}');
             INSERT INTO journal (at_ms, kind, job_id, idx, detail) VALUES (900001, 'result', 1, 0, ''), (1800001, 'result', 1, 1, '');
             INSERT INTO credits VALUES ('a', '{node}', 1, 0, 5, NULL, 1), ('b', '{node}', NULL, 1, 0, 70, 1);",
            BlobId([6; 32]),
            node = NodeId([1; 32])
        ))
        .unwrap();
    }
    let mut store = Store::open(folder.path()).unwrap();
    check_counts(&store);
    let row = store.job(JobId(1)).unwrap();
    assert_eq!((row.tasks_finished, row.units.0, row.failures_in_row), (2, 30, 1));
    assert_eq!(store.mean_units(JobId(1)).unwrap().unwrap().0, 15);
    assert_eq!(store.next_task().unwrap(), Some(TaskId { job: JobId(1), index: 2 }));
    assert_eq!(store.wake_tasks(UnixMillis(500)).unwrap(), 1);
    let (bytes, pinned) = store.blob_bytes().unwrap();
    assert_eq!((bytes.0, pinned.0), (8192, 4096), "in whole blocks");
    assert_eq!(
        (
            store.totals_since(UnixMillis(0), UnixMillis(i64::MAX)).unwrap().2,
            store.totals_since(UnixMillis(1_800_000), UnixMillis(i64::MAX)).unwrap().2
        ),
        (2, 1)
    );
    assert_eq!(store.credits().unwrap(), CreditRow { earned: 70, spent: 0, reserved: 5 });
    drop(store);
    assert!(Store::open(folder.path()).is_ok());
}

#[test]
fn a_removed_job_is_gone_at_once_and_its_rows_soon() {
    let (_folder, mut store) = store();
    let id = job(&mut store, 5_000, 0);
    let other = job(&mut store, 1, 0);
    store.set_job_state(id, JobState::Cancelled, "", UnixMillis(5)).unwrap();
    assert_eq!(store.remove_jobs(UnixMillis(i64::MAX), Some(id)).unwrap(), 1);
    assert!(matches!(store.job(id), Err(StoreError::NoJob(_))));
    assert_eq!(store.task(TaskId { job: other, index: 0 }).unwrap().id.job, other);
    let mut pieces = 1;
    while store.sweep_removed().unwrap() {
        pieces += 1;
    }
    assert!((3..8).contains(&pieces), "{pieces}");
    let left: u64 = store.db.query_row("SELECT count(*) FROM tasks", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 1);
}

/// A requester cannot make the database large with the arguments of its jobs: they go once a job is done
/// with.
#[test]
fn little_is_kept_of_hosted_jobs_that_are_done_with() {
    let (_folder, mut store) = store();
    let module = blob(&mut store, b"module", 0).unwrap();
    for n in 0..30 {
        let file = JobFile {
            args: vec!["x".repeat(60_000); 15],
            assemble: fog_types::job::Assemble::Tiles { columns: 3 },
            ..JobFile::for_module(&format!("theirs {n}"), "m.wasm")
        };
        let blobs = Blobs { module, stdin: None, inputs: Default::default(), items: Vec::new() };
        let id = store
            .insert_job(&NewJob { file, blobs, owner: "them".to_owned(), grid: None, now: UnixMillis(0) })
            .unwrap();
        let claim = store.claim_task("test", UnixMillis(1)).unwrap().unwrap();
        let done = result(&mut store);
        store.finish_task(claim, &done, UnixMillis(2)).unwrap().unwrap();
        store.host(&hosted(id, &n.to_string())).unwrap();
        assert!(store.bytes_held_by([id]).unwrap() > 900_000, "what is not taken counts with its arguments");
        store.set_hosted_receipt(id, b"receipt").unwrap();
    }
    let length: u64 = store
        .db
        .query_row("SELECT sum(length(spec) + length(blobs)) FROM jobs", [], |row| row.get(0))
        .unwrap();
    assert!(length < 30 * 2_000, "{length}");
    let pages: u64 = store.db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    assert!(pages * 4096 < 4 << 20, "{pages}");
    let listed = store.jobs(&JobFilter { limit: 100, ..JobFilter::default() }).unwrap();
    assert!(listed.iter().all(|job| job.is_picture && JobHead::from(&store.job(job.id).unwrap()) == *job));
    assert_eq!(
        (listed.len(), store.remove_hosted_over(10).unwrap(), store.remove_hosted_over(10).unwrap()),
        (30, 20, 0)
    );
    let left = store.jobs(&JobFilter { limit: 100, ..JobFilter::default() }).unwrap();
    assert_eq!((left.len(), left[0].name.as_str(), left[9].name.as_str()), (10, "theirs 29", "theirs 20"));
}

fn hosted(job: JobId, lease: &str) -> HostedRow {
    let offer = BlobId([2; 32]).to_string();
    HostedRow {
        job,
        lease: lease.to_owned(),
        requester: NodeId([1; 32]),
        offer,
        deadline: UnixMillis(9),
        message: None,
        has_receipt: false,
    }
}

/// The receipt of a hosted result with very many files lets some go at once and the others in pieces.
/// Nothing is left of their names, which no storage limit counts.
#[test]
fn nothing_is_left_of_the_files_of_a_hosted_job_that_is_done_with() {
    type End = fn(&mut Store, JobId);
    let ends: [End; 3] = [
        |store, id| store.set_hosted_receipt(id, b"receipt").unwrap(),
        |store, id| store.give_up_hosted(id, b"given up").unwrap(),
        |store, id| assert!(!store.end_hosted(id, "not wanted", UnixMillis(5)).unwrap()),
    ];
    for end in ends {
        let (_folder, mut store) = store();
        let (id, other) = (job(&mut store, 1, 0), job(&mut store, 1, 0));
        for job in [id, other] {
            let claim = store.claim_task("test", UnixMillis(1)).unwrap().unwrap();
            let mut done = result(&mut store);
            let few: Vec<BlobId> =
                (0..20).map(|n| blob(&mut store, format!("{job} {n}").as_bytes(), 1).unwrap()).collect();
            done.outputs = (0..2_000)
                .map(|n| Output { path: format!("{n:0200}"), blob: few[n % 20], size: 3 })
                .collect();
            store.finish_task(claim, &done, UnixMillis(2)).unwrap().unwrap();
        }
        store.host(&hosted(id, "1")).unwrap();
        let number = |store: &Store, table: &str, job: JobId| {
            store
                .db
                .query_row(&format!("SELECT count(*) FROM {table} WHERE job_id = ?1"), [job.0], |row| {
                    row.get::<_, u64>(0)
                })
                .unwrap()
        };
        end(&mut store, id);
        assert!((1..2_000).contains(&number(&store, "outputs", id)), "some at once, not all");
        let mut pieces = 0;
        while store.sweep_removed().unwrap() {
            pieces += 1;
        }
        assert!((2..8).contains(&pieces), "{pieces}");
        for table in ["outputs", "job_blobs", "let_go"] {
            assert_eq!(number(&store, table, id), 0, "{table}");
        }
        assert_eq!((number(&store, "outputs", other), number(&store, "job_blobs", other)), (2_000, 22));
    }
}

#[test]
fn what_grows_for_ever_is_cut_by_number() {
    let (_folder, mut store) = store();
    job(&mut store, 1, 0);
    let task = TaskId { job: JobId(1), index: 0 };
    for n in 0..200 {
        let (lease, node) = (n.to_string(), NodeId([1; 32]));
        store.begin_lease(task, &lease, node, "o", UnixMillis(n)).unwrap();
        store.end_lease(&lease, "declined: Full", UnixMillis(n)).unwrap();
        store.earn_credit(&lease, node, 3, UnixMillis(n)).unwrap();
        store.note(UnixMillis(n), JournalKind::Checked, task.job, None, "").unwrap();
    }
    let number = |store: &Store, table: &str| {
        store.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, u64>(0)).unwrap()
    };
    assert!(number(&store, "attempts") <= 33, "{}", number(&store, "attempts"));
    store.trim(Kept { samples: 10, journal: 50, credits: 20 }).unwrap();
    assert_eq!((number(&store, "journal"), number(&store, "credits")), (50, 20));
    assert_eq!(store.credits().unwrap().earned, 600, "sums stay");
}

#[test]
fn sums_end_at_the_largest_number() {
    let (_folder, mut store) = store();
    let id = job(&mut store, 2, 0);
    let mut done = result(&mut store);
    done.units = fog_types::WorkUnits(u64::MAX);
    for now in 1..3 {
        let claim = store.claim_task("test", UnixMillis(now)).unwrap().unwrap();
        store.finish_task(claim, &done, UnixMillis(now)).unwrap().unwrap();
        store.settle_credit(&now.to_string(), NodeId([1; 32]), id, u64::MAX, UnixMillis(now)).unwrap();
    }
    assert_eq!(store.job(id).unwrap().units.0, i64::MAX as u64);
    assert_eq!(store.credits().unwrap().spent, i64::MAX as u64);
}

/// Some tasks of a cancelled job are cancelled at once and the others a few at a time; a start goes on with
/// that.
#[test]
fn tasks_of_a_job_that_has_ended_are_cancelled_some_at_a_time() {
    let (folder, mut store) = store();
    let id = job(&mut store, 4_500, 0);
    let count = |store: &Store, state: &str| -> u32 {
        store
            .db
            .query_row("SELECT count(*) FROM tasks WHERE job_id = ?1 AND state = ?2", (id.0, state), |row| {
                row.get(0)
            })
            .unwrap()
    };
    let running = store.claim_task("test", UnixMillis(1)).unwrap().unwrap();
    assert!(store.set_job_state(id, JobState::Cancelled, "", UnixMillis(2)).unwrap());
    assert_eq!((count(&store, "queued"), count(&store, "cancelled"), store.is_ending()), (4_249, 251, true));
    assert!(
        store.claim_task("test", UnixMillis(3)).unwrap().is_none()
            && store.claim_task_of(id, "test", UnixMillis(3)).unwrap().is_none()
    );
    assert!(!store.is_ready(TaskId { job: id, index: 4_000 }).unwrap());
    let done = result(&mut store);
    assert_eq!(store.finish_task(running, &done, UnixMillis(3)).unwrap(), None);
    store.sweep_ending().unwrap();
    drop(store);
    let mut store = Store::open(folder.path()).unwrap();
    store.recover(UnixMillis(4)).unwrap();
    let mut steps = 0;
    while store.is_ending() {
        store.sweep_ending().unwrap();
        steps += 1;
    }
    assert!(steps > 10, "{steps} steps");
    assert_eq!((count(&store, "queued"), count(&store, "cancelled")), (0, 4_500));
    let sums: (u32, u32, u32) = store
        .db
        .query_row("SELECT ready, waiting, cancelled FROM progress WHERE job_id = ?1", [id.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(sums, (0, 0, 4_500));
    // A job that is removed meanwhile is no longer ending.
    let other = job(&mut store, 3_000, 0);
    store.set_job_state(other, JobState::Failed, "the deadline passed", UnixMillis(5)).unwrap();
    assert_eq!(store.remove_jobs(UnixMillis(9), Some(other)).unwrap(), 1);
    store.sweep_ending().unwrap();
    assert!(!store.is_ending());
}
