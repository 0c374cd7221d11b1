//! Jobs that several suites run, and what they gave.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use crate::{Bench, fog_binary};

/// A module of the examples, which `cargo xtask examples` puts beside the programs.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn example(name: &str) -> String {
    let path: PathBuf = fog_binary().with_file_name("fog-examples").join(name).join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing; `cargo xtask examples` builds it", path.display());
    path.to_string_lossy().into_owned()
}

/// Result hash and work units of a `fog --json run` that must have succeeded.
///
/// # Panics
/// When it failed.
#[must_use]
pub fn identity(output: &Output) -> (String, u64) {
    let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match (value["exit_code"].as_i64(), value["result_hash"].as_str(), value["units"].as_u64()) {
        (Some(0), Some(hash), Some(units)) => (hash.to_owned(), units),
        _ => panic!("{value} {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// What `fog job show` says of a job, once it has ended.
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
