//! A year of jobs of other devices, of chat and of restarts, in virtual time.

use fog_types::job::{JobFile, Map};
use fog_types::{BlobId, ByteCount, NodeId, UnixMillis, WorkUnits};

use crate::scale_tests::steps_of;
use crate::tests::store;
use crate::*;

const DAY_MS: i64 = 86_400_000;
const CAP: ByteCount = ByteCount::mib(4);
const JOBS_A_DAY: i64 = 4;
const KEPT: Kept = Kept { samples: 500, journal: 200, credits: 50 };

fn file(store: &Store, seed: i64, what: u8, size: usize) -> BlobFile {
    let bytes: Vec<u8> = seed.to_le_bytes().into_iter().chain([what]).cycle().take(size).collect();
    BlobFile::copy(&store.folder, bytes.as_slice(), ByteCount(u64::MAX)).unwrap()
}

/// One job of another device from its offer to its receipt; each third one is given up by its requester.
fn hosted_job(store: &mut Store, number: i64, now: UnixMillis) {
    let room = store.disk_use().unwrap().room(CAP.0);
    assert!(room > 2 << 20, "the host has no room left for job {number}: {room}");
    let files = vec![file(store, number, 1, 200_000), file(store, number, 2, 300_000)];
    let ids = store.add_blobs(files, &[], CAP, now).unwrap();
    let spec = JobFile { map: Map::Range { from: 0, to: 1 }, ..JobFile::for_module("hosted", "m.wasm") };
    let blobs = Blobs { module: ids[0], stdin: None, inputs: [("a".to_owned(), ids[1])].into(), items: Vec::new() };
    let job = store.insert_job(&NewJob { file: spec, blobs, owner: "other".to_owned(), grid: None, now }).unwrap();
    let (lease, requester) = (format!("{number:032x}"), NodeId([1; 32]));
    let offer = BlobId([2; 32]).to_string();
    store.host(&HostedRow { job, lease: lease.clone(), requester, offer, deadline: UnixMillis(now.0 + DAY_MS), message: None, has_receipt: false }).unwrap();
    let claim = store.claim_task("test", now).unwrap().unwrap();
    assert_eq!(claim.task.job, job);
    for state in 10..14 {
        let state = file(store, number, state, 150_000);
        let id = store.add_blob(state, CAP, now).unwrap();
        store.ship_state(job, id, 2).unwrap();
    }
    let (out, empty) = (file(store, number, 3, 100_000), file(store, 0, 4, 10));
    let ids = store.add_blobs(vec![out, empty], &[], CAP, now).unwrap();
    let result = TaskResult {
        exit_code: 0,
        units: WorkUnits(1000),
        active_millis: 5,
        memory: 1,
        result_hash: "hash".to_owned(),
        agreed: 1,
        stdout: ids[1],
        stderr: ids[1],
        stdout_dropped: 0,
        stderr_dropped: 0,
        outputs: vec![Output { path: "a".to_owned(), blob: ids[0], size: 100_000 }],
    };
    store.finish_task(claim, &result, now).unwrap().unwrap();
    if number % 3 == 0 {
        store.end_hosted(job).unwrap();
    } else {
        store.earn_credit(&lease, requester, 7, now).unwrap();
        store.set_hosted_receipt(job, b"receipt").unwrap();
    }
}

fn day(store: &mut Store, day: i64) {
    let begun = 1_790_000_000_000 + day * DAY_MS;
    for part in 0..JOBS_A_DAY {
        let now = UnixMillis(begun + part * DAY_MS / JOBS_A_DAY);
        hosted_job(store, day * JOBS_A_DAY + part, now);
        let (state, reason) = ("received".to_owned(), String::new());
        let new = NewChat {
            thread: "anna".to_owned(),
            is_mine: false,
            is_seen: false,
            state,
            at: now,
            mid: now.0.to_string(),
            sealed: vec![0; 50],
            file: Some(vec![0; 5000]),
        };
        store.add_chat(&new, now).unwrap();
        let duty = fog_types::Percent::FULL;
        store
            .add_sample(&Sample {
                at: now,
                span_millis: 1,
                duty,
                worked_millis: 1,
                units: WorkUnits(1),
                cpu_temp: None,
                battery: None,
                other_cpu: None,
                reason,
            })
            .unwrap();
        // What the engine's chores do.
        store.expire_jobs(now).unwrap();
        store.remove_jobs(UnixMillis(now.0 - 7 * DAY_MS), None).unwrap();
        while store.sweep_removed().unwrap() {}
        store.expire_chat(UnixMillis(now.0 - 30 * DAY_MS)).unwrap();
        store.trim(KEPT).unwrap();
        assert!(store.disk_use().unwrap().counted() <= CAP.0 + 300_000, "day {day}");
    }
}

#[test]
fn a_year_of_hosted_jobs_ends_within_the_caps_and_as_fast_as_it_began() {
    let (folder, mut store) = store();
    let days = if std::env::var_os("FOG_TEST_FULL").is_some() { 365 } else { 40 };
    let mut early = 0;
    for number in 0..days {
        if number == 15 {
            early = steps_of(&mut store, |store| day(store, number));
            continue;
        }
        day(&mut store, number);
        if number % 7 == 6 {
            drop(store);
            store = Store::open(folder.path()).unwrap();
            store.recover(UnixMillis(0)).unwrap();
            assert_eq!(store.sweep_blobs().unwrap(), 0);
        }
    }
    let late = steps_of(&mut store, |store| day(store, days));
    println!("steps of a day: {early} in the third week, {late} after {days} days");
    assert!(late <= early + early / 5, "{early} {late}");
    let number = |table: &str| store.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap();
    let of_a_week = 8 * JOBS_A_DAY;
    for (table, most) in [
        ("jobs", of_a_week),
        ("tasks", of_a_week),
        ("progress", of_a_week),
        ("attempts", of_a_week),
        ("outputs", of_a_week),
        ("hosted", of_a_week),
        ("job_blobs", of_a_week * 4),
        ("shipped", 2),
        ("journal", 200),
        ("credits", 50),
        ("samples", 500),
        ("chat_messages", 31 * JOBS_A_DAY + 1),
        ("removed_jobs", 0),
    ] {
        assert!(number(table) <= most, "{table}: {}", number(table));
    }
    let on_disk: u64 = std::fs::read_dir(folder.path().join("blobs"))
        .unwrap()
        .flatten()
        .flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten())
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert_eq!(on_disk, store.disk_use().unwrap().blobs);
    assert!(store.credits().unwrap().earned > 0);
}
