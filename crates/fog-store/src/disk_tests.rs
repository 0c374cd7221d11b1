//! Tests of room on disk, of what is given up for it, and of the data folder itself.

use fog_types::job::JobFile;
use fog_types::{BlobId, ByteCount, JobId, JobState, MessageState, NodeId, TaskId, UnixMillis, on_disk};

use crate::tests::{CAP, blob, job, result, store};
use crate::*;

const PART: usize = 400 << 10;

fn file(store: &Store, byte: u8, size: usize) -> BlobFile {
    BlobFile::copy(&store.folder, vec![byte; size].as_slice(), ByteCount(u64::MAX)).unwrap()
}

fn host(store: &mut Store, job: JobId, lease: &str) {
    let (requester, offer, deadline) = (NodeId([1; 32]), BlobId([2; 32]).to_string(), UnixMillis(1_000_000));
    store
        .host(&HostedRow {
            job,
            lease: lease.to_owned(),
            requester,
            offer,
            deadline,
            message: None,
            has_receipt: false,
        })
        .unwrap();
}

/// Checks that the sums kept by triggers equal a fresh count.
fn check_sums(store: &Store) {
    let mut query =
        store.db.prepare("SELECT size, EXISTS (SELECT 1 FROM job_blobs WHERE blob = id) FROM blobs").unwrap();
    let rows: Vec<(u64, bool)> =
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    let sum = |is_counted: fn(bool) -> bool| {
        rows.iter()
            .filter(|(_, is_pinned)| is_counted(*is_pinned))
            .map(|(size, _)| on_disk(*size))
            .sum::<u64>()
    };
    let (bytes, pinned) = store.blob_bytes().unwrap();
    assert_eq!((bytes.0, pinned.0), (sum(|_| true), sum(|is_pinned| is_pinned)));
}

#[test]
fn files_of_one_result_do_not_push_each_other_out() {
    let (_folder, mut store) = store();
    job(&mut store, 1, 0);
    blob(&mut store, &vec![9; PART], 1).unwrap();
    let claim = store.claim_task("test", UnixMillis(2)).unwrap().unwrap();
    let mut done = result(&mut store);
    let files = vec![file(&store, 1, PART), file(&store, 2, PART)];
    // The older file goes, as there is room for two; stored one after the other, the first of them would
    // go.
    let ids = store.add_blobs(files, &[], CAP, UnixMillis(3)).unwrap();
    done.outputs = ids
        .iter()
        .zip(["a", "b"])
        .map(|(blob, path)| Output { path: path.to_owned(), blob: *blob, size: PART as u64 })
        .collect();
    done.stdout = blob(&mut store, b"", 3).unwrap();
    done.stderr = done.stdout;
    store.finish_task(claim, &done, UnixMillis(4)).unwrap().unwrap();
    for id in ids {
        assert_eq!(store.read_blob(id, u64::MAX).unwrap().len(), PART);
    }
    // The files are pinned now, so a later one does not fit.
    assert!(matches!(blob(&mut store, &vec![3; PART], 5), Err(StoreError::Full { .. })));
    check_sums(&store);
}

/// Small files count with their blocks: 45,000 files of 10 bytes take 215 MB.
#[cfg(unix)]
#[test]
fn small_files_count_with_their_blocks() {
    use std::os::unix::fs::MetadataExt as _;

    let (_folder, mut store) = store();
    job(&mut store, 1, 0);
    let small = |store: &Store, n: u32| {
        BlobFile::copy(&store.folder, n.to_string().as_bytes(), ByteCount(u64::MAX)).unwrap()
    };
    let taken = |store: &Store| {
        let folders = std::fs::read_dir(store.folder.join("blobs")).unwrap().flatten();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten());
        files.map(|file| file.metadata().unwrap().blocks() * 512).sum::<u64>()
    };
    for set in 0..20 {
        let files = (0..50).map(|n| small(&store, set * 100 + n)).collect();
        store.add_blobs(files, &[], CAP, UnixMillis(i64::from(set) + 2)).unwrap();
        assert!(taken(&store) <= CAP.0, "{} bytes are taken after set {set}", taken(&store));
        check_sums(&store);
    }
    // The blocks count as well while files are being placed or are incoming.
    let many: Vec<BlobFile> = (0..300).map(|n| small(&store, 10_000 + n)).collect();
    assert!(matches!(store.add_blobs(many, &[], CAP, UnixMillis(50)), Err(StoreError::Full { .. })));
    // Those that were refused are let go on another thread.
    let begun = std::time::Instant::now();
    while store.disk_use().unwrap().incoming > 0 && begun.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let incoming: Vec<BlobFile> = (0..100).map(|n| small(&store, 20_000 + n)).collect();
    assert_eq!(store.disk_use().unwrap().incoming, 100 * 4096);
    drop(incoming);
    assert_eq!(store.disk_use().unwrap().incoming, 0);
}

