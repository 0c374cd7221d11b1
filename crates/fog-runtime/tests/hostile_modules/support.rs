//! Starts workers and measures them through `/proc`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fog_runtime::{
    EngineKind, FromWorker, Report, TaskSpec, WORKER_ARGUMENT, Worker, WorkerEvent, WorkerProgram, prepare,
};
use fog_types::{Limits, Percent};

/// Length of a clock tick of `/proc`: a hundredth of a second on every Linux.
const TICK: Duration = Duration::from_millis(10);
/// Time between two samples of a worker.
const SAMPLE_EVERY: Duration = Duration::from_millis(10);

/// Whether the long forms of the tests are requested.
pub(crate) fn is_full() -> bool {
    std::env::var_os("FOG_TEST_FULL").is_some()
}

/// Worker program whose processes can be found by this mark among those of other tests.
pub(crate) fn program(mark: &str) -> WorkerProgram {
    WorkerProgram::Process {
        path: env!("CARGO_BIN_EXE_fog-worker-for-tests").into(),
        args: vec![WORKER_ARGUMENT.into(), mark.into()],
    }
}

/// Ids of the processes of [`program`] with this mark.
pub(crate) fn marked(mark: &str) -> Vec<u32> {
    let ended_by = format!("\0{mark}\0");
    let is_marked = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(ended_by.as_bytes()))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_marked).collect()
}

/// Fields of `/proc/PID/stat` after the name; the first is the state.
pub(crate) fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

