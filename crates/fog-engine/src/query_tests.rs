#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_store::{BlobFile, Blobs, FailedAttempt, Failure, NewJob, TaskResult};
use fog_types::job::{JobFile, Map};
use fog_types::{BlobId, ByteCount, UnixMillis, WorkUnits};

use super::*;

const CAP: ByteCount = ByteCount::mib(1);

/// Creates a job of this number of tasks.
pub(crate) fn job(store: &mut Store, tasks: i64) -> (JobId, BlobId) {
    let file = BlobFile::copy(store.folder(), &b"module"[..], CAP).unwrap();
    let module = store.add_blob(file, CAP, UnixMillis(0)).unwrap();
    let file = JobFile { map: Map::Range { from: 0, to: tasks }, ..JobFile::for_module("test", "m.wasm") };
    let blobs = Blobs { module, stdin: None, inputs: Default::default(), items: Vec::new() };
    let new = NewJob { file, blobs, owner: String::new(), grid: None, now: UnixMillis(0) };
    (store.insert_job(&new).unwrap(), module)
}

/// Finishes the next task with this number of files.
pub(crate) fn finish(store: &mut Store, blob: BlobId, files: usize) {
    let claim = store.claim_task("test", UnixMillis(1)).unwrap().unwrap();
    let path = |n: usize| format!("{n:06}-{}", "x".repeat(200));
    let result = TaskResult {
        exit_code: 0,
        units: WorkUnits(1),
        active_millis: 1,
        memory: 1,
        result_hash: "hash".to_owned(),
        agreed: 1,
        stdout: blob,
        stderr: blob,
        stdout_dropped: 0,
        stderr_dropped: 0,
        outputs: (0..files).map(|n| Output { path: path(n), blob, size: 6 }).collect(),
    };
    store.finish_task(claim, &result, UnixMillis(1)).unwrap().unwrap();
}

fn page(store: &Store, id: JobId, from: u32) -> JobDetail {
    let reply = job_reply(store, id, from);
    assert!(length(&reply) < fog_ipc::MAX_FRAME_BYTES, "it must fit into a reply");
    let Reply::Job(detail) = reply else { panic!("no job") };
    *detail
}

fn job_reply(store: &Store, id: JobId, from: u32) -> Reply {
    super::job(store, id, from, None, &[], None).unwrap()
}

#[test]
fn a_page_ends_before_its_files_are_too_many_for_a_reply() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let (id, blob) = job(&mut store, 40);
    for _ in 0..40 {
        finish(&mut store, blob, 1_300);
    }
    let (mut from, mut files, mut pages) = (0, 0, 0);
    loop {
        let detail = page(&store, id, from);
        let here: usize = detail.tasks.iter().map(|task| task.outputs.len()).sum();
        assert!(
            here <= OUTPUTS_PER_PAGE as usize && detail.tasks.iter().all(|task| task.outputs_left_out == 0)
        );
        from += detail.tasks.len() as u32;
        (files, pages) = (files + here, pages + 1);
        if detail.tasks.is_empty() || from >= detail.summary.tasks_total {
            break;
        }
    }
    assert_eq!((from, files, pages), (40, 40 * 1_300, 3));
}

#[test]
fn of_a_task_with_more_files_than_fit_the_rest_is_counted_and_given_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let (id, blob) = job(&mut store, 2);
    for _ in 0..2 {
        finish(&mut store, blob, 50_000);
    }
    let detail = page(&store, id, 0);
    assert_eq!(detail.tasks.len(), 1, "the other one begins the next page");
    let task = &detail.tasks[0];
    assert_eq!((task.outputs.len(), task.outputs_left_out), (20_000, 30_000));
    let mut all: Vec<String> = task.outputs.iter().map(|output| output.path.clone()).collect();
    loop {
        let Reply::Outputs { outputs: next, more } =
            outputs(&store, TaskId { job: id, index: 0 }, all.last().unwrap()).unwrap()
        else {
            panic!()
        };
        all.extend(next.into_iter().map(|output| output.path));
        if more == 0 {
            break;
        }
    }
    assert_eq!(all.len(), 50_000);
    assert!(all.is_sorted());
    assert_eq!(page(&store, id, 1).tasks[0].outputs_left_out, 30_000);
}

