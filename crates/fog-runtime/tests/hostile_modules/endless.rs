//! Jobs that never end, each in another way: their running time and share of the processor are enforced.

use std::time::Duration;

use fog_runtime::{LimitKind, Outcome, Segments, TaskSpec};
use fog_types::{ByteCount, Limits};

use crate::support::{compiled, for_ever, is_full, measure, module};

const DUTY: u8 = 50;
/// Largest excess of the running time before the job is ended.
const MOST_OVER: Duration = Duration::from_secs(1);
/// Longest time that a job of one second may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Body that fills folder `f`, open as `$a`, with many files.
const MANY_FILES: &str = "
    (loop $more
        (drop (call $close (call $file (local.get $i))))
        (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 20000))))";

fn modules() -> Vec<(&'static str, String)> {
    let many_cases: String = std::iter::repeat_n("$l ", 5_000).collect();
    vec![
        ("a loop", for_ever("", "")),
        ("calls that do nothing", for_ever("", "(drop (call $yield))")),
        (
            // A folder that was removed while open gets its id reused below its own child.
            "a circle of folders",
            for_ever(
                "(drop (call $mkdir (i32.const 3) (i32.const 3) (i32.const 1)))
                (local.set $a (call $open (i32.const 3) (i32.const 3) (i32.const 2)))
                (drop (call $mkdir (i32.const 3) (i32.const 2) (i32.const 1)))
                (local.set $b (call $open (i32.const 3) (i32.const 2) (i32.const 2)))
                (drop (call $rmdir (i32.const 3) (i32.const 3) (i32.const 1)))
                (drop (call $rename (i32.const 3) (i32.const 2) (i32.const 1) (local.get $a) (i32.const 2) (i32.const 1)))
                (drop (call $close (local.get $a)))
                (drop (call $mkdir (local.get $b) (i32.const 5) (i32.const 1)))
                (drop (call $mkdir (i32.const 3) (i32.const 4) (i32.const 1)))
                (drop (call $rename (i32.const 3) (i32.const 4) (i32.const 1) (local.get $b) (i32.const 6) (i32.const 1)))",
                "",
            ),
        ),
        (
            "files that grow and shrink",
            for_ever(
                "(local.set $a (call $open (i32.const 3) (i32.const 0) (i32.const 1)))",
                "(drop (call $set_size (local.get $a) (i64.const 60000000))) (drop (call $set_size (local.get $a) (i64.const 0)))",
            ),
        ),
        ("the time", for_ever("", "(drop (call $clock (i32.const 1) (i64.const 0) (i32.const 400)))")),
        ("much randomness", for_ever("", "(drop (call $random (i32.const 65536) (i32.const 16000000)))")),
        ("filling memory", for_ever("", "(memory.fill (i32.const 65536) (i32.const 7) (i32.const 16000000))")),
        ("copying memory", for_ever("", "(memory.copy (i32.const 65536) (i32.const 65600) (i32.const 16000000))")),
        (
            "room for files",
            for_ever(
                "(local.set $a (call $open (i32.const 3) (i32.const 0) (i32.const 1)))",
                "(drop (call $allocate (local.get $a) (i64.const 0) (i64.const 60000000))) (drop (call $set_size (local.get $a) (i64.const 0)))",
            ),
        ),
        (
            "writing far behind the end",
            for_ever(
                "(local.set $a (call $open (i32.const 3) (i32.const 0) (i32.const 1))) (i32.store (i32.const 404) (i32.const 1))",
                "(drop (call $pwrite (local.get $a) (i32.const 400) (i32.const 1) (i64.const 60000000) (i32.const 408)))
                (drop (call $set_size (local.get $a) (i64.const 0)))",
            ),
        ),
        (
            "moving to and fro",
            for_ever(
                "(drop (call $close (call $open (i32.const 3) (i32.const 0) (i32.const 1))))",
                "(drop (call $rename (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 3) (i32.const 1) (i32.const 1)))
                (drop (call $rename (i32.const 3) (i32.const 1) (i32.const 1) (i32.const 3) (i32.const 0) (i32.const 1)))",
            ),
        ),
        (
            "folders that come and go",
            for_ever("", "(drop (call $mkdir (i32.const 3) (i32.const 0) (i32.const 1))) (drop (call $rmdir (i32.const 3) (i32.const 0) (i32.const 1)))"),
        ),
        (
            "the end of a long list",
            for_ever(MANY_FILES, "(drop (call $readdir (i32.const 3) (i32.const 70000) (i32.const 4096) (i64.const 19990) (i32.const 400)))"),
        ),
        ("a long list", for_ever(MANY_FILES, "(drop (call $readdir (i32.const 3) (i32.const 70000) (i32.const 4000000) (i64.const 0) (i32.const 400)))")),
        (
            "long output",
            for_ever(
                "(i32.store (i32.const 400) (i32.const 65536)) (i32.store (i32.const 404) (i32.const 8000000))",
                "(drop (call $write (i32.const 1) (i32.const 400) (i32.const 1) (i32.const 408)))",
            ),
        ),
        (
            "long paths",
            for_ever(
                "(loop $more
                    (i32.store16 (i32.add (i32.const 70000) (local.get $i)) (i32.const 0x2f2e))
                    (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 2))) (i32.const 4000))))",
                "(drop (call $stat (i32.const 3) (i32.const 0) (i32.const 70000) (i32.const 4000) (i32.const 400)))",
            ),
        ),
        (
            "files that come and go",
            for_ever(
                "",
                "(drop (call $close (call $open (i32.const 3) (i32.const 0) (i32.const 1)))) (drop (call $unlink (i32.const 3) (i32.const 0) (i32.const 1)))",
            ),
        ),
        (
            // A subscription to a clock, one day ahead.
            "sleeping",
            for_ever(
                "(i64.store (i32.const 424) (i64.const 86400000000000))",
                "(drop (call $poll (i32.const 400) (i32.const 500) (i32.const 1) (i32.const 600)))",
            ),
        ),
        ("memory that is refused", for_ever("", "(drop (memory.grow (i32.const 60000)))")),
        ("tables that are refused", for_ever("", "(drop (table.grow $table (ref.null func) (i32.const 90000000)))")),
        ("a table of jumps", for_ever("", &format!("(block $l (br_table {many_cases} (local.get $i))) (local.set $i (i32.add (local.get $i) (i32.const 1)))"))),
        ("calls through a table", for_ever("", "(call_indirect $table (type $nothing) (i32.const 0))")),
        ("deep recursion", deep_recursion(3_000)),
    ]
}