/// A result gets its room before it is written, and what nobody needs makes way for it.
#[test]
fn room_that_is_reserved_is_nobody_elses() {
    let (_folder, mut store) = store();
    let old = blob(&mut store, &vec![9; PART], 1).unwrap();
    let room = store.reserve(2 * PART as u64, CAP, UnixMillis(2)).unwrap();
    assert!(store.blob(old).is_err());
    assert!(matches!(store.reserve(PART as u64, CAP, UnixMillis(3)), Err(StoreError::Full { .. })));
    assert!(matches!(blob(&mut store, &vec![3; PART], 3), Err(StoreError::Full { .. })));
    // What is written of the reservation is counted once.
    let mut writer = BlobWriter::create(&store.folder, CAP).unwrap().with_room(room);
    for n in 0..PART / 100 {
        writer.write(&[n as u8; 100]).unwrap();
        assert_eq!(store.disk_use().unwrap().incoming, 2 * PART as u64);
    }
    let written = writer.finish().unwrap();
    assert_eq!(store.disk_use().unwrap().incoming, PART as u64);
    store.add_blob(written, CAP, UnixMillis(4)).unwrap();
    assert!(store.reserve(PART as u64, CAP, UnixMillis(5)).is_ok());
}

/// Files without a row that a kill left count, and make way for others.
#[test]
fn files_that_were_set_aside_count_and_give_way() {
    let (folder, first) = store();
    let ids: Vec<BlobId> = (0..2)
        .map(|n| {
            let file = file(&first, n, PART);
            let id = file.id();
            PlacedFiles::place(&first.folder, &first.holds(), vec![file]).map(std::mem::forget).unwrap();
            id
        })
        .collect();
    drop(first);
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(store.sweep_blobs().unwrap(), 2);
    std::fs::write(disk::aside(&store.folder).join("fog-1.sqlite"), [1; 10]).unwrap();
    let found = store.holds().measure(folder.path());
    store.set_other_files(found);
    assert_eq!(store.disk_use().unwrap().counted(), 2 * PART as u64 + 4096);
    let new = blob(&mut store, &vec![9; PART], 3).unwrap();
    assert!(store.disk_use().unwrap().counted() <= CAP.0);
    let aside = disk::aside(&store.folder);
    let left = ids.iter().filter(|id| aside.join(id.to_string()).exists()).count();
    assert_eq!((left, aside.join("fog-1.sqlite").exists(), store.blob(new).is_ok()), (1, true, true));
}

/// The room of a removed job is free soon.
#[test]
fn files_of_a_removed_job_are_gone_soon_but_for_those_of_others() {
    let (_folder, mut store) = store();
    let (first, second) = (job(&mut store, 1, 0), job(&mut store, 1, 0));
    let mut files = Vec::new();
    for id in [first, second] {
        let claim = store.claim_task("test", UnixMillis(1)).unwrap().unwrap();
        let mut done = result(&mut store);
        let own: Vec<BlobId> =
            (0..100).map(|n| blob(&mut store, format!("{id} {n}").as_bytes(), 1).unwrap()).collect();
        done.outputs = own
            .iter()
            .enumerate()
            .map(|(n, blob)| Output { path: n.to_string(), blob: *blob, size: 3 })
            .collect();
        store.finish_task(claim, &done, UnixMillis(2)).unwrap().unwrap();
        files.push(own);
    }
    let module = store.job(second).unwrap().blobs.module;
    assert_eq!(store.remove_jobs(UnixMillis(i64::MAX), Some(first)).unwrap(), 1);
    // A disk that takes nothing is not tried again and again.
    store.db.pragma_update(None, "query_only", true).unwrap();
    assert!(store.is_sweeping() && store.sweep_removed().is_err() && !store.is_sweeping());
    store.db.pragma_update(None, "query_only", false).unwrap();
    while store.sweep_removed().unwrap() {}
    assert!(!store.is_sweeping());
    let there = |store: &Store, ids: &[BlobId]| ids.iter().filter(|id| store.blob(**id).is_ok()).count();
    assert_eq!(
        (there(&store, &files[0]), there(&store, &files[1]), store.blob(module).is_ok()),
        (0, 100, true)
    );
    check_sums(&store);
    // A file that is added again while it is being deleted is there afterwards.
    let again = blob(&mut store, format!("{first} 0").as_bytes(), 5).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(store.read_blob(again, 100).unwrap(), format!("{first} 0").as_bytes());
}

