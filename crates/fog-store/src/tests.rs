use fog_types::job::{JobFile, Map};
use fog_types::{
    BlobId, ByteCount, ErrorKind, HasKind as _, JobId, JobState, TaskId, TaskState, UnixMillis, WorkUnits,
};

use super::*;

pub(crate) const CAP: ByteCount = ByteCount::mib(1);

pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

pub(crate) fn blob(store: &mut Store, bytes: &[u8], at: i64) -> Result<BlobId, StoreError> {
    let file = BlobFile::copy(&store.folder, bytes, CAP)?;
    store.add_blob(file, CAP, UnixMillis(at))
}

pub(crate) fn job(store: &mut Store, tasks: i64, priority: i8) -> JobId {
    let module = blob(store, b"module", 0).unwrap();
    let file =
        JobFile { map: Map::Range { from: 0, to: tasks }, priority, ..JobFile::for_module("test", "m.wasm") };
    let blobs = Blobs { module, stdin: None, inputs: Default::default(), items: Vec::new() };
    store.insert_job(&NewJob { file, blobs, owner: "me".to_owned(), grid: None, now: UnixMillis(0) }).unwrap()
}

pub(crate) fn result(store: &mut Store) -> TaskResult {
    let log = blob(store, b"log", 0).unwrap();
    TaskResult {
        exit_code: 0,
        units: WorkUnits(10),
        active_millis: 5,
        memory: 1,
        result_hash: "hash".to_owned(),
        agreed: 1,
        stdout: log,
        stderr: log,
        stdout_dropped: 0,
        stderr_dropped: 0,
        outputs: vec![Output { path: "a".to_owned(), blob: log, size: 3 }],
    }
}

fn results_noted(store: &Store, id: JobId) -> usize {
    store.journal(id, 100).unwrap().iter().filter(|row| row.kind == JournalKind::Result).count()
}

#[test]
fn a_second_program_is_kept_out_and_the_first_one_leaves_no_trace() {
    let (folder, store) = store();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse { .. })));
    drop(store);
    assert!(Store::open(folder.path()).is_ok());
}

#[test]
fn a_newer_schema_is_refused() {
    let (folder, store) = store();
    store.db.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    assert!(matches!(Store::open(folder.path()), Err(StoreError::TooNew { found: 99, .. })));
}

#[test]
fn tasks_are_claimed_by_priority_then_age_and_a_job_ends_with_its_last_result() {
    let (_folder, mut store) = store();
    let low = job(&mut store, 1, 0);
    let high = job(&mut store, 2, 5);
    let now = UnixMillis(1);
    let mut order = Vec::new();
    while let Some(claim) = store.claim_task("test", now).unwrap() {
        order.push((claim.task.job, claim.task.index));
        let done = result(&mut store);
        store.finish_task(claim, &done, now).unwrap().unwrap();
    }
    assert_eq!(order, [(high, 0), (high, 1), (low, 0)]);
    assert_eq!(store.job(high).unwrap().state, JobState::Finished);
    assert_eq!(store.job(high).unwrap().units, WorkUnits(20));
    assert_eq!(store.outputs(TaskRow::clone(&store.tasks(high, 0, 1).unwrap()[0]).id).unwrap().len(), 1);
}

#[test]
fn a_result_counts_once() {
    let (_folder, mut store) = store();
    let id = job(&mut store, 1, 0);
    let claim = store.claim_task("test", UnixMillis(1)).unwrap().unwrap();
    let done = result(&mut store);
    assert_eq!(store.finish_task(claim, &done, UnixMillis(2)).unwrap(), Some(JobState::Finished));
    assert_eq!(store.finish_task(claim, &done, UnixMillis(3)).unwrap(), None);
    assert_eq!(results_noted(&store, id), 1);
}

#[test]
fn a_crash_puts_running_tasks_back_and_old_claims_are_worthless() {
    let (folder, mut first) = store();
    let id = job(&mut first, 1, 0);
    let old = first.claim_task("test", UnixMillis(1)).unwrap().unwrap();
    drop(first);
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(store.recover(UnixMillis(2)).unwrap(), 1);
    let done = result(&mut store);
    assert_eq!(store.finish_task(old, &done, UnixMillis(3)).unwrap(), None);
    let new = store.claim_task("test", UnixMillis(4)).unwrap().unwrap();
    assert!(store.finish_task(new, &done, UnixMillis(5)).unwrap().is_some());
    assert_eq!(results_noted(&store, id), 1);
    let outcomes: Vec<String> = store.attempts(new.task).unwrap().into_iter().map(|a| a.outcome).collect();
    assert_eq!(outcomes, ["interrupted", "finished"]);
}

