//! Programs that start here and move at random points between compiled, interpreted and another processor:
//! the same result for the same units.
//!
//! `FOG_ARM64` is a `fog` for arm64, which the system must be able to run, for instance with qemu-user.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(unix)]

use std::process::{Command, Stdio};
use std::time::Duration;

use fog_tests::jobs::{FLOATS, example, identity};
use fog_tests::{Bench, is_full, wait_for};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A program with its arguments, for some seconds of work.
type Program = (&'static str, Vec<String>);

fn programs(bench: &Bench) -> Vec<Program> {
    let args = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let module = |name: &str, wat: &str| bench.module(name, wat).unwrap().to_string_lossy().into_owned();
    let search = std::path::PathBuf::from(example("protein-search")).parent().unwrap().to_owned();
    let many = bench.scratch().join("many.fasta");
    std::fs::write(&many, std::fs::read_to_string(search.join("database.fasta")).unwrap().repeat(400))
        .unwrap();
    let query = search.join("query.fasta");
    let inputs = format!(
        "--input q={} --input db={} -- --query /in/q --db /in/db --top 3",
        query.display(),
        many.display()
    );
    vec![
        ("lucas-lehmer", [vec![example("lucas-lehmer")], args("-- 13 300")].concat()),
        ("path-tracer", [vec![example("path-tracer")], args("--out picture -- 3 2 2 256 48")].concat()),
        ("protein-search", [vec![example("protein-search")], args(&inputs)].concat()),
        ("floats", vec![module("floats.wasm", FLOATS)]),
        ("references", vec![module("references.wasm", REFERENCES)]),
    ]
}

/// Changes its table, a global and a local with references, and drops unused ones.
const REFERENCES: &str = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1) (type $op (func (param i64) (result i64)))
    (table $t 4 40 funcref) (global $last (mut funcref) (ref.null func))
    (elem (table $t) (i32.const 0) func $add $turn $slow $add) (elem $more func $slow $turn $add) (data $text "Kilroy")
    (func $add (type $op) (i64.add (local.get 0) (i64.const 0x9e3779b97f4a7c15)))
    (func $turn (type $op) (i64.rotl (i64.xor (local.get 0) (i64.const 77)) (i64.const 13)))
    (func $slow (type $op) (local i32)
        (loop $l (local.set 0 (call $turn (local.get 0))) (br_if $l (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 1000))))
        (local.get 0))
    (func $hold (param $f funcref) (param $x i64) (result i64)
        (table.set $t (i32.const 3) (table.get $t (i32.const 2)))
        (local.set $x (call_indirect $t (type $op) (local.get $x) (i32.const 3)))
        (table.set $t (i32.const 2) (local.get $f))
        (local.get $x))
    (func (export "_start") (local $n i32) (local $x i64) (local $at i32)
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 16))
        (memory.init $text (i32.const 72) (i32.const 0) (i32.const 6)) (data.drop $text)
        (drop (table.grow $t (ref.func $slow) (i32.const 3)))
        (table.init $t $more (i32.const 4) (i32.const 0) (i32.const 3)) (elem.drop $more)
        (loop $l
            (local.set $at (i32.rem_u (local.get $n) (i32.const 7)))
            (global.set $last (table.get $t (local.get $at)))
            (local.set $x (call $hold (global.get $last) (call_indirect $t (type $op) (local.get $x) (local.get $at))))
            (table.set $t (local.get $at) (table.get $t (i32.rem_u (i32.add (local.get $at) (i32.wrap_i64 (i64.and (local.get $x) (i64.const 3)))) (i32.const 7))))
            (i64.store (i32.const 64) (local.get $x))
            (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 3000000))))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// Place and engine of one leg, and its share of the whole run in thousandths.
struct Leg {
    arm: bool,
    engine: &'static str,
    share: std::ops::Range<u64>,
}

fn leg(arm: bool, engine: &'static str, share: std::ops::Range<u64>) -> Leg {
    Leg { arm, engine, share }
}

/// Moves each program over all legs, then runs it to its end here.
fn moved(legs: &[Leg]) {
    let bench = Bench::new().unwrap();
    let file = bench.scratch().join("moving.fog").to_string_lossy().into_owned();
    let mut random = StdRng::seed_from_u64(11);
    for (name, args) in programs(&bench) {
        let texts: Vec<&str> = ["--json", "run"].into_iter().chain(args.iter().map(String::as_str)).collect();
        let plain = identity(&bench.fog(&texts).unwrap());
        let (mut run, mut until, mut points) = (
            [vec!["--checkpoint".to_owned(), file.clone(), "--every".to_owned(), "0.1".to_owned()], args]
                .concat(),
            0,
            vec![],
        );
        for leg in legs {
            until += plain.1 * random.random_range(leg.share.clone()) / 1000;
            let mut command = bench.command(&[]);
            if leg.arm {
                command = Command::new(std::env::var_os("FOG_ARM64").unwrap());
                command.env("FOG_DATA_DIR", bench.scratch().join("arm")).current_dir(bench.scratch());
            }
            let mut child = command
                .args(["run", "--engine", leg.engine])
                .args(&run)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            wait_for("the point", Duration::from_secs(240), || {
                if let Some(status) = child.try_wait().unwrap() {
                    panic!("{name} ended before its point: {status}");
                }
                bench.json(&["checkpoint", "inspect", &file]).ok()?["units"]
                    .as_u64()
                    .filter(|units| *units >= until)
            })
            .unwrap();
            assert!(
                Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success()
            );
            let output = child.wait_with_output().unwrap();
            assert_eq!(
                output.status.code(),
                Some(143),
                "{name}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            until = bench.json(&["checkpoint", "inspect", &file]).unwrap()["units"].as_u64().unwrap();
            points.push(format!("{:.1} %", until as f64 * 100.0 / plain.1 as f64));
            run = ["--from", &file, "--checkpoint", &file, "--every", "0.1"].map(str::to_owned).to_vec();
        }
        assert_eq!(identity(&bench.fog(&["--json", "run", "--from", &file]).unwrap()), plain, "{name}");
        std::fs::remove_file(&file).unwrap();
        println!("{name}: moved at {}", points.join(", "));
    }
}

#[test]
fn programs_move_between_engines() {
    moved(&[
        leg(false, "compiled", 100..300),
        leg(false, "interpreted", 5..25),
        leg(false, "compiled", 100..300),
    ]);
}

#[test]
fn programs_move_to_another_processor_and_back() {
    if std::env::var_os("FOG_ARM64").is_none() {
        assert!(!is_full(), "FOG_ARM64 is not set");
        println!("skipped: no arm64 build");
        return;
    }
    moved(&[
        leg(false, "compiled", 100..600),
        leg(true, "compiled", 1..20),
        leg(false, "interpreted", 1..20),
        leg(true, "interpreted", 1..3),
        leg(true, "compiled", 1..20),
    ]);
}
