//! Ways to use all memory. Each module checks that its attempt works, and exits with the number of the
//! first step that fails; all begin with as much linear memory as they get, filled with data.

use std::fmt::Write;

use fog_runtime::{LimitKind, Outcome, Segments};

use crate::support::module;

/// Units between two checkpoints of modules that are saved; `$work` takes longer than that.
const SAVED_EVERY: u64 = 100_000_000;

/// One module, and its expected end.
pub(super) struct Hostile {
    pub(super) name: &'static str,
    pub(super) wat: String,
    pub(super) outcome: Outcome,
    /// Segments, if whole checkpoints are taken.
    pub(super) segments: Option<Segments>,
    /// Least size of the largest checkpoint, bytes.
    pub(super) least_saved: u64,
    /// Number of arguments of 16 KiB, and of variables.
    pub(super) arguments: usize,
}

const HELPERS: &str = "
    (func $must (param $holds i32) (param $number i32)
        (if (i32.eqz (local.get $holds)) (then (call $exit (local.get $number)))))
    ;; Linear memory up to its limit of 32 MiB, filled with what cannot be compressed.
    (func $all_memory
        (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (call $must (i32.eq (memory.size) (i32.const 512)) (i32.const 100))
        (call $must (i32.eqz (call $random (i32.const 65536) (i32.const 33488896))) (i32.const 101)))
    ;; Writes this many bytes of it; the error.
    (func $put (param $file i32) (param $bytes i32) (param $at i64) (result i32)
        (i32.store (i32.const 400) (i32.const 65536)) (i32.store (i32.const 404) (local.get $bytes))
        (call $pwrite (local.get $file) (i32.const 400) (i32.const 1) (local.get $at) (i32.const 408)))
    ;; All that fits on the disk of 64 MiB.
    (func $all_disk (param $file i32)
        (call $must (i32.eqz (call $put (local.get $file) (i32.const 33488896) (i64.const 0))) (i32.const 102))
        (call $must (i32.eqz (call $put (local.get $file) (i32.const 33488896) (i64.const 33488896))) (i32.const 103)))
    ;; What is left of it.
    (func $rest_of_disk (param $file i32) (local $at i64)
        (loop $more
            (if (i32.eqz (call $put (local.get $file) (i32.const 65536) (local.get $at)))
                (then (local.set $at (i64.add (local.get $at) (i64.const 65536))) (br $more)))))
    (func $work (local $times i32)
        (loop $more (br_if $more (i32.lt_u (local.tee $times (i32.add (local.get $times) (i32.const 1))) (i32.const 30000000)))))
    ;; A new file with a name of 255 letters; the error.
    (func $long (param $number i32) (result i32)
        (call $name (local.get $number))
        (memory.fill (i32.const 1024) (i32.const 122) (i32.const 255))
        (memory.copy (i32.const 1024) (i32.const 300) (i32.const 8))
        (call $path_open (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 255) (i32.const 5)
            (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 200)))";

fn start(functions: &str, body: &str) -> String {
    module(&format!(
        "{HELPERS} {functions} (func (export \"_start\") (local $a i32) (local $b i32) (local $i i32) (local $j i32) (call $all_memory) {body})"
    ))
}

/// Repeats `body` with `counter` from 0 on.
fn times(counter: &str, count: u32, body: &str) -> String {
    format!(
        "(local.set {counter} (i32.const 0))
        (loop $again{0} {body}
            (br_if $again{0} (i32.lt_u (local.tee {counter} (i32.add (local.get {counter}) (i32.const 1))) (i32.const {count}))))",
        &counter[1..]
    )
}

fn hostile(name: &'static str, wat: String) -> Hostile {
    Hostile { name, wat, outcome: Outcome::Exited(0), segments: None, least_saved: 0, arguments: 0 }
}

/// Module with checkpoints all along, the last while `$work` holds everything; the largest has at least
/// `least_saved` bytes.
fn saved(name: &'static str, least_saved: u64, functions: &str, body: &str) -> Hostile {
    let wat = start(functions, &format!("{body} (call $work)"));
    Hostile { segments: Some(Segments::of(SAVED_EVERY, true)), least_saved, ..hostile(name, wat) }
}

/// Module that only works.
pub(super) fn working() -> String {
    module(&format!("{HELPERS} (func (export \"_start\") (call $work))"))
}

/// Function that keeps `count` numbers in each of its recursive frames, and works at the bottom.
fn keeping(count: usize) -> String {
    let mut function = String::from("(func $keep (param $depth i32) (param $from i32) (result i64)");
    for number in 0..count {
        let _ = write!(function, "(local $n{number} i64)");
    }
    for number in 0..count {
        let _ = write!(
            function,
            "(local.set $n{number} (i64.load offset={} (local.get $from)))",
            65536 + 8 * number
        );
    }
    function += "(if (local.get $depth)
            (then (drop (call $keep (i32.sub (local.get $depth) (i32.const 1)) (i32.add (local.get $from) (i32.const 6000)))))
            (else (call $work)))
        (i64.const 0)";
    for number in 0..count {
        let _ = write!(function, "(i64.xor (local.get $n{number}))");
    }
    function + ")"
}