#[test]
fn jobs_whose_turn_it_is_can_be_passed_over() {
    let (_folder, mut store) = store();
    let jobs = [(1, 0), (2, 5), (1, 0)].map(|(tasks, priority)| job(&mut store, tasks, priority));
    let behind =
        |store: &Store, jobs| store.next_task_behind(jobs).unwrap().map(|task| (task.job, task.index));
    assert_eq!(behind(&store, 0), Some((jobs[1], 0)), "{:?}", store.next_task());
    assert_eq!(behind(&store, 1), Some((jobs[0], 0)));
    assert_eq!((behind(&store, 2), behind(&store, 3)), (Some((jobs[2], 0)), None));
    let next = store.next_task_behind(1).unwrap().unwrap();
    store.claim(next, "test", UnixMillis(1)).unwrap();
    assert_eq!(behind(&store, 1), Some((jobs[2], 0)), "the one in front is still in front");
}

#[test]
fn a_failed_attempt_waits_for_its_back_off() {
    let (_folder, mut store) = store();
    job(&mut store, 1, 0);
    let claim = store.claim_task("test", UnixMillis(1)).unwrap().unwrap();
    assert_eq!(
        store.fail_task(claim, &broke(), Failure::Retry(UnixMillis(100)), UnixMillis(2)).unwrap(),
        Some(1)
    );
    assert_eq!(store.claim_task("test", UnixMillis(99)).unwrap(), None);
    assert_eq!(store.next_task().unwrap(), None);
    assert!(store.claim_task("test", UnixMillis(100)).unwrap().is_some());
}

#[test]
fn failures_before_an_advance_are_not_in_a_row_with_those_behind_it() {
    let (_folder, mut store) = store();
    let id = job(&mut store, 1, 0);
    let mut at = 0;
    let mut claim = |store: &mut Store| {
        at += 10;
        store.claim_task("test", UnixMillis(at)).unwrap().unwrap()
    };
    for in_a_row in 1..=2 {
        let failed = claim(&mut store);
        assert_eq!(
            store.fail_task(failed, &broke(), Failure::Retry(UnixMillis(0)), UnixMillis(1)).unwrap(),
            Some(in_a_row)
        );
    }
    let advanced = claim(&mut store);
    store.release_task(advanced, "killed", true, UnixMillis(1)).unwrap();
    assert_eq!((store.task(advanced.task).unwrap().attempts, store.job(id).unwrap().failures_in_row), (0, 0));
    let stuck = claim(&mut store);
    assert_eq!(
        store.fail_task(stuck, &broke(), Failure::Retry(UnixMillis(0)), UnixMillis(1)).unwrap(),
        Some(1)
    );
    let released = claim(&mut store);
    store.release_task(released, "shut down", false, UnixMillis(1)).unwrap();
    assert_eq!(store.task(released.task).unwrap().attempts, 1);
}

#[test]
fn a_task_that_is_put_back_stays_as_far_as_its_checkpoint() {
    let (_folder, mut store) = store();
    let id = job(&mut store, 2, 0);
    let far = |store: &Store, index| {
        let task = store.task(TaskId { job: id, index }).unwrap();
        (task.units.0, task.permille)
    };
    let saved = store.claim_task("test", UnixMillis(0)).unwrap().unwrap();
    let unsaved = store.claim_task("test", UnixMillis(0)).unwrap().unwrap();
    store.set_progress(saved.task, 250).unwrap();
    store.set_progress(unsaved.task, 250).unwrap();
    store.set_saved(saved.task, WorkUnits(70)).unwrap();
    store.release_task(saved, "paused", true, UnixMillis(1)).unwrap();
    store.release_task(unsaved, "paused", false, UnixMillis(1)).unwrap();
    assert_eq!((far(&store, 0), far(&store, 1), store.saved_units(id).unwrap().0), ((70, 250), (0, 0), 70));
    // The last checkpoint of the task may be ready only now.
    store.set_saved(unsaved.task, WorkUnits(9)).unwrap();
    assert_eq!(store.saved_units(id).unwrap().0, 79);
    let again = store.claim_task("test", UnixMillis(2)).unwrap().unwrap();
    assert_eq!(
        (far(&store, 0), store.saved_units(id).unwrap().0),
        ((70, 250), 9),
        "one that runs again is counted by its worker"
    );
    store.recover(UnixMillis(3)).unwrap();
    assert_eq!((far(&store, 0), store.saved_units(id).unwrap().0), ((70, 250), 79));
    // The checkpoint is of no use any more.
    store.set_saved(again.task, WorkUnits(0)).unwrap();
    assert_eq!((far(&store, 0), store.saved_units(id).unwrap().0), ((0, 0), 9));
}