#[test]
fn what_others_say_about_a_task_is_shown_on_a_line_and_not_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let (id, _) = job(&mut store, 1);
    let claim = store.claim_task("test", UnixMillis(1)).unwrap().unwrap();
    let problem = format!("a\u{202e}gpj.exe\u{1b}[31m\n{}", "x".repeat(100_000));
    let failed = FailedAttempt { problem, units: WorkUnits(0), exit_code: None, logs: None };
    store.fail_task(claim, &failed, Failure::Final, UnixMillis(2)).unwrap();
    let detail = page(&store, id, 0);
    let said = [&detail.tasks[0].problem, &detail.tasks[0].attempts[0].detail];
    let journal = detail.journal.iter().map(|line| &line.detail);
    for text in said.into_iter().chain(journal) {
        assert_eq!(clean(text), *text);
        assert!(text.len() < 2 * MAX_WORDS);
    }
    assert!(detail.tasks[0].problem.starts_with("agpj.exe [31m x"), "{}", &detail.tasks[0].problem[..40]);
    let row = store.job(id).unwrap();
    let Some(fog_api::Notice::JobFailed { problem, .. }) = crate::views::end_notice(&row) else {
        panic!("the job has failed")
    };
    assert!(!problem.contains(['\u{202e}', '\u{1b}']), "nor do notices say it as it is");
}

#[test]
fn a_task_that_runs_is_shown_as_far_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let (id, _) = job(&mut store, 2);
    let task = store.claim_task("test", UnixMillis(0)).unwrap().unwrap().task;
    let live = [super::LiveTask { index: task.index, permille: Some(250), units: 77, active_ms: 1500 }];
    let Reply::Job(detail) = super::job(&store, id, 0, None, &live, None).unwrap() else { panic!("no job") };
    let task = &detail.tasks[task.index as usize];
    assert_eq!((task.units, task.active_ms, task.permille, detail.summary.units), (77, 1500, 250, 77));
}

#[test]
fn a_task_that_stands_still_is_shown_as_far_as_it_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let (id, _) = job(&mut store, 2);
    let claim = store.claim_task("test", UnixMillis(0)).unwrap().unwrap();
    store.set_saved(claim.task, WorkUnits(77)).unwrap();
    let shown = |store: &Store, live: &[super::LiveTask]| {
        let Reply::Job(detail) = super::job(store, id, 0, None, live, None).unwrap() else {
            panic!("no job")
        };
        (detail.tasks[claim.task.index as usize].units, detail.summary.units)
    };
    store.release_task(claim, "paused", true, UnixMillis(1)).unwrap();
    assert_eq!(shown(&store, &[]), (77, 77));
    store.claim_task("test", UnixMillis(2)).unwrap().unwrap();
    let live = |units| [super::LiveTask { index: claim.task.index, permille: None, units, active_ms: 0 }];
    assert_eq!(shown(&store, &live(0)), (77, 77), "its worker has not begun");
    assert_eq!(shown(&store, &live(80)), (80, 80));
}

/// Names that JSON makes six times as long are split into pages, so that no reply exceeds a frame.
#[test]
fn changed_names_are_given_in_pages_that_fit() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let (id, blob) = job(&mut store, 1);
    finish(&mut store, blob, 1);
    let task = TaskId { job: id, index: 0 };
    let name = |number: usize| format!("{number}{}", "\u{1}".repeat(4000));
    let rows: Vec<_> = (0..5_000)
        .map(|number| fog_store::RenamedRow { name: name(number), kept: None, reason: "no".to_owned() })
        .collect();
    store.note_result(task, "a note", &rows, 5_007).unwrap();
    assert_eq!(
        (page(&store, id, 0).tasks[0].renamed, page(&store, id, 0).tasks[0].problem.as_str()),
        (5_007, "a note")
    );
    let (mut all, mut from) = (Vec::new(), Some(0));
    while let Some(first) = from {
        let Reply::Renamed { renamed, next } = renamed(&store, task, first).unwrap() else { panic!() };
        assert!(!renamed.is_empty() && serde_json::to_vec(&renamed).unwrap().len() < 30 << 20);
        all.extend(renamed);
        from = next;
    }
    assert_eq!(all.len(), 5_000);
    assert!(
        all.iter()
            .enumerate()
            .all(|(number, one)| one.name == name(number) && one.reason.as_deref() == Some("no"))
    );
    assert!(
        matches!(renamed(&store, TaskId { job: id, index: 7 }, 0), Ok(Reply::Renamed { renamed, next: None }) if renamed.is_empty())
    );
}