const MIB: u64 = 1 << 20;
/// Least size of linear memory and of files in a checkpoint.
const MEMORY: u64 = 31 * MIB;
const DISK: u64 = 60 * MIB;

/// All modules, the most telling first.
pub(super) fn all() -> Vec<Hostile> {
    let mut modules = files();
    modules.extend(names());
    modules.extend(others());
    modules
}

/// Modules that fill files.
fn files() -> Vec<Hostile> {
    let one_file = "(local.set $a (call $file (i32.const 1)))";
    vec![
        saved("all of memory and all of the disk", MEMORY + DISK, "", &format!("{one_file} (call $all_disk (local.get $a))")),
        saved(
            // Keeps one byte of each piece, so that no whole piece fits into the gaps.
            "splinters of files",
            MEMORY + DISK - 4 * MIB,
            "",
            &format!(
                "{} (call $rest_of_disk (call $file (i32.const 9999)))",
                &times(
                    "$j",
                    8,
                    &format!(
                        "{} {}",
                        times(
                            "$i",
                            890,
                            "(local.set $a (call $file (i32.add (i32.mul (local.get $j) (i32.const 1000)) (local.get $i))))
                        (call $must (i32.eqz (call $put (local.get $a) (i32.const 65536) (i64.const 0))) (i32.const 1))
                        (call $must (i32.eqz (call $close (local.get $a))) (i32.const 2))"
                        ),
                        times(
                            "$i",
                            890,
                            "(local.set $a (call $file (i32.add (i32.mul (local.get $j) (i32.const 1000)) (local.get $i))))
                        (call $must (i32.eqz (call $set_size (local.get $a) (i64.const 1))) (i32.const 3))
                        (call $must (i32.eqz (call $close (local.get $a))) (i32.const 4))"
                        )
                    ),
                )
            ),
        ),
        hostile(
            "a large file with many names",
            start(
                "",
                &format!(
                    "{one_file} (call $must (i32.eqz (call $put (local.get $a) (i32.const 33488896) (i64.const 0))) (i32.const 1))
                    (call $must (i32.eqz (call $put (local.get $a) (i32.const 26000000) (i64.const 33488896))) (i32.const 2))
                    (memory.copy (i32.const 500) (i32.const 300) (i32.const 8)) {}",
                    times(
                        "$i",
                        1000,
                        "(call $name (i32.add (local.get $i) (i32.const 2)))
                        (call $must (i32.eqz (call $link (i32.const 3) (i32.const 0) (i32.const 500) (i32.const 8) (i32.const 3) (i32.const 300) (i32.const 8)))
                            (i32.const 3))"
                    )
                ),
            ),
        ),
        saved(
            "files that are full, cut off and full again",
            MEMORY + DISK,
            "",
            &format!(
                "{one_file} {}",
                times(
                    "$i",
                    10,
                    "(call $must (i32.eqz (call $set_size (local.get $a) (i64.const 0))) (i32.const 1))
                    (call $must (i32.eqz (call $set_size (local.get $a) (i64.const 60000000))) (i32.const 2))
                    (call $all_disk (local.get $a))"
                )
            ),
        ),
        saved(
            "files with holes",
            MEMORY,
            "",
            &times(
                "$i",
                60,
                "(local.set $a (call $file (local.get $i)))
                (call $must (i32.eqz (call $set_size (local.get $a) (i64.const 1000000))) (i32.const 1))
                (call $must (i32.eqz (call $put (local.get $a) (i32.const 1) (i64.const 1000000))) (i32.const 2))
                (call $must (i32.eqz (call $close (local.get $a))) (i32.const 3))",
            ),
        ),
        saved(
            "writing far behind the end",
            MEMORY,
            "",
            &format!(
                "{one_file} {}",
                times(
                    "$i",
                    300,
                    "(call $must (i32.eq (call $put (local.get $a) (i32.const 1) (i64.const 0x10000000000)) (i32.const 51)) (i32.const 1))
                    (call $must (i32.ne (call $put (local.get $a) (i32.const 9) (i64.const 0xfffffffffffffff8)) (i32.const 0)) (i32.const 2))
                    (call $must (i32.eqz (call $put (local.get $a) (i32.const 1) (i64.const 66000000))) (i32.const 3))
                    (call $must (i32.eqz (call $set_size (local.get $a) (i64.const 0))) (i32.const 4))"
                )
            ),
        ),
        saved(
            "as many open files as can be",
            MEMORY + DISK - 4 * MIB,
            "",
            &format!(
                "{} (call $must (i32.eq (call $long (i32.const 1)) (i32.const 33)) (i32.const 2))",
                times("$i", 1020, "(call $must (i32.eqz (call $put (call $file (local.get $i)) (i32.const 61000) (i64.const 0))) (i32.const 1))")
            ),
        ),
        saved(
            "files removed while they are open",
            MEMORY + DISK - 4 * MIB,
            "",
            &times(
                "$j",
                5,
                &format!(
                    "{} (call $must (i32.eq (call $put (call $file (i32.const 99)) (i32.const 9000000) (i64.const 0)) (i32.const 0)) (i32.const 3))
                    (call $must (i32.eq (call $put (i32.const 66) (i32.const 1) (i64.const 9000000)) (i32.const 51)) (i32.const 4))
                    (if (i32.lt_u (local.get $j) (i32.const 4)) (then {}))",
                    times(
                        "$i",
                        62,
                        "(local.set $a (call $file (local.get $i)))
                        (call $must (i32.eqz (call $put (local.get $a) (i32.const 1000000) (i64.const 0))) (i32.const 1))
                        (call $must (i32.eqz (call $unlink (i32.const 3) (i32.const 300) (i32.const 8))) (i32.const 2))"
                    ),
                    times(
                        "$i",
                        63,
                        "(call $must (i32.eqz (call $set_size (i32.add (local.get $i) (i32.const 4)) (i64.const 0))) (i32.const 5))
                        (call $must (i32.eqz (call $close (i32.add (local.get $i) (i32.const 4)))) (i32.const 6))"
                    )
                ),
            ),
        ),
        Hostile {
            segments: Some(Segments::of(20_000_000, true)),
            ..saved(
                "checkpoints in a row while everything changes",
                MEMORY + DISK,
                "(func $little (local $times i32)
                    (loop $more (br_if $more (i32.lt_u (local.tee $times (i32.add (local.get $times) (i32.const 1))) (i32.const 2000000)))))",
                &format!(
                    "{one_file} {}",
                    times(
                        "$i",
                        8,
                        "(call $all_disk (local.get $a)) (call $little)
                        (call $must (i32.eqz (call $random (i32.const 65536) (i32.const 33488896))) (i32.const 1))"
                    )
                ),
            )
        },
    ]
}