/// A killed engine leaves its lock behind for a moment.
#[test]
fn a_lock_that_is_about_to_go_is_waited_for() {
    let (folder, store) = store();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse { .. })));
    let going = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(store);
    });
    Store::open(folder.path()).unwrap();
    going.join().unwrap();
}

pub(crate) fn broke() -> FailedAttempt {
    FailedAttempt { problem: "it broke".to_owned(), units: WorkUnits(1), exit_code: None, logs: None }
}

#[test]
fn a_job_with_a_failed_task_runs_the_others_and_then_fails() {
    let (_folder, mut store) = store();
    let id = job(&mut store, 2, 0);
    let first = store.claim_task("test", UnixMillis(1)).unwrap().unwrap();
    store.fail_task(first, &broke(), Failure::Final, UnixMillis(2)).unwrap();
    assert_eq!(store.job(id).unwrap().state, JobState::Running);
    let second = store.claim_task("test", UnixMillis(3)).unwrap().unwrap();
    let done = result(&mut store);
    assert_eq!(store.finish_task(second, &done, UnixMillis(4)).unwrap(), Some(JobState::Failed));
    assert_eq!(store.job(id).unwrap().problem, "it broke");
}

#[test]
fn cancelling_keeps_results_and_drops_the_rest() {
    let (_folder, mut store) = store();
    let id = job(&mut store, 3, 0);
    let first = store.claim_task("test", UnixMillis(1)).unwrap().unwrap();
    let done = result(&mut store);
    store.finish_task(first, &done, UnixMillis(2)).unwrap();
    let second = store.claim_task("test", UnixMillis(3)).unwrap().unwrap();
    assert!(store.set_job_state(id, JobState::Cancelled, "", UnixMillis(4)).unwrap());
    assert_eq!(store.finish_task(second, &done, UnixMillis(5)).unwrap(), None);
    let states: Vec<TaskState> = store.tasks(id, 0, 10).unwrap().into_iter().map(|t| t.state).collect();
    assert_eq!(states, [TaskState::Finished, TaskState::Cancelled, TaskState::Cancelled]);
    assert!(!store.set_job_state(id, JobState::Queued, "", UnixMillis(6)).unwrap(), "final is final");
}

#[test]
fn deadlines_end_jobs() {
    let (_folder, mut store) = store();
    let id = job(&mut store, 1, 0);
    assert_eq!(store.expire_jobs(UnixMillis(1)).unwrap(), []);
    assert_eq!(store.expire_jobs(UnixMillis(8 * 86_400_000)).unwrap(), [id]);
    assert_eq!(store.job(id).unwrap().state, JobState::Failed);
}

#[test]
fn the_cap_evicts_the_longest_unused_blob_but_never_one_a_job_needs() {
    let (_folder, mut store) = store();
    job(&mut store, 1, 0);
    let part = |n: u8| vec![n; 400 << 10];
    let a = blob(&mut store, &part(1), 10).unwrap();
    let b = blob(&mut store, &part(2), 20).unwrap();
    blob(&mut store, &part(1), 30).unwrap();
    let c = blob(&mut store, &part(3), 40).unwrap();
    assert!(store.blob(a).is_ok() && store.blob(c).is_ok());
    assert!(matches!(store.blob(b), Err(StoreError::NoBlob(_))), "b was used longest ago");
    assert!(store.blob_bytes().unwrap().0 <= CAP);
    let module = store.job(JobId(1)).unwrap().blobs.module;
    assert!(store.make_room(CAP.0, CAP, UnixMillis(50)).is_err(), "the module is needed");
    assert!(store.blob(module).is_ok());
}

#[test]
fn a_blob_changed_on_disk_is_noticed() {
    let (_folder, mut store) = store();
    let id = blob(&mut store, b"hello", 0).unwrap();
    assert_eq!(store.read_blob(id, 100).unwrap(), b"hello");
    std::fs::write(store.blob(id).unwrap(), b"hellO").unwrap();
    assert!(matches!(store.read_blob(id, 100), Err(StoreError::Changed { .. })));
    assert!(matches!(store.read_blob(id, 5), Err(StoreError::Changed { .. })), "a limit that it just meets");
    assert_eq!(store.read_blob(id, 4).unwrap().len(), 4, "a part is not compared");
}