#[test]
fn a_set_that_does_not_fit_pushes_nothing_out() {
    let (_folder, mut store) = store();
    let old = blob(&mut store, &vec![9; PART], 1).unwrap();
    let files = (0..3).map(|n| file(&store, n, PART)).collect();
    let refused = store.add_blobs(files, &[], CAP, UnixMillis(2));
    assert!(
        matches!(refused, Err(StoreError::Full { wanted, .. }) if wanted.0 == 3 * PART as u64),
        "{refused:?}"
    );
    assert!(store.blob(old).is_ok());
    // Stored files that a job is about to name beside its new files stay too.
    let both =
        store.add_blobs(vec![file(&store, 1, PART), file(&store, 2, PART)], &[old], CAP, UnixMillis(3));
    assert!(matches!(both, Err(StoreError::Full { .. })));
    assert!(store.blob(old).is_ok());
}

/// Files between the thread that places them and the thread with the database make way for nothing.
#[test]
fn files_that_are_being_named_give_way_to_nobody() {
    let (_folder, mut store) = store();
    let known = blob(&mut store, &vec![9; PART], 1).unwrap();
    // One file is stored already, and one is new.
    let files = vec![file(&store, 9, PART), file(&store, 1, PART)];
    let placed = PlacedFiles::place(store.folder(), &store.holds(), files).unwrap();
    let new = placed.ids()[1];
    assert_eq!(store.disk_use().unwrap().counted(), 2 * PART as u64, "it counts before it has a row");
    // Placed files make way for nothing, and a held file stays although no job needs it.
    assert!(matches!(blob(&mut store, &vec![3; PART], 5), Err(StoreError::Full { .. })));
    store.forget_blob(known).unwrap();
    assert!(store.blob(known).is_ok() && store.blob(new).is_ok());
    store.add_placed(&placed, &[], CAP, UnixMillis(6)).unwrap();
    drop(placed);
    assert_eq!(
        (store.read_blob(new, u64::MAX).unwrap().len(), store.disk_use().unwrap().counted()),
        (PART, 2 * PART as u64)
    );
    check_sums(&store);
    // From then on the files are like others.
    blob(&mut store, &vec![3; PART], 7).unwrap();
    assert!(store.blob(known).is_err() || store.blob(new).is_err());
}

#[test]
fn files_that_got_no_row_are_gone_or_set_aside() {
    let (folder, mut store) = store();
    let place = |store: &Store, byte| {
        PlacedFiles::place(store.folder(), &store.holds(), vec![file(store, byte, PART)]).unwrap()
    };
    // The same file is placed twice and stays while one of the sets is there.
    let (one, other) = (place(&store, 1), place(&store, 1));
    let id = one.ids()[0];
    drop(one);
    assert!(store.blob(id).is_ok());
    drop(other);
    assert!(store.blob(id).is_err());
    assert_eq!(store.disk_use().unwrap().counted(), 0);
    // Very many files go on a thread of their own.
    let many: Vec<BlobFile> = (0..200).map(|n| file(&store, n, 10)).collect();
    let many = PlacedFiles::place(store.folder(), &store.holds(), many).unwrap();
    let ids = many.ids().to_vec();
    drop(many);
    let begun = std::time::Instant::now();
    while ids.iter().any(|id| store.blob(*id).is_ok()) && begun.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(ids.iter().all(|id| store.blob(*id).is_err()));
    // The engine is killed in between.
    std::mem::forget(place(&store, 2));
    let files = (0..200).map(|n| file(&store, n, 20)).collect();
    std::mem::forget(PlacedFiles::place(store.folder(), &store.holds(), files).unwrap());
    drop(store);
    store = Store::open(folder.path()).unwrap();
    assert_eq!(
        store.sweep_blobs().unwrap(),
        1,
        "few are set aside, as their rows may be lost; many are known to be nobody's"
    );
    let left = std::fs::read_dir(folder.path().join("blobs"))
        .unwrap()
        .flatten()
        .flat_map(|below| std::fs::read_dir(below.path()).unwrap())
        .count();
    assert_eq!((left, std::fs::read_dir(folder.path().join("incoming")).unwrap().count()), (0, 0));
}