pub(crate) fn state(pid: u32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

pub(crate) fn processor_time(pid: u32) -> Option<Duration> {
    let fields = stat(pid)?;
    let ticks = fields.get(11)?.parse::<u32>().ok()? + fields.get(12)?.parse::<u32>().ok()?;
    Some(TICK * ticks)
}

/// Largest resident size so far, in bytes.
fn resident_peak(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// Waits up to two minutes until `found` gives a value.
pub(crate) async fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Module with every import that these tests use, 256 pages of memory and some names in it.
pub(crate) fn module(body: &str) -> String {
    format!(
        r#"(module
        (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_get" (func $env (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_allocate" (func $allocate (param i32 i64 i64) (result i32)))
        (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $set_size (param i32 i64) (result i32)))
        (import "wasi_snapshot_preview1" "fd_pwrite" (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_readdir" (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_filestat_get" (func $stat (param i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_link" (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open"
            (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_remove_directory" (func $rmdir (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
        (memory (export "memory") 256)
        (table $table 4 funcref)
        (type $nothing (func))
        (elem (table $table) (i32.const 0) func $nothing)
        (data (i32.const 0) "abcdexy")
        (func $nothing)
        ;; Opens the one-letter name at this address below a folder; the descriptor.
        (func $open (param $folder i32) (param $name i32) (param $flags i32) (result i32)
            (drop (call $path_open (local.get $folder) (i32.const 0) (local.get $name) (i32.const 1) (local.get $flags)
                ;; A folder is not written to.
                (select (i64.const 0) (i64.const 66) (i32.and (local.get $flags) (i32.const 2))) (i64.const 66) (i32.const 0) (i32.const 200)))
            (i32.load (i32.const 200)))
        ;; Writes a number as a name of eight letters.
        (func $name (param $number i32)
            (local $digit i32)
            (loop $next
                (i32.store8 (i32.add (i32.const 300) (local.get $digit)) (i32.add (i32.const 97) (i32.and (local.get $number) (i32.const 15))))
                (local.set $number (i32.shr_u (local.get $number) (i32.const 4)))
                (br_if $next (i32.lt_u (local.tee $digit (i32.add (local.get $digit) (i32.const 1))) (i32.const 8)))))
        ;; An empty file of this number in the root.
        (func $file (param $number i32) (result i32)
            (call $name (local.get $number))
            (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 300) (i32.const 8) (i32.const 1)
                (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 200)))
            (i32.load (i32.const 200)))
        {body})"#
    )
}

/// Module that repeats `body` for ever, after `first`.
pub(crate) fn for_ever(first: &str, body: &str) -> String {
    module(&format!(
        "(func (export \"_start\") (local $a i32) (local $b i32) (local $i i32) {first} (loop $again {body} (br $again)))"
    ))
}

/// Folder with one module that a worker has compiled.
pub(crate) struct Compiled {
    pub(crate) spec: TaskSpec,
    _folder: tempfile::TempDir,
}

pub(crate) async fn compiled(wat: &str, limits: Limits, duty: u8) -> Compiled {
    let folder = tempfile::tempdir().unwrap();
    let (module, artifact) = (written(folder.path(), wat), folder.path().join("m.cwasm"));
    prepare(&program("compile"), &module, &artifact, EngineKind::Compiled).await.unwrap();
    let spec = TaskSpec {
        artifact,
        engine: EngineKind::Compiled,
        program: "m".to_owned(),
        args: vec![],
        env: vec![],
        stdin: None,
        inputs: vec![],
        limits,
        seed: 0,
        duty: Percent::new(duty),
        segments: None,
    };
    Compiled { spec, _folder: folder }
}

pub(crate) fn written(folder: &Path, wat: &str) -> PathBuf {
    let path = folder.join("m.wasm");
    std::fs::write(&path, wat::parse_str(wat).unwrap()).unwrap();
    path
}

/// Measurements of a worker that has ended.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) report: Report,
    pub(crate) files: usize,
    /// Bytes of each checkpoint.
    pub(crate) saved: Vec<u64>,
    pub(crate) resident: u64,
    /// Processor time of the job from its start on.
    pub(crate) processor: Duration,
    pub(crate) elapsed: Duration,
}

impl Measured {
    /// Share of one processor that the job got.
    pub(crate) fn share(&self) -> f64 {
        self.processor.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// Runs a task to its report.
pub(crate) async fn measure(spec: TaskSpec) -> Measured {
    measure_from(&program("run"), spec, None).await.0
}

/// Runs a task from a checkpoint, and also returns the last checkpoint that it made.
pub(crate) async fn measure_from(
    program: &WorkerProgram,
    spec: TaskSpec,
    from: Option<Vec<u8>>,
) -> (Measured, Vec<u8>) {
    let mut worker = Worker::spawn(program, spec, from).unwrap();
    let pid = worker.pid().unwrap();
    let (resident, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let sampler = std::thread::spawn({
        let (resident, is_over) = (Arc::clone(&resident), Arc::clone(&is_over));
        move || {
            let mut used = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) {
                resident.fetch_max(resident_peak(pid).unwrap_or(0), Ordering::Relaxed);
                used = used.max(processor_time(pid).unwrap_or_default());
                std::thread::sleep(SAMPLE_EVERY);
            }
            used
        }
    });
    let (mut begun, mut used_before, mut files) = (Instant::now(), Duration::ZERO, 0);
    let (mut saved, mut state, mut arriving) = (Vec::new(), Vec::new(), Vec::new());
    let report = loop {
        let event = worker.events.recv().await.expect("a last event");
        match event {
            WorkerEvent::Message(FromWorker::Started) => {
                (begun, used_before) = (Instant::now(), processor_time(pid).unwrap_or_default())
            }
            WorkerEvent::Message(FromWorker::File { .. }) => files += 1,
            WorkerEvent::Message(FromWorker::Done(report)) => break report,
            WorkerEvent::Message(FromWorker::State(piece)) => arriving.extend(piece),
            WorkerEvent::Message(FromWorker::Saved(about)) => {
                saved.push(about.expect("a checkpoint").bytes);
                state = std::mem::take(&mut arriving);
            }
            WorkerEvent::Message(FromWorker::Failed { message, .. }) => panic!("{message}"),
            WorkerEvent::Gone(error) => panic!("{error}"),
            WorkerEvent::Message(_) | WorkerEvent::Frozen(_) => {}
        }
    };
    let elapsed = begun.elapsed();
    is_over.store(true, Ordering::Relaxed);
    let processor = sampler.join().unwrap().saturating_sub(used_before);
    (Measured { report, files, saved, resident: resident.load(Ordering::Relaxed), processor, elapsed }, state)
}