#[test]
fn a_blob_that_is_stored_again_is_whole_again() {
    let (_folder, mut store) = store();
    let id = blob(&mut store, b"hello", 0).unwrap();
    for damage in [&b"hellO"[..], b"he", b""] {
        std::fs::write(store.blob(id).unwrap(), damage).unwrap();
        assert_eq!(blob(&mut store, b"hello", 1).unwrap(), id);
        assert_eq!(store.read_blob(id, 100).unwrap(), b"hello");
    }
    let before = store.blob_bytes().unwrap();
    store.remove_damaged(id).unwrap();
    store.remove_damaged(id).unwrap();
    assert!(matches!(store.read_blob(id, 100), Err(StoreError::NoBlob(_))));
    blob(&mut store, b"hello", 2).unwrap();
    assert_eq!((store.read_blob(id, 100).unwrap(), store.blob_bytes().unwrap()), (b"hello".to_vec(), before));
}

#[test]
fn settings_and_samples_round_trip() {
    let (_folder, mut store) = store();
    store.set_settings(&[("a".to_owned(), Some(1.into())), ("b".to_owned(), Some("x".into()))]).unwrap();
    store.set_settings(&[("a".to_owned(), None)]).unwrap();
    assert_eq!(store.settings().unwrap().into_keys().collect::<Vec<_>>(), ["b"]);
    for minute in 1..=60 {
        let sample = Sample {
            at: UnixMillis(minute * 60_000),
            span_millis: 60_000,
            duty: fog_types::Percent::new(50),
            worked_millis: 30_000,
            units: WorkUnits(1),
            cpu_temp: Some(50.0),
            battery: None,
            other_cpu: None,
            reason: String::new(),
        };
        store.add_sample(&sample, None).unwrap();
    }
    let points = store.samples(UnixMillis(0), UnixMillis(3_600_000), 10).unwrap();
    assert!(points.len() <= 11, "{}", points.len());
    assert_eq!(points.iter().map(|p| p.units.0).sum::<u64>(), 60);
    assert_eq!(store.totals_since(UnixMillis(0), UnixMillis(i64::MAX)).unwrap().0, 1_800_000);
}

/// The clock is forty days ahead for an hour, and then it is set right.
#[test]
fn what_was_done_with_a_wrong_calendar_is_done_once_and_then() {
    const DAY: i64 = 86_400_000;
    let (_folder, mut store) = store();
    let sample = |at: i64| Sample {
        at: UnixMillis(at),
        span_millis: 60_000,
        duty: fog_types::Percent::new(50),
        worked_millis: 60_000,
        units: WorkUnits(1),
        cpu_temp: None,
        battery: None,
        other_cpu: None,
        reason: String::new(),
    };
    let noon = 1000 * DAY + DAY / 2;
    let worked =
        |store: &Store, from: i64, to: i64| store.totals_since(UnixMillis(from), UnixMillis(to)).unwrap().0;
    store.add_sample(&sample(noon - DAY), None).unwrap();
    store.shift_times(40 * DAY).unwrap();
    // The sample is of a span that goes on.
    store.keep_sample(&sample(noon + 40 * DAY), None).unwrap();
    store.add_sample(&sample(noon + 40 * DAY + 60_000), Some(UnixMillis(noon + 40 * DAY))).unwrap();
    assert_eq!(worked(&store, noon + 40 * DAY - 3_600_000, noon + 40 * DAY + 60_000), 60_000);
    store.shift_times(-40 * DAY).unwrap();
    let now = noon + 120_000;
    assert_eq!(worked(&store, noon - DAY / 2, now), 60_000, "what was done today is not");
    assert_eq!(worked(&store, noon - 2 * DAY, noon - DAY / 2), 60_000, "what was done yesterday has moved");
    assert_eq!(worked(&store, noon + 39 * DAY, noon + 41 * DAY), 0, "it is done again in forty days");
    let times: Vec<i64> = store
        .samples(UnixMillis(noon - 2 * DAY), UnixMillis(now), 100_000)
        .unwrap()
        .iter()
        .map(|sample| sample.at.0)
        .collect();
    assert_eq!(times, [noon - DAY, noon + 60_000]);
    // A sample later than now, as after a start with a wrong calendar that nobody saw, counts nowhere.
    store.add_sample(&sample(now + 40 * DAY), None).unwrap();
    assert_eq!(worked(&store, noon - DAY / 2, now), 60_000);
    assert_eq!(store.samples(UnixMillis(noon), UnixMillis(now), 10).unwrap().len(), 1);
}