#[test]
fn what_names_a_file_that_is_not_stored_is_refused_whole() {
    let (_folder, mut store) = store();
    let id = job(&mut store, 1, 0);
    let claim = store.claim_task("test", UnixMillis(1)).unwrap().unwrap();
    let mut done = result(&mut store);
    let missing = BlobId([7; 32]);
    done.outputs.push(Output { path: "b".to_owned(), blob: missing, size: 1 });
    assert!(
        matches!(store.finish_task(claim, &done, UnixMillis(2)), Err(StoreError::NoBlob(id)) if id == missing)
    );
    // The claim still counts: the task can be failed, or its files stored and the result recorded.
    assert_eq!((store.job(id).unwrap().tasks_finished, store.outputs(claim.task).unwrap().len()), (0, 0));
    done.outputs.pop();
    assert!(store.finish_task(claim, &done, UnixMillis(3)).unwrap().is_some());
    let row = store.job(id).unwrap();
    let blobs = Blobs { module: missing, ..row.blobs };
    let new = NewJob { file: row.file, blobs, owner: String::new(), grid: None, now: UnixMillis(4) };
    assert!(matches!(store.insert_job(&new), Err(StoreError::NoBlob(_))));
    assert_eq!(store.jobs(&JobFilter { limit: 9, ..JobFilter::default() }).unwrap().len(), 1);
}

#[test]
fn what_can_be_given_up_counts_as_room() {
    let (_folder, mut store) = store();
    job(&mut store, 1, 0);
    let before = store.disk_use().unwrap().room(CAP.0);
    blob(&mut store, &vec![9; PART], 1).unwrap();
    let used = store.disk_use().unwrap();
    assert_eq!((used.room(CAP.0), used.blobs - used.pinned), (before, PART as u64));
    store.other = OtherFiles { compiled: 5, states: 7, partial: 17, aside: 13 };
    let _room = store.holds().unchecked(11);
    assert_eq!(store.disk_use().unwrap().room(CAP.0), before - 7 - 11);
    assert_eq!(store.disk_use().unwrap().counted(), used.counted() + 5 + 7 + 11 + 17 + 13);
}

#[test]
fn what_broke_off_on_its_way_counts_and_gives_way() {
    let (folder, mut store) = store();
    let partial = folder.path().join("partial");
    std::fs::create_dir_all(&partial).unwrap();
    let begin = |name: &str, minutes: u64| {
        let path = partial.join(name);
        std::fs::write(&path, vec![1; PART]).unwrap();
        std::fs::File::open(&path)
            .unwrap()
            .set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(60 * minutes))
            .unwrap();
    };
    begin("oldest", 30);
    begin("old", 20);
    begin("fetched now", 0);
    let now = UnixMillis(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64);
    let there = || ["oldest", "old", "fetched now"].map(|name| partial.join(name).exists());
    // Three partial files are more than the cap.
    let found = store.holds().measure(folder.path());
    store.set_other_files(found);
    assert!(store.disk_use().unwrap().counted() > CAP.0);
    store.make_room(0, CAP, now).unwrap();
    assert_eq!(there(), [false, true, true], "the one that was left longest goes");
    let id = store.add_blob(file(&store, 7, PART), CAP, now).unwrap();
    assert_eq!(there(), [false, false, true]);
    assert!(store.blob(id).is_ok());
    assert_eq!(store.disk_use().unwrap().other.partial, PART as u64);
    // A partial file in use stays, so there is no room; nor is there beside incoming copies.
    job(&mut store, 1, 0);
    let used = store.disk_use().unwrap();
    let copy = file(&store, 8, CAP.0 as usize - used.needed() as usize);
    let found = store.holds().measure(folder.path());
    store.set_other_files(found);
    assert_eq!(store.disk_use().unwrap().room(CAP.0), 0);
    assert!(matches!(store.add_blob(file(&store, 9, PART), CAP, now), Err(StoreError::Full { .. })));
    // Once the copy is gone there is room, although nobody measured since.
    drop(copy);
    store.add_blob(file(&store, 9, PART), CAP, now).unwrap();
}