/// Jobs whose marks are as close together as possible.
fn marked_modules() -> Vec<(&'static str, String)> {
    vec![
        ("marks of a large memory", for_ever("(drop (call $random (i32.const 65536) (i32.const 16000000)))", "")),
        (
            "marks of a large file",
            for_ever(
                "(drop (call $random (i32.const 65536) (i32.const 16000000)))
                (i32.store (i32.const 400) (i32.const 65536)) (i32.store (i32.const 404) (i32.const 16000000))
                (local.set $a (call $open (i32.const 3) (i32.const 0) (i32.const 1)))
                (loop $more
                    (drop (call $pwrite (local.get $a) (i32.const 400) (i32.const 1) (i64.mul (i64.extend_i32_u (local.get $i)) (i64.const 16000000)) (i32.const 408)))
                    (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))",
                "",
            ),
        ),
        ("marks of a deep stack", deep_recursion(10_000)),
        ("marks of very little", for_ever("", "")),
    ]
}

/// Module that recurses to `depth` and returns, again and again.
fn deep_recursion(depth: u32) -> String {
    module(&format!(
        "(func $deep (param $n i32) (if (local.get $n) (then (call $deep (i32.sub (local.get $n) (i32.const 1))))))
        (func (export \"_start\") (loop $again (call $deep (i32.const {depth})) (br $again)))"
    ))
}

async fn keeps_its_limits(name: &str, wat: &str, segments: Option<Segments>) {
    let limits =
        Limits { memory: ByteCount::mib(32), disk: ByteCount::mib(64), wall_seconds: 1, ..Limits::default() };
    let job = compiled(wat, limits.clone(), DUTY).await;
    let ended = tokio::time::timeout(PATIENCE, measure(TaskSpec { segments, ..job.spec.clone() })).await;
    let Ok(ended) = ended else { panic!("{name}: it runs on after {PATIENCE:?}") };
    println!(
        "{name}: {:?}, processor {:?}, elapsed {:?}, share {:.2}, resident {} MiB, charged {} ms, {} checkpoints",
        ended.report.outcome,
        ended.processor,
        ended.elapsed,
        ended.share(),
        ended.resident >> 20,
        ended.report.active_millis,
        ended.saved.len()
    );
    // A refused table costs its size too, which is more than the units of the job.
    let is_other =
        name == "tables that are refused" && ended.report.outcome == Outcome::Limit(LimitKind::Units);
    assert!(
        is_other || ended.report.outcome == Outcome::Limit(LimitKind::WallTime),
        "{name}: {:?}",
        ended.report.outcome
    );
    assert!(ended.processor <= Duration::from_secs(limits.wall_seconds) + MOST_OVER, "{name}: {ended:?}");
    assert!(ended.share() <= f64::from(DUTY) / 100.0 + 0.1, "{name}: {ended:?}");
    let charged = Duration::from_millis(ended.report.active_millis);
    assert!(
        charged <= ended.processor + Duration::from_millis(200),
        "waiting for the processor is not charged: {name}: {ended:?}"
    );
    assert!(ended.resident <= limits.footprint().0, "{name}: {ended:?}");
}

#[tokio::test]
async fn jobs_without_an_end_keep_their_running_time_and_their_share() {
    let count = if is_full() { usize::MAX } else { 6 };
    for (name, wat) in modules().into_iter().take(count) {
        keeps_its_limits(name, &wat, None).await;
    }
}

/// The submitter of a job chooses the distance of marks, so their cost must count as running time.
#[tokio::test]
async fn marks_are_paid_for_like_the_work_between_them() {
    for (name, wat) in marked_modules() {
        keeps_its_limits(name, &wat, Some(Segments::of(1, true))).await;
    }
}