/// Results move by whole quarters of an hour, so that midnight stays between two.
#[test]
fn results_move_with_the_calendar() {
    use crate::history::quarter_of;
    const QUARTER: i64 = 900_000;
    let at = |minutes: i64| UnixMillis(minutes * 60_000);
    assert_eq!((quarter_of(at(14), 0), quarter_of(at(15), 0)), (0, 1));
    for shift in [40 * 96 * QUARTER, -7 * QUARTER, 7 * 60_000, -8 * 60_000] {
        assert_eq!(quarter_of(at(15), shift) - quarter_of(at(0), shift), 1, "{shift}");
    }
    // An earlier result is as far away as before.
    assert_eq!(quarter_of(at(30), 0), quarter_of(UnixMillis(at(30).0 + 96 * QUARTER), 96 * QUARTER));
}

#[test]
fn a_stretch_that_goes_on_is_one_sample_that_only_grows() {
    let (_folder, mut store) = store();
    let sample = |seconds: i64| Sample {
        at: UnixMillis(seconds * 1000),
        span_millis: seconds.unsigned_abs() * 1000,
        duty: fog_types::Percent::new(50),
        worked_millis: seconds.unsigned_abs() * 500,
        units: WorkUnits(seconds.unsigned_abs()),
        cpu_temp: None,
        battery: None,
        other_cpu: None,
        reason: String::new(),
    };
    let mut before = None;
    for seconds in [10, 20, 30] {
        store.keep_sample(&sample(seconds), before).unwrap();
        assert_eq!(store.samples(UnixMillis(0), UnixMillis(3_600_000), 3_600).unwrap(), [sample(seconds)]);
        before = Some(sample(seconds).at);
    }
    store.add_sample(&sample(60), before).unwrap();
    assert_eq!(store.totals_since(UnixMillis(0), UnixMillis(i64::MAX)).unwrap(), (30_000, WorkUnits(60), 0));
    assert_eq!(store.samples(UnixMillis(0), UnixMillis(3_600_000), 3_600).unwrap(), [sample(60)]);
}

#[test]
fn a_blob_that_arrives_in_pieces_goes_on_after_its_last_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part");
    let bytes: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
    let id = BlobId(*blake3::hash(&bytes).as_bytes());
    let resume = || BlobIntake::resume(&path, 100, 1000).unwrap();
    let mut intake = resume();
    intake.write(&bytes[..250]).unwrap();
    drop(intake);
    let mut intake = resume();
    assert_eq!(intake.size(), 200, "a torn piece is fetched again");
    intake.write(&bytes[200..]).unwrap();
    drop(intake);
    // The file is complete, but the engine stopped before it was taken.
    let file = resume().finish(folder.path(), id).unwrap();
    assert_eq!((file.id(), file.size(), std::fs::read(file.path()).unwrap()), (id, 1000, bytes));
    assert!(!path.exists());
    // A file with the wrong hash is not kept for the next attempt.
    let mut wrong = resume();
    wrong.write(&[7; 1000]).unwrap();
    assert!(matches!(wrong.finish(folder.path(), id), Err(StoreError::Damaged(_))));
    assert_eq!(resume().size(), 0);
}

/// Overwrites the database file from `from` on.
fn damage(folder: &Path, from: u64) {
    use std::io::{Seek, SeekFrom, Write};
    let mut file = std::fs::File::options().write(true).open(folder.join("fog.sqlite")).unwrap();
    let size = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(from)).unwrap();
    file.write_all(&vec![0xff; (size - from) as usize]).unwrap();
}

#[test]
fn a_damaged_database_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    damage(folder.path(), 100);
    let error = Store::open(folder.path()).unwrap_err();
    let (said, path) = (error.to_string(), folder.path().join("fog.sqlite"));
    assert!(
        matches!(error, StoreError::DamagedDatabase { .. }) && error.kind() == ErrorKind::Storage,
        "{said}"
    );
    assert!(
        said.contains(&path.display().to_string()) && said.contains("from a copy") && said.contains("blobs"),
        "{said}"
    );
}

#[test]
fn damage_that_is_met_later_is_named_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    damage(folder.path(), 4096);
    let said = Reader::open(folder.path())
        .and_then(|reader| reader.jobs(&JobFilter { limit: 1, ..JobFilter::default() }))
        .unwrap_err()
        .to_string();
    assert!(said.contains("fog.sqlite is damaged") && said.contains("from a copy"), "{said}");
}

#[test]
fn a_number_that_no_row_can_have_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let (id, task) = (JobId(1 << 63), TaskId { job: JobId(u64::MAX), index: 0 });
    let errors = [
        store.job(id).unwrap_err(),
        store.job_state(id).unwrap_err(),
        store.set_job_state(id, JobState::Paused, "", UnixMillis(0)).unwrap_err(),
        store.tasks(id, 0, 1).unwrap_err(),
        store.outputs_after(task, "", 1).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}
