//! Jobs that several suites run, and their results.

use std::path::PathBuf;
use std::process::Output;
use std::sync::OnceLock;
use std::time::Instant;

use serde_json::Value;

use crate::{Bench, fog_binary};

/// Returns the path of an example module, which `cargo xtask examples` puts beside the programs.
///
/// # Panics
/// When the module has not been built.
#[must_use]
pub fn example(name: &str) -> String {
    let path: PathBuf = fog_binary().with_file_name("fog-examples").join(name).join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing; `cargo xtask examples` builds it", path.display());
    path.to_string_lossy().into_owned()
}

/// Program that changes a number in many steps and prints it: every step affects the result.
const TURNING: &str = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start") (local $n i64) (local $x i64)
        (loop $l
            (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
            (local.set $x (i64.rotl (local.get $x) (i64.const 17)))
            (br_if $l (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const TURNS))))
        (i64.store (i32.const 64) (local.get $x))
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 8))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))"#;

/// Writes `long.wasm`, which changes a number in `turns` steps and prints it.
///
/// # Panics
/// When the module cannot be written.
#[must_use]
pub fn turning(bench: &Bench, turns: u64) -> String {
    let written = bench.module("long.wasm", &TURNING.replace("TURNS", &turns.to_string()));
    written.unwrap_or_else(|error| panic!("{error}")).to_string_lossy().into_owned()
}

/// Writes `long.wasm`, which works for a number of seconds on an idle core of this machine: a task that is
/// to be moved, cut off or killed must not end before.
///
/// # Panics
/// When the module cannot be written or run.
#[must_use]
pub fn working_for(bench: &Bench, seconds: f64) -> String {
    static TURNS_A_SECOND: OnceLock<f64> = OnceLock::new();
    let measured = TURNS_A_SECOND.get_or_init(|| {
        const TRIAL: u64 = 500_000_000;
        let trial = turning(bench, TRIAL);
        let seconds = (0..3).map(|_| {
            let begun = Instant::now();
            let output = bench.fog(&["run", &trial]).unwrap_or_else(|error| panic!("{error}"));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            begun.elapsed().as_secs_f64()
        });
        TRIAL as f64 / seconds.fold(f64::INFINITY, f64::min)
    });
    turning(bench, (measured * seconds) as u64)
}

/// Returns result hash and work units of a `fog --json run`.
///
/// # Panics
/// When the run failed.
#[must_use]
pub fn identity(output: &Output) -> (String, u64) {
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match (value["exit_code"].as_i64(), value["result_hash"].as_str(), value["units"].as_u64()) {
        (Some(0), Some(hash), Some(units)) => (hash.to_owned(), units),
        _ => panic!("{value} {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Returns the output of `fog job show` for a job, once it has ended.
#[must_use]
pub fn ended(bench: &Bench, id: &str) -> Option<Value> {
    let job = bench.json(&["job", "show", id]).ok()?;
    let is_over = matches!(job["summary"]["state"].as_str(), Some("finished" | "failed"));
    is_over.then_some(job)
}

/// Sums, products and quotients of floats whose NaNs differ between processors, stored and printed.
pub const FLOATS: &str = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func $step (param f64 f64) (result f64) (local f64 f64)
        (local.set 2 (f64.div (local.get 0) (local.get 1)))
        (local.set 3 (f64.sub (local.get 2) (f64.sqrt (f64.sub (local.get 1) (local.get 0)))))
        (f64.add (local.get 3) (f64.mul (local.get 2) (local.get 3))))
    (func (export "_start") (local $n i32) (local $x f64)
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 16))
        (loop $l
            (local.set $x (call $step (f64.convert_i32_u (i32.rem_u (local.get $n) (i32.const 7))) (f64.convert_i32_u (i32.rem_u (local.get $n) (i32.const 3)))))
            (i64.store (i32.const 64) (i64.add (i64.mul (i64.load (i32.const 64)) (i64.const 31)) (i64.reinterpret_f64 (local.get $x))))
            (f64.store (i32.const 72) (f64.add (f64.load (i32.const 72)) (local.get $x)))
            (if (i32.eqz (i32.rem_u (local.get $n) (i32.const 20000000))) (then (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
            (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 300000000))))))"#;
