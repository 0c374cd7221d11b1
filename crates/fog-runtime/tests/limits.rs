//! Hostile modules against every limit, in this process; `crates/fog-cli/tests` repeats those that need a
//! worker process.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fog_runtime::{
    Control, EngineKind, LimitKind, Mount, Observer, Order, Outcome, OutputFile, Report, Taken, TaskSpec,
    compile, run, validate,
};
use fog_types::{ByteCount, Limits, Percent, WorkUnits};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Seen>>);

type Seen = (Vec<u8>, Vec<u8>, Option<u16>);

impl Observer for Log {
    fn output(&mut self, stderr: bool, bytes: &[u8]) {
        let mut log = self.0.lock().unwrap();
        if stderr { log.1.extend_from_slice(bytes) } else { log.0.extend_from_slice(bytes) }
    }

    fn progress(&mut self, permille: u16) {
        self.0.lock().unwrap().2 = Some(permille);
    }
}

#[derive(Clone, Default)]
struct FullSpeed {
    slices: Arc<AtomicU64>,
}

impl Control for FullSpeed {
    fn safe_point(&mut self, _worked: Duration, _units: u64) -> Order {
        self.slices.fetch_add(1, Ordering::Relaxed);
        Order::Go
    }

    fn save(&mut self, _snapshot: Result<Taken<'_>, String>) {
        unreachable!("nobody asked for a checkpoint");
    }
}

struct Ran {
    report: Report,
    files: Vec<OutputFile>,
    stdout: Vec<u8>,
    permille: Option<u16>,
    slices: u64,
}

fn spec(folder: &tempfile::TempDir, wat: &str, limits: Limits) -> TaskSpec {
    let artifact = folder.path().join("module.cwasm");
    std::fs::write(&artifact, compile(&wat::parse_str(wat).unwrap(), EngineKind::Compiled).unwrap()).unwrap();
    TaskSpec {
        artifact,
        engine: EngineKind::Compiled,
        program: "test".to_owned(),
        args: vec!["one".to_owned()],
        env: vec![("KEY".to_owned(), "value".to_owned())],
        stdin: None,
        inputs: Vec::new(),
        limits,
        seed: 0,
        duty: Percent::FULL,
        segments: None,
    }
}

fn execute(spec: &TaskSpec) -> Ran {
    let (log, control) = (Log::default(), FullSpeed::default());
    let (report, files) = run(spec, None, Box::new(log.clone()), Box::new(control.clone()), || {}).unwrap();
    let (stdout, _, permille) = log.0.lock().unwrap().clone();
    Ran { report, files, stdout, permille, slices: control.slices.load(Ordering::Relaxed) }
}

fn ran(wat: &str, limits: Limits) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    execute(&spec(&folder, wat, limits))
}

/// Module whose `_start` is `body`, with the imports that the tests need and one page of memory.
fn module(body: &str) -> String {
    format!(
        r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
        (memory (export "memory") 1)
        (table 1 funcref)
        (data (i32.const 0) "out.bin")
        (data (i32.const 16) "dev/progress 37.5\n")
        {body})"#
    )
}

#[test]
fn memory_cannot_grow_past_its_limit_and_the_job_is_told() {
    let body = "(func (export \"_start\")
        (if (i32.ne (memory.grow (i32.const 15)) (i32.const 1)) (then (call $exit (i32.const 1))))
        (call $exit (memory.grow (i32.const 1))))";
    let result = ran(&module(body), Limits { memory: ByteCount::mib(1), ..Limits::default() });
    assert_eq!(result.report.outcome, Outcome::Exited(u32::MAX), "grow answered -1 inside the job");
    assert_eq!(result.report.memory, ByteCount::mib(1));
}

/// A growth past the module's own maximum or the address space fails inside the job, as everywhere.
#[test]
fn memory_cannot_grow_past_what_the_module_says() {
    let wat = "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32))) (memory (export \"memory\") 1 2)
        (func (export \"_start\")
            (if (i32.ne (memory.grow (i32.const 2)) (i32.const -1)) (then (call $exit (i32.const 1))))
            (if (i32.ne (memory.grow (i32.const -1)) (i32.const -1)) (then (call $exit (i32.const 2))))
            (if (i32.ne (memory.grow (i32.const 1)) (i32.const 1)) (then (call $exit (i32.const 3))))))";
    assert_eq!(ran(wat, Limits::default()).report.outcome, Outcome::Exited(0));
}

#[test]
fn a_module_that_begins_above_its_memory_limit_is_refused() {
    let wat = "(module (memory (export \"memory\") 100) (func (export \"_start\")))";
    let result = ran(wat, Limits { memory: ByteCount(1 << 16), ..Limits::default() });
    assert!(matches!(result.report.outcome, Outcome::Refused(_)), "{:?}", result.report.outcome);
}