#[test]
fn what_a_requester_is_to_look_at_stays_until_its_receipt() {
    let (_folder, mut store) = store();
    let id = job(&mut store, 1, 0);
    host(&mut store, id, "1");
    let history = blob(&mut store, &vec![1; PART / 4], 1).unwrap();
    store.hold_blob(id, history).unwrap();
    let mut shown = Vec::new();
    for n in 2..5u8 {
        let state = blob(&mut store, &vec![n; PART / 4], i64::from(n)).unwrap();
        store.show_state(id, state, 2).unwrap();
        shown.push(state);
    }
    // The results that follow make everything else give way.
    for n in 10..20u8 {
        blob(&mut store, &vec![n; PART], i64::from(n)).unwrap();
    }
    let there =
        |store: &Store, all: &[BlobId]| all.iter().map(|blob| store.blob(*blob).is_ok()).collect::<Vec<_>>();
    assert!(store.blob(history).is_ok());
    assert_eq!(
        there(&store, &shown),
        [false, true, true],
        "the newest, and the one before it that may be on its way"
    );
    check_sums(&store);
    store.set_hosted_receipt(id, b"receipt").unwrap();
    assert_eq!(there(&store, &shown), [false; 3]);
    assert_eq!(store.blob_bytes().unwrap().1, ByteCount(0));
    check_sums(&store);
    // A job that does not exist holds nothing.
    assert!(matches!(store.hold_blob(JobId(99), history), Err(StoreError::NoJob(_))));
}

#[test]
fn a_hosted_job_holds_its_files_until_its_receipt_and_one_state() {
    let (_folder, mut store) = store();
    let id = job(&mut store, 1, 0);
    host(&mut store, id, "1");
    let mut states = Vec::new();
    for n in 0..20u8 {
        let state = blob(&mut store, &[n; 1000], i64::from(n)).unwrap();
        store.ship_state(id, state, 2).unwrap();
        states.push(state);
    }
    let there: Vec<BlobId> = states.iter().filter(|state| store.blob(**state).is_ok()).copied().collect();
    assert_eq!(there, states[18..], "the newest, and the one before it that may be on its way");
    let module = store.job(id).unwrap().blobs.module;
    assert!(store.blob_bytes().unwrap().1.0 > 0);
    store.set_hosted_receipt(id, b"receipt").unwrap();
    assert_eq!(store.blob_bytes().unwrap().1, ByteCount(0), "nothing is pinned after the receipt");
    assert!(states.iter().all(|state| store.blob(*state).is_err()), "and no state is left");
    assert!(store.blob(module).is_ok(), "files go when room is needed only");
    check_sums(&store);
}

/// A hosted job comes in one transaction with its device, and stays known as that device's after its end.
#[test]
fn a_hosted_job_is_of_its_device_from_the_beginning_and_for_good() {
    let (_folder, mut store) = store();
    let known = job(&mut store, 1, 0);
    let row = store.job(known).unwrap();
    let new = NewJob {
        file: JobFile { priority: 10, ..row.file },
        blobs: row.blobs,
        owner: "this device".to_owned(),
        grid: None,
        now: UnixMillis(0),
    };
    let lent = |lease: &str| {
        let (requester, offer, deadline) = (NodeId([1; 32]), BlobId([2; 32]).to_string(), UnixMillis(1_000));
        HostedRow {
            job: JobId(0),
            lease: lease.to_owned(),
            requester,
            offer,
            deadline,
            message: None,
            has_receipt: false,
        }
    };
    let id = store.insert_hosted_job(&new, lent("1")).unwrap();
    assert!(store.is_hosted(id).unwrap() && !store.is_hosted(known).unwrap());
    // The job is wanted no longer than its requester says, and ranks below own jobs.
    assert_eq!(
        (store.job(id).unwrap().deadline, store.rank(id).unwrap().deadline),
        (UnixMillis(1_000), UnixMillis(1_000))
    );
    assert!(store.rank(id).unwrap() < store.rank(known).unwrap());
    assert_eq!(store.next_task().unwrap().unwrap().job, known);
    // A lease is hosted once, and no job without a device is left.
    assert!(store.insert_hosted_job(&new, lent("1")).is_err());
    assert_eq!(store.jobs(&JobFilter { limit: 9, ..JobFilter::default() }).unwrap().len(), 2);
    let claim = store.claim_task_of(id, "test", UnixMillis(1)).unwrap().unwrap();
    assert!(store.end_hosted(id, "no", UnixMillis(2)).unwrap());
    assert_eq!(store.job_state(id).unwrap(), JobState::Cancelled);
    assert!(store.is_hosted(id).unwrap() && store.has_hosted("1").unwrap());
    assert!(
        store.hosted().unwrap().iter().all(|row| row.has_receipt && row.message.is_none()),
        "it is told again"
    );
    // A late result of the worker holds nothing.
    let done = result(&mut store);
    assert_eq!(store.finish_task(claim, &done, UnixMillis(3)).unwrap(), None);
    assert_eq!(store.bytes_held_by([id]).unwrap(), 0);
    assert!(!store.end_hosted(id, "again", UnixMillis(4)).unwrap());
    check_sums(&store);
}

