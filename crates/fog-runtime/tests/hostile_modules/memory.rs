//! Jobs that want all the memory there is, by every way there is.

use fog_runtime::Outcome;
use fog_types::{ByteCount, Limits};

use crate::support::{compiled, measure, module};

/// A `_start` with some locals.
fn start(body: &str) -> String {
    module(&format!("(func $deep (call $deep) (call $deep)) (func (export \"_start\") (local $a i32) (local $i i32) {body})"))
}

fn again(count: u32, body: &str) -> String {
    format!("(loop $again {body} (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {count}))))")
}

/// This one does nothing wrong, and comes to its end.
const WITHIN_ITS_LIMITS: &str = "all of memory and all of the disk, and checkpoints of it";

fn modules() -> Vec<(&'static str, String)> {
    let work = again(100_000_000, "");
    vec![
        (
            WITHIN_ITS_LIMITS,
            start(&format!(
                "(drop (memory.grow (i32.const 256)))
                (drop (call $random (i32.const 65536) (i32.const 33000000)))
                (local.set $a (call $file (i32.const 1)))
                (i32.store (i32.const 400) (i32.const 65536)) (i32.store (i32.const 404) (i32.const 33000000))
                (drop (call $write (local.get $a) (i32.const 400) (i32.const 1) (i32.const 408)))
                (drop (call $write (local.get $a) (i32.const 400) (i32.const 1) (i32.const 408)))
                {work}"
            )),
        ),
        (
            "files that were large once",
            start(&format!(
                "{} {work}",
                again(
                    100,
                    "(local.set $a (call $file (local.get $i))) (drop (call $set_size (local.get $a) (i64.const 60000000)))
                    (drop (call $set_size (local.get $a) (i64.const 0))) (drop (call $close (local.get $a)))"
                )
            )),
        ),
        ("as many files as can be", start(&again(200_000, "(drop (call $close (call $file (local.get $i))))"))),
        (
            // Each with a file in it, whose whole path is part of the result.
            "folders in folders",
            start(&format!(
                "(local.set $a (i32.const 3)) {}",
                again(
                    20_000,
                    "(call $name (local.get $i))
                    (drop (call $mkdir (local.get $a) (i32.const 300) (i32.const 8)))
                    (drop (call $path_open (local.get $a) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1)
                        (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 200)))
                    (drop (call $close (i32.load (i32.const 200))))
                    (drop (call $path_open (local.get $a) (i32.const 0) (i32.const 300) (i32.const 8) (i32.const 2)
                        (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 200)))
                    (if (i32.ne (local.get $a) (i32.const 3)) (then (drop (call $close (local.get $a)))))
                    (local.set $a (i32.load (i32.const 200)))"
                )
            )),
        ),
        ("tables", start(&format!("(drop (table.grow $table (ref.func $nothing) (i32.const 99000))) {work}"))),
        ("recursion without an end", start("(call $deep)")),
    ]
}

#[tokio::test]
async fn no_job_makes_its_worker_larger_than_its_limits() {
    let limits = Limits { memory: ByteCount::mib(32), disk: ByteCount::mib(64), wall_seconds: 20, ..Limits::default() };
    for (name, wat) in modules() {
        let job = compiled(&wat, limits.clone(), 100).await;
        // A worker that dies fails this: reaching a limit has its own ending.
        let ended = measure(job.spec.clone(), 3).await;
        println!("{name}: {:?}, resident {} MiB of {}, {} files", ended.report.outcome, ended.resident >> 20, limits.footprint(), ended.files);
        // The system's limit lies above the footprint by what buffers that grew may leave unused.
        let most = limits.footprint().0 + if name == WITHIN_ITS_LIMITS { 0 } else { limits.disk.0 };
        assert!(ended.resident <= most, "{name}: {ended:?}");
        match name {
            WITHIN_ITS_LIMITS => assert_eq!(ended.report.outcome, Outcome::Exited(0), "{name}"),
            _ => assert!(!matches!(ended.report.outcome, Outcome::Refused(_) | Outcome::Trapped(_)), "{name}: {ended:?}"),
        }
    }
}