#[test]
fn tables_cannot_grow_past_their_limit() {
    let body = "(func (export \"_start\") (call $exit (table.grow (ref.null func) (i32.const 1000))))";
    let result = ran(&module(body), Limits { table_elements: 999, ..Limits::default() });
    assert_eq!(result.report.outcome, Outcome::Exited(u32::MAX));
}

#[test]
fn work_ends_at_the_same_instruction_every_time() {
    let wat = module("(func (export \"_start\") (loop $l (br $l)))");
    let limits = Limits { units: WorkUnits(20_000_123), ..Limits::default() };
    let first = ran(&wat, limits.clone());
    assert_eq!(first.report.outcome, Outcome::Limit(LimitKind::Units));
    assert_eq!(first.report.units, limits.units);
    assert!(first.slices >= 3, "a loop meets safe points: {}", first.slices);
    assert_eq!(ran(&wat, limits).report.units, first.report.units);
}

/// Only the rewriting may import the function that asks the host about limits; a job could lie with it.
#[test]
fn a_job_cannot_speak_for_the_rewriting() {
    for import in ["(func (param i64) (result i64))", "(memory 1)"] {
        let wat = format!("(module (import \"fog:host\" \"check\" {import}) (func (export \"_start\")))");
        let refused = compile(&wat::parse_str(wat).unwrap(), EngineKind::Compiled).unwrap_err().to_string();
        assert!(refused.contains("fog:host"), "{refused}");
    }
}

/// A check sees the units of code that has run, not those charged ahead: a limit of exactly the used units
/// is enough.
#[test]
fn a_program_that_takes_so_many_units_ends_within_them() {
    let body = "(func $slow (local $n i32) (loop $l (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 3)))))
        (func $deep (param $n i32)
            (block $on (br_if $on (i32.lt_u (local.get $n) (i32.const 50))) (return))
            (call $deep (i32.add (local.get $n) (i32.const 1)))
            (drop (i32.mul (i32.mul (i32.mul (local.get $n) (local.get $n)) (local.get $n)) (local.get $n))))
        (func (export \"_start\") (local $i i32)
            (call $deep (i32.const 0))
            (loop $turn
                (block $on (br_if $on (i32.lt_u (local.get $i) (i32.const 9))) (return))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (call $slow)
                (br $turn)))";
    let free = ran(&module(body), Limits::default()).report;
    assert_eq!(free.outcome, Outcome::Exited(0));
    let exact = ran(&module(body), Limits { units: free.units, ..Limits::default() }).report;
    assert_eq!((exact.outcome, exact.units), (Outcome::Exited(0), free.units));
}

/// Computed from the table in `docs/checkpoint.md`: each turn costs 3 to the end of its first stretch
/// (`lt_u`, `br_if`, `return`), and 3 more when it continues (`add`, `local.set`, `br`), which the last
/// turn does not. Ten turns, and 4 for the call of `_start`.
#[test]
fn units_are_those_of_the_table() {
    let body = "(func (export \"_start\") (local $i i32)
        (loop $turn
            (block $on (br_if $on (i32.lt_u (local.get $i) (i32.const 9))) (return))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $turn)))";
    // The stretch behind the branch is small, so the last turn, which leaves before it, is charged for it
    // too.
    assert_eq!(ran(&module(body), Limits::default()).report.units, WorkUnits(10 * 6 + 4));
}

#[test]
fn running_time_ends_a_loop() {
    let wat = module("(func (export \"_start\") (loop $l (br $l)))");
    let result = ran(&wat, Limits { wall_seconds: 1, ..Limits::default() });
    assert_eq!(result.report.outcome, Outcome::Limit(LimitKind::WallTime));
    assert!(result.report.active_millis >= 1_000);
}

/// The clock is not checked on a path without a safe point.
#[test]
fn running_time_past_the_limit_is_no_result() {
    let fill = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x4000000))".repeat(600);
    let wat = format!("(module (memory (export \"memory\") 1024) (func (export \"_start\") {fill}))");
    let result = ran(&wat, Limits { wall_seconds: 1, ..Limits::default() });
    assert!(result.report.active_millis > 1_000, "it takes that long: {} ms", result.report.active_millis);
    assert_eq!((result.report.outcome, result.slices), (Outcome::Limit(LimitKind::WallTime), 0));
}

#[test]
fn endless_recursion_ends_at_the_stack_limit() {
    let wat = module("(func $f (call $f) (call $f)) (func (export \"_start\") (call $f))");
    assert_eq!(ran(&wat, Limits::default()).report.outcome, Outcome::Limit(LimitKind::Stack));
}

const WRITE_FILE: &str = "
    (func $put (param $bytes i32) (result i32)
        (i32.store (i32.const 100) (i32.const 1000))
        (i32.store (i32.const 104) (local.get $bytes))
        (call $write (i32.load (i32.const 200)) (i32.const 100) (i32.const 1) (i32.const 108)))
    (func $create
        (drop (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 7) (i32.const 1) (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 200))))";