/// Modules with many names, folders and links.
fn names() -> Vec<Hostile> {
    let many = |count, at_most: u32, body: &str| {
        format!(
            "(block $full (loop $more {body} (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $more (i32.lt_u (local.get $i) (i32.const {at_most})))))
            (call $must (i32.ge_u (local.get $i) (i32.const {count})) (i32.const 1))"
        )
    };
    vec![
        saved(
            "as many long names as can be, and a full disk",
            MEMORY + DISK - 28 * MIB,
            "",
            &format!(
                "{one_file} {} (call $rest_of_disk (local.get $a))",
                many(
                    99_990,
                    u32::MAX,
                    "(br_if $full (call $long (local.get $i))) (call $must (i32.eqz (call $close (i32.load (i32.const 200)))) (i32.const 2))"
                ),
                one_file = "(local.set $a (call $file (i32.const 1)))"
            ),
        ),
        saved(
            "links that say much",
            MEMORY,
            "",
            &format!(
                "(memory.fill (i32.const 2048) (i32.const 97) (i32.const 4096)) {} {}",
                times("$j", 31, "(i32.store8 (i32.add (i32.const 2175) (i32.mul (local.get $j) (i32.const 128))) (i32.const 47))"),
                many(
                    10_000,
                    u32::MAX,
                    "(call $name (local.get $i)) (br_if $full (call $symlink (i32.const 2048) (i32.const 4096) (i32.const 3) (i32.const 300) (i32.const 8)))"
                )
            ),
        ),
        saved(
            "as many folders as can be",
            MEMORY,
            "",
            &many(99_990, u32::MAX, "(call $name (local.get $i)) (br_if $full (call $mkdir (i32.const 3) (i32.const 300) (i32.const 8)))"),
        ),
        saved(
            // Each folder holds a file, whose whole path is part of the result.
            "folders in folders",
            MEMORY,
            "",
            &format!(
                "(local.set $a (i32.const 3)) {}",
                many(
                    100,
                    20_000,
                    "(call $name (local.get $i))
                    (br_if $full (call $mkdir (local.get $a) (i32.const 300) (i32.const 8)))
                    (drop (call $path_open (local.get $a) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1)
                        (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 200)))
                    (drop (call $close (i32.load (i32.const 200))))
                    (drop (call $path_open (local.get $a) (i32.const 0) (i32.const 300) (i32.const 8) (i32.const 2)
                        (i64.const 0) (i64.const 66) (i32.const 0) (i32.const 200)))
                    (if (i32.ne (local.get $a) (i32.const 3)) (then (drop (call $close (local.get $a)))))
                    (local.set $a (i32.load (i32.const 200)))"
                )
            ),
        ),
        saved(
            "names that come and go",
            MEMORY,
            "",
            &format!(
                "(call $must (i32.eqz (call $mkdir (i32.const 3) (i32.const 5) (i32.const 1))) (i32.const 1))
                (local.set $a (call $open (i32.const 3) (i32.const 5) (i32.const 2)))
                {} {}",
                times("$i", 20_000, "(call $must (i32.eqz (call $close (call $file (local.get $i)))) (i32.const 2))"),
                times(
                    "$j",
                    8,
                    &times(
                        "$i",
                        20_000,
                        "(call $name (local.get $i))
                        (call $must (i32.eqz (call $rename (i32.const 3) (i32.const 300) (i32.const 8) (local.get $a) (i32.const 300) (i32.const 8))) (i32.const 3))
                        (call $must (i32.eqz (call $rename (local.get $a) (i32.const 300) (i32.const 8) (i32.const 3) (i32.const 300) (i32.const 8))) (i32.const 4))"
                    )
                )
            ),
        ),
        saved(
            "lists of names in all of memory",
            MEMORY / 2,
            "",
            &format!(
                "{} {}",
                times("$i", 50_000, "(call $must (i32.eqz (call $long (local.get $i))) (i32.const 1)) (drop (call $close (i32.load (i32.const 200))))"),
                times(
                    "$j",
                    10,
                    "(call $must (i32.eqz (call $readdir (i32.const 3) (i32.const 65536) (i32.const 33488896) (i64.const 0) (i32.const 408))) (i32.const 2))
                    (call $must (i32.gt_u (i32.load (i32.const 408)) (i32.const 13000000)) (i32.const 3))"
                )
            ),
        ),
    ]
}