#[test]
fn of_a_lent_task_one_state_is_kept_and_none_after_its_end() {
    let (_folder, mut store) = store();
    let id = job(&mut store, 1, 0);
    let (task, node) = (TaskId { job: id, index: 0 }, NodeId([3; 32]));
    store.begin_lease(task, "a", node, "o", UnixMillis(1)).unwrap();
    let mut states = Vec::new();
    for n in 1..=5u8 {
        let state = blob(&mut store, &[n; 1000], i64::from(n)).unwrap();
        store.keep_state(task, u64::from(n), node, state).unwrap();
        states.push(state);
    }
    let there = |store: &Store| states.iter().filter(|state| store.blob(**state).is_ok()).count();
    assert_eq!(there(&store), 1);
    let done = result(&mut store);
    let claim = store.lease("a").unwrap().unwrap().claim;
    store.finish_task(claim, &done, UnixMillis(9)).unwrap().unwrap();
    store.end_leases_of(task, "done", UnixMillis(9)).unwrap();
    assert_eq!(there(&store), 0);
    check_sums(&store);
}

#[test]
fn compiled_modules_count_and_go_by_last_use() {
    let (folder, mut store) = store();
    let compiled = folder.path().join("compiled");
    std::fs::create_dir_all(&compiled).unwrap();
    let now = UnixMillis(1_800_000_000_000);
    for (name, age) in [("old", 3_000_000), ("older", 4_000_000), ("used", 10)] {
        let path = compiled.join(format!("{name}.cwasm"));
        std::fs::write(&path, vec![0; 300 << 10]).unwrap();
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis((now.0 - age).unsigned_abs());
        std::fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    }
    let found = store.holds().measure(folder.path());
    store.set_other_files(found);
    assert_eq!(store.disk_use().unwrap().counted(), 900 << 10);
    let there = || -> Vec<bool> {
        ["older", "old", "used"].iter().map(|name| compiled.join(format!("{name}.cwasm")).exists()).collect()
    };
    let add = |store: &mut Store, byte| {
        let file = file(store, byte, 300 << 10);
        store.add_blob(file, CAP, now)
    };
    add(&mut store, 1).unwrap();
    assert_eq!(there(), [false, true, true]);
    // A stored file that nobody needs goes after a module that was unused for longer.
    add(&mut store, 2).unwrap();
    assert_eq!(there(), [false, false, true]);
    assert!(store.disk_use().unwrap().counted() <= CAP.0);
    assert_eq!(store.holds().measure(folder.path()).other.compiled, store.disk_use().unwrap().other.compiled);
}

#[test]
fn an_empty_missing_or_foreign_database_beside_files_is_refused() {
    let (folder, mut first) = store();
    let id = blob(&mut first, b"worth keeping", 1).unwrap();
    let place = first.blob(id).unwrap();
    drop(first);
    let database = folder.path().join("fog.sqlite");
    let kept = std::fs::read(&database).unwrap();
    let others = || {
        for name in ["fog.sqlite-wal", "fog.sqlite-shm"] {
            let _ = std::fs::remove_file(folder.path().join(name));
        }
    };
    others();
    std::fs::write(&database, b"").unwrap();
    let refused = Store::open(folder.path()).unwrap_err();
    assert!(
        refused.to_string().contains("is empty") && refused.to_string().contains("Put the database back"),
        "{refused}"
    );
    std::fs::remove_file(&database).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::EmptyDatabase { problem: "missing", .. })));
    assert!(!database.exists(), "nothing was made in its place");
    std::fs::write(
        &database,
        b"this is somebody's letter, no database, and long enough to have a header of its own".repeat(20),
    )
    .unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::ForeignDatabase { .. })));
    std::fs::remove_file(&database).unwrap();
    rusqlite::Connection::open(&database)
        .unwrap()
        .execute_batch("CREATE TABLE bookmarks (url TEXT)")
        .unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::ForeignDatabase { .. })));
    assert!(place.exists());
    others();
    std::fs::write(&database, kept).unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(store.sweep_blobs().unwrap(), 0);
    assert_eq!(store.read_blob(id, 100).unwrap(), b"worth keeping");
}