#[test]
fn the_disk_is_full_inside_the_job() {
    let body = format!(
        "{WRITE_FILE} (func (export \"_start\")
        (call $create)
        (loop $l (br_if $l (i32.eqz (call $put (i32.const 30000)))))
        (call $exit (call $put (i32.const 1))))"
    );
    let result = ran(&module(&body), Limits { disk: ByteCount(100_000), ..Limits::default() });
    assert_eq!(result.report.outcome, Outcome::Exited(51), "51 is ENOSPC");
    assert_eq!(result.report.disk, ByteCount(100_000));
    assert_eq!(result.files.len(), 1);
    assert_eq!(result.files[0].path, "out.bin");
}

#[test]
fn output_past_the_log_limit_is_dropped_and_counted() {
    let body = format!(
        "{WRITE_FILE} (func (export \"_start\") (i32.store (i32.const 200) (i32.const 1)) (drop (call $put (i32.const 5000))))"
    );
    let result = ran(&module(&body), Limits { log: ByteCount(1_000), ..Limits::default() });
    assert_eq!(result.report.outcome, Outcome::Exited(0));
    assert_eq!((result.stdout.len(), result.report.stdout_dropped), (1_000, 4_000));
}

#[test]
fn clock_and_randomness_are_the_same_every_time_and_follow_the_seed() {
    let body = format!(
        "{WRITE_FILE} (func (export \"_start\") (local $i i32)
        (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 1000))))
        (drop (call $random (i32.const 1000) (i32.const 32)))
        (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 1032)))
        (i32.store (i32.const 200) (i32.const 1))
        (drop (call $put (i32.const 40))))"
    );
    let folder = tempfile::tempdir().unwrap();
    let mut task = spec(&folder, &module(&body), Limits::default());
    let first = execute(&task);
    assert_ne!(first.stdout[32..40], [0; 8], "the clock moved with the work");
    let second = execute(&task);
    assert_eq!((first.stdout.clone(), first.report.units), (second.stdout, second.report.units));
    task.seed = 1;
    assert_ne!(execute(&task).stdout[..32], first.stdout[..32]);
}

#[test]
fn a_job_can_tell_its_progress() {
    let body = "(func (export \"_start\")
        (drop (call $open (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 12) (i32.const 0) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 200)))
        (i32.store (i32.const 100) (i32.const 29))
        (i32.store (i32.const 104) (i32.const 5))
        (drop (call $write (i32.load (i32.const 200)) (i32.const 100) (i32.const 1) (i32.const 108))))";
    assert_eq!(ran(&module(body), Limits::default()).permille, Some(375));
}

#[test]
fn pointers_outside_memory_are_an_error_inside_the_job() {
    let body = "(func (export \"_start\") (call $exit (call $random (i32.const -8) (i32.const 64))))";
    assert_eq!(ran(&module(body), Limits::default()).report.outcome, Outcome::Exited(21), "21 is EFAULT");
}

#[test]
fn inputs_are_read_only_and_nothing_else_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("secret");
    std::fs::write(&input, "data").unwrap();
    let body = |path: &str, rights: u32| {
        format!("(data (i32.const 64) \"{path}\") (func (export \"_start\")
            (call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const {}) (i32.const 0) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 200))))", path.len())
    };
    let code = |path: &str, rights: u32| {
        let mut task = spec(&folder, &module(&body(path, rights)), Limits::default());
        task.inputs = vec![Mount { name: "sub/secret".to_owned(), path: input.clone() }];
        execute(&task).report.outcome
    };
    assert_eq!(code("in/sub/secret", 2), Outcome::Exited(0));
    assert_eq!(code("in/sub/secret", 64), Outcome::Exited(69), "69 is EROFS");
    assert_eq!(code("../../etc/passwd", 2), Outcome::Exited(44), "44 is ENOENT");
    assert_eq!(
        code(input.to_str().unwrap(), 2),
        Outcome::Exited(63),
        "63 is EPERM: paths are relative to a folder"
    );
}

#[test]
fn modules_that_cannot_run_are_refused_with_the_reason() {
    let refusal = |wat: &str| match ran(wat, Limits::default()).report.outcome {
        Outcome::Refused(message) => message,
        other => panic!("{other:?}"),
    };
    assert!(refusal("(module)").contains("_start"));
    assert!(
        refusal("(module (import \"env\" \"socket\" (func)) (func (export \"_start\")))").contains("socket")
    );
    assert!(validate(b"not wasm at all").is_err());
    assert!(
        validate(&wat::parse_str("(module (memory 1 1 shared))").unwrap()).is_err(),
        "threads are refused"
    );
}

#[test]
fn a_trap_is_named() {
    let wat = module("(func (export \"_start\") unreachable)");
    assert!(
        matches!(ran(&wat, Limits::default()).report.outcome, Outcome::Trapped(text) if text.contains("unreachable"))
    );
}