/// Modules that use memory other than files.
fn others() -> Vec<Hostile> {
    vec![
        saved("frames that are deep", MEMORY + 700_000, &keeping(40), "(drop (call $keep (i32.const 2200) (i32.const 0)))"),
        saved("frames that are wide", MEMORY + 700_000, &keeping(2_000), "(drop (call $keep (i32.const 55) (i32.const 0)))"),
        saved(
            "tables at their limit",
            MEMORY,
            "",
            "(call $must (i32.eq (table.grow $table (ref.func $nothing) (i32.const 99996)) (i32.const 4)) (i32.const 1))
            (call $must (i32.eq (table.grow $table (ref.func $nothing) (i32.const 1)) (i32.const -1)) (i32.const 2))",
        ),
        saved(
            "randomness in all of memory",
            MEMORY,
            "",
            &format!(
                "{} (call $must (i32.eq (call $random (i32.const 65536) (i32.const 33488897)) (i32.const 21)) (i32.const 2))",
                times("$i", 10, "(call $must (i32.eqz (call $random (i32.const 65536) (i32.const 33488896))) (i32.const 1))")
            ),
        ),
        saved(
            "much output, on both streams",
            MEMORY,
            "",
            &format!(
                "(i32.store (i32.const 400) (i32.const 65536)) (i32.store (i32.const 404) (i32.const 33488896)) {}",
                times(
                    "$i",
                    5,
                    "(call $must (i32.eqz (call $write (i32.const 1) (i32.const 400) (i32.const 1) (i32.const 408))) (i32.const 1))
                    (call $must (i32.eqz (call $write (i32.const 2) (i32.const 400) (i32.const 1) (i32.const 408))) (i32.const 2))"
                )
            ),
        ),
        Hostile {
            arguments: 100,
            ..saved(
                "long arguments and variables",
                MEMORY / 2,
                "",
                &times(
                    "$i",
                    100,
                    "(call $must (i32.eqz (call $args_sizes (i32.const 500) (i32.const 504))) (i32.const 1))
                    (call $must (i32.gt_u (i32.load (i32.const 504)) (i32.const 1600000)) (i32.const 2))
                    (call $must (i32.eqz (call $args (i32.const 1024) (i32.const 70000))) (i32.const 3))
                    (call $must (i32.eqz (call $env (i32.const 1024) (i32.const 4000000))) (i32.const 4))",
                ),
            )
        },
        Hostile {
            outcome: Outcome::Limit(LimitKind::Stack),
            ..hostile("recursion without an end", start("(func $deep (call $deep) (call $deep))", "(call $deep)"))
        },
    ]
}
