//! Test of a device that runs jobs of others, its own jobs and chat for a year of virtual time: stored data
//! stays within its caps, and the cost of an event does not grow.

use fog_types::job::{JobFile, Map};
use fog_types::{BlobId, ByteCount, JobId, MessageState, NodeId, Percent, UnixMillis, WorkUnits};

use crate::chat::ChatCaps;
use crate::scale_tests::steps_of;
use crate::tests::broke;
use crate::*;

const DAY: i64 = 86_400_000;
/// Storage cap, small so that it is reached within days.
const CAP: ByteCount = ByteCount::mib(24);
const CHAT: ChatCaps = ChatCaps { of_thread: 1 << 20, of_all: 4 << 20 };
/// Days for which ended jobs and messages are kept, as in the engine.
const KEPT_DAYS: i64 = 30;
const STATES: u32 = 2;

/// Random numbers that are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

struct Host {
    folder: tempfile::TempDir,
    store: Option<Store>,
    chance: Chance,
    made: u64,
}

impl Host {
    fn new() -> Self {
        let mut this = Self { folder: tempfile::tempdir().unwrap(), store: None, chance: Chance(1), made: 0 };
        this.restart();
        this
    }

    /// Restarts as the engine does.
    fn restart(&mut self) {
        self.store = None;
        let mut store = Store::open(self.folder.path()).unwrap();
        // Virtual days need no disk that survives a power cut.
        store.db.pragma_update(None, "synchronous", "OFF").unwrap();
        store.recover(UnixMillis(0)).unwrap();
        store.release_stray_credits().unwrap();
        store.sweep_blobs().unwrap();
        self.store = Some(store);
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    /// Stores a file with a content of its own.
    fn file(&mut self, bytes: usize, now: UnixMillis) -> BlobId {
        self.made += 1;
        let mut content = vec![0; bytes.max(8)];
        content[..8].copy_from_slice(&self.made.to_le_bytes());
        self.stored(&content, now)
    }

    fn stored(&mut self, content: &[u8], now: UnixMillis) -> BlobId {
        let file = BlobFile::copy(self.folder.path(), content, CAP).unwrap();
        self.store().add_blob(file, CAP, now).unwrap()
    }

    fn result(&mut self, now: UnixMillis) -> TaskResult {
        let (log, output) = (self.file(2_000, now), self.file(30_000, now));
        TaskResult {
            exit_code: 0,
            units: WorkUnits(1_000_000),
            active_millis: 60_000,
            memory: 1 << 20,
            result_hash: "00".repeat(32),
            stdout: log,
            stderr: log,
            outputs: vec![Output { path: "out".to_owned(), blob: output, size: 30_000 }],
            agreed: 1,
            stdout_dropped: 0,
            stderr_dropped: 0,
        }
    }

    fn job(&mut self, owner: &str, tasks: i64, now: UnixMillis) -> JobId {
        // The job has one of some programs, and an input of its own.
        let program = self.chance.below(40);
        let mut module = vec![7_u8; 60_000];
        module[..8].copy_from_slice(&program.to_le_bytes());
        let (module, input) = (self.stored(&module, now), self.file(20_000, now));
        let file =
            JobFile { map: Map::Range { from: 0, to: tasks }, ..JobFile::for_module("soak", "m.wasm") };
        let blobs = Blobs { module, stdin: Some(input), inputs: Default::default(), items: Vec::new() };
        self.store().insert_job(&NewJob { file, blobs, owner: owner.to_owned(), grid: None, now }).unwrap()
    }

    /// Runs a job of another device from its offer to its receipt, or to one of the ways in which it ends
    /// before.
    fn host(&mut self, now: UnixMillis) {
        let requester = NodeId([(self.chance.below(30) + 1) as u8; 32]);
        let id = self.job("another", 1, now);
        let lease = format!("{:064x}", id.0);
        let deadline = UnixMillis(now.0 + DAY);
        let row = HostedRow {
            job: id,
            lease: lease.clone(),
            requester,
            offer: "o".repeat(64),
            deadline,
            message: None,
            has_receipt: false,
        };
        self.store().host(&row).unwrap();
        self.store()
            .touch_peer(requester, "a neighbour", &["/ip4/192.0.2.1/tcp/4001".to_owned()], [], now)
            .unwrap();
        let claim = self.store().claim_task_of(id, "soak", now).unwrap().unwrap();
        for _ in 0..self.chance.below(5) {
            let state = self.file(80_000, now);
            self.store().ship_state(id, state, STATES).unwrap();
        }
        match self.chance.below(20) {
            0 => {
                self.store().fail_task(claim, &broke(), Failure::Final, now).unwrap();
                self.store().end_hosted(id, "failed", now).unwrap();
            }
            1 => {
                self.store().end_hosted(id, "released", now).unwrap();
            }
            // The device restarts in the middle and the requester is gone too, so the deadline ends the
            // job.
            2 => self.restart(),
            _ => {
                let done = self.result(now);
                self.store().finish_task(claim, &done, now).unwrap().unwrap();
                let output = done.outputs[0].blob;
                let row = ContentRow {
                    id: output.to_string(),
                    blob: output,
                    size: 30_000,
                    key: [1; 32],
                    manifest: vec![0; 96],
                    open: None,
                };
                self.store().put_content(&row).unwrap();
                self.store().set_hosted_message(id, b"a result").unwrap();
                self.store().earn_credit(&lease, requester, 1_000, now).unwrap();
                self.store().set_hosted_receipt(id, b"a receipt").unwrap();
            }
        }
    }

    fn day(&mut self, day: i64, jobs: u64) {
        let now = UnixMillis(day * DAY);
        for n in 0..jobs {
            self.host(UnixMillis(now.0 + n as i64 * 1000));
        }
        // The device has own work, some of which others did for it.
        let own = self.job("this device", 3, now);
        while let Some(claim) = self.store().claim_task_of(own, "soak", now).unwrap() {
            let lease = format!("own-{day}-{}", claim.attempt);
            self.store().reserve_credit(&lease, NodeId([9; 32]), own, 10, now).unwrap();
            let done = self.result(now);
            self.store().finish_task(claim, &done, now).unwrap();
            self.store().settle_credit(&lease, NodeId([9; 32]), own, 10, now).unwrap();
        }
        for n in 0..24 {
            let reason = String::new();
            let (cpu_temp, battery, other_cpu) = (Some(50.0), None, Some(3.0));
            let (at, duty, units) = (UnixMillis(now.0 + n * 3_600_000), Percent::FULL, WorkUnits(5));
            self.store()
                .add_sample(
                    &Sample {
                        at,
                        span_millis: 60_000,
                        duty,
                        worked_millis: 60_000,
                        units,
                        cpu_temp,
                        battery,
                        other_cpu,
                        reason,
                    },
                    None,
                )
                .unwrap();
        }
        for n in 0..40 {
            let thread = format!("{:064}", self.chance.below(12));
            let file = (n % 8 == 0).then(|| vec![1; 40_000]);
            let new = NewChat {
                thread,
                is_mine: n % 2 == 0,
                is_seen: true,
                state: MessageState::Delivered,
                at: now,
                mid: format!("{day}-{n}"),
                sealed: vec![2; 300],
                file,
            };
            self.store().add_chat(&new, now).unwrap();
        }
        // The chores of the engine follow.
        let before = UnixMillis(now.0 - KEPT_DAYS * DAY);
        self.store().expire_jobs(now).unwrap();
        let late: Vec<JobId> = self
            .store()
            .hosted()
            .unwrap()
            .into_iter()
            .filter(|row| !row.has_receipt && row.deadline <= now)
            .map(|row| row.job)
            .collect();
        for job in late {
            self.store().end_hosted(job, "its deadline passed", now).unwrap();
        }
        self.store().remove_jobs(before, None).unwrap();
        while self.store().sweep_removed().unwrap() {}
        self.store().expire_chat(before).unwrap();
        self.store().cut_chats(CHAT, &Default::default()).unwrap();
        self.store().trim(Kept { samples: 2_000, journal: 5_000, credits: 500 }).unwrap();
        if day % 7 == 0 {
            self.restart();
        }
    }

    /// Returns the bytes of the database and of all stored files on disk.
    fn on_disk(&self) -> (u64, u64) {
        fn below(folder: &std::path::Path) -> u64 {
            let entries = std::fs::read_dir(folder)
                .map(|entries| entries.flatten().collect())
                .unwrap_or_else(|_| Vec::new());
            entries
                .iter()
                .map(|entry| {
                    entry
                        .metadata()
                        .map_or(0, |about| if about.is_dir() { below(&entry.path()) } else { about.len() })
                })
                .sum()
        }
        let database = ["fog.sqlite", "fog.sqlite-wal"]
            .iter()
            .map(|name| self.folder.path().join(name).metadata().map_or(0, |about| about.len()))
            .sum();
        (database, below(&self.folder.path().join("blobs")))
    }

    /// Returns SQLite's steps for one hosted job from its beginning to its end, and for a status.
    fn cost(&mut self, day: i64) -> (u64, u64) {
        let now = UnixMillis(day * DAY);
        let id = self.job("another", 1, now);
        let done = self.result(now);
        let store = self.store();
        let job = steps_of(store, |store| {
            let claim = store.claim_task_of(id, "soak", now).unwrap().unwrap();
            store.finish_task(claim, &done, now).unwrap().unwrap();
        });
        let status = steps_of(store, |store| {
            store.next_task().unwrap();
            store.job_counts().unwrap();
            store.totals_since(UnixMillis(now.0 - DAY), now).unwrap();
            store.disk_use().unwrap();
            store.credits().unwrap();
        });
        (job, status)
    }
}

#[test]
fn a_year_of_a_host_stays_within_its_caps() {
    let (days, jobs) = if std::env::var_os("FOG_TEST_FULL").is_some() { (365, 24) } else { (100, 3) };
    let mut host = Host::new();
    let (mut middle, mut early) = ((0, 0), (0, 0));
    for day in 1..=days {
        host.day(day, jobs);
        let used = host.store().disk_use().unwrap();
        assert!(used.blobs <= CAP.0, "day {day}: {} of {} in stored files", used.blobs, CAP.0);
        assert!(used.chat <= CHAT.of_all, "day {day}: {} in chat", used.chat);
        if day == days * 2 / 5 {
            (middle, early) = (host.on_disk(), host.cost(day));
        }
    }
    let (end, late) = (host.on_disk(), host.cost(days));
    println!(
        "{days} days, {jobs} hosted jobs a day: database {} to {} bytes, files {} to {}, steps {early:?} to {late:?}",
        middle.0, end.0, middle.1, end.1
    );
    assert!(end.1 <= CAP.0 + (1 << 20), "files: {} bytes", end.1);
    assert!(end.0 <= middle.0 + middle.0 / 5, "the database grows: {} and {} bytes", middle.0, end.0);
    assert!(late.0 <= early.0 + early.0 / 5 && late.1 <= early.1 + early.1 / 5, "{early:?} {late:?}");
    let hosted = host.store().hosted().unwrap().len();
    assert!(hosted as u64 <= jobs * (KEPT_DAYS as u64 + 2), "{hosted} rows of hosted jobs");
}