#[test]
fn files_without_a_row_are_set_aside() {
    let (folder, mut store) = store();
    let id = blob(&mut store, b"whose row is lost", 1).unwrap();
    let known = blob(&mut store, b"known", 1).unwrap();
    store.db.execute("DELETE FROM blobs WHERE id = ?1", [id.to_string()]).unwrap();
    assert_eq!(store.sweep_blobs().unwrap(), 1);
    assert!(store.blob(id).is_err() && store.blob(known).is_ok());
    assert_eq!(
        std::fs::read(folder.path().join("set-aside").join(id.to_string())).unwrap(),
        b"whose row is lost"
    );
    assert!(store.holds().measure(folder.path()).other.aside > 0);
}

#[cfg(unix)]
#[test]
fn a_data_folder_is_private_whatever_it_was() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    std::fs::create_dir_all(folder.join("blobs")).unwrap();
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
    };
    std::fs::write(folder.join("lock"), b"").unwrap();
    std::fs::write(folder.join("fog.sqlite"), b"").unwrap();
    for (name, mode) in [("", 0o755), ("blobs", 0o755), ("lock", 0o644), ("fog.sqlite", 0o644)] {
        open(&folder.join(name), mode);
    }
    let mut store = Store::open(&folder).unwrap();
    store.set_settings(&[("a".to_owned(), Some(1.into()))]).unwrap();
    let mut looked_at = 0;
    for entry in
        std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()).chain([folder.clone()])
    {
        let mode = std::fs::metadata(&entry).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", entry.display());
        looked_at += 1;
    }
    assert!(looked_at >= 6, "the folder, blobs, lock, database and both journals: {looked_at}");
}

#[cfg(unix)]
#[test]
fn a_folder_of_other_things_is_not_closed_for_their_users() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(parent.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let tool = parent.path().join("tool");
    std::fs::write(&tool, b"").unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut store = Store::open(parent.path()).unwrap();
    blob(&mut store, b"a", 1).unwrap();
    assert_eq!((mode(parent.path()), mode(&tool)), (0o755, 0o755));
    for own in ["blobs", "incoming", "fog.sqlite", "fog.sqlite-wal", "lock"] {
        assert_eq!(mode(&parent.path().join(own)) & 0o077, 0, "{own}");
    }
}

#[test]
fn chat_counts_by_thread_and_in_all() {
    let (_folder, mut store) = store();
    let before = store.disk_use().unwrap().room(CAP.0);
    for (thread, mid, file) in [("anna", "1", Some(vec![0; 500])), ("anna", "2", None), ("", "3", None)] {
        let (is_mine, is_seen, state, at) = (false, false, MessageState::Received, UnixMillis(1));
        let new = NewChat {
            thread: thread.to_owned(),
            is_mine,
            is_seen,
            state,
            at,
            mid: mid.to_owned(),
            sealed: vec![0; 10],
            file,
        };
        store.add_chat(&new, at).unwrap().unwrap();
    }
    let of = |store: &Store, thread: &str| -> (u64, u64) {
        store
            .db
            .query_row("SELECT messages, bytes FROM chat_sums WHERE thread = ?1", [thread], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap()
    };
    assert_eq!((of(&store, "anna"), of(&store, ""), of(&store, "*")), ((2, 520), (1, 10), (3, 530)));
    assert_eq!((store.chat_bytes().unwrap(), store.disk_use().unwrap().room(CAP.0)), (530, before - 530));
    store.clear_chat("anna").unwrap();
    assert_eq!(of(&store, "*"), (1, 10));
    for step in WipeStep::ALL {
        store.wipe_chat(step).unwrap();
    }
    assert_eq!(store.chat_bytes().unwrap(), 0);
}
