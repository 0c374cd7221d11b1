//! Programs that are stopped and continued give the same results as uninterrupted ones: random operations
//! over files and memory, continued at every possible place, from whole snapshots and from series of them,
//! compiled and interpreted.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fog_types::Percent;

use super::*;
use crate::compile::{EngineKind, compile};
use crate::task::Mount;

/// Operation of `guest.wat`.
type Operation = (u8, u8, u16, u32);

const OPEN: u8 = 0;
const WRITE: u8 = 1;
const SET_SIZE: u8 = 3;
const UNLINK: u8 = 5;
const CLOSE: u8 = 4;
const BURN: u8 = 16;
const OPERATIONS: u8 = 24;
const CREATE: u16 = 1;

#[derive(Clone, Default)]
struct Logs(Arc<Mutex<[Vec<u8>; 2]>>);

impl Observer for Logs {
    fn output(&mut self, stderr: bool, bytes: &[u8]) {
        self.0.lock().unwrap()[usize::from(stderr)].extend_from_slice(bytes);
    }

    fn progress(&mut self, _permille: u16) {}
}

/// Control that never stops a task.
struct Free;

impl Control for Free {
    fn safe_point(&mut self, _worked: Duration, _units: u64) -> Order {
        Order::Go
    }

    fn save(&mut self, taken: Result<Taken<'_>, String>) {
        drop(taken.unwrap());
    }
}

/// Control that saves at every `every`th safe point, compares each snapshot with the task's real state, and
/// abandons the task after `hops` of them.
struct Stopping {
    every: u32,
    hops: u32,
    points: u32,
    is_saved: bool,
    row: Arc<Mutex<Option<Snapshot>>>,
}

impl Control for Stopping {
    fn safe_point(&mut self, _worked: Duration, _units: u64) -> Order {
        if std::mem::take(&mut self.is_saved) {
            return if self.hops == 0 { Order::Abandon } else { Order::Go };
        }
        self.points += 1;
        // Some snapshots are whole without need; few, because only a long series shows its faults.
        if self.points.is_multiple_of(self.every) {
            Order::Save { whole: self.points.is_multiple_of(61) }
        } else {
            Order::Go
        }
    }

    fn save(&mut self, taken: Result<Taken<'_>, String>) {
        let taken = taken.unwrap();
        let mut bytes = Vec::new();
        taken.write(&mut bytes).unwrap();
        let next = Snapshot::decode(&bytes).unwrap();
        let mut row = self.row.lock().unwrap();
        match &mut *row {
            Some(row) if !next.is_whole() => row.advance(next).unwrap(),
            row => *row = Some(next),
        }
        row.as_ref().unwrap().assert_is(&taken);
        self.is_saved = true;
        self.hops -= 1;
    }
}

/// Properties that must be the same in every run.
#[derive(Debug, PartialEq)]
struct Seen {
    outcome: Outcome,
    units: u64,
    memory: u64,
    disk: u64,
    logs: [Vec<u8>; 2],
    files: Vec<(String, blake3::Hash)>,
}

/// A module compiled for both engines.
struct Machine {
    folder: tempfile::TempDir,
    limits: Limits,
}

impl Machine {
    fn new(wat: &str, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let module = wat::parse_str(wat).unwrap();
        for kind in [EngineKind::Compiled, EngineKind::Interpreted] {
            std::fs::write(folder.path().join(kind.as_str()), compile(&module, kind).unwrap()).unwrap();
        }
        Self { folder, limits }
    }

    fn spec(&self, kind: EngineKind, stdin: Option<&Path>) -> TaskSpec {
        TaskSpec {
            artifact: self.folder.path().join(kind.as_str()),
            engine: kind,
            program: "guest".to_owned(),
            args: vec![],
            env: vec![],
            stdin: stdin.map(Path::to_owned),
            inputs: Vec::<Mount>::new(),
            limits: self.limits.clone(),
            seed: 7,
            duty: Percent::FULL,
            segments: None,
        }
    }

    fn input(&self, program: &[Operation]) -> PathBuf {
        let path = self.folder.path().join("program");
        let bytes: Vec<u8> = program
            .iter()
            .flat_map(|(op, a, b, c)| [&[*op, *a][..], &b.to_le_bytes(), &c.to_le_bytes()].concat())
            .collect();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn straight(&self, kind: EngineKind, slice: u64, stdin: Option<&Path>) -> Seen {
        let logs = Logs::default();
        let ran =
            run_sliced(&self.spec(kind, stdin), slice, None, Box::new(logs.clone()), Box::new(Free), || {});
        seen(ran.unwrap(), &logs)
    }

    /// Runs the task, abandoned after every `hops`th snapshot at every `every`th safe point and continued
    /// from there, on the other engine each time if `changes`.
    fn stopped(
        &self,
        mut kind: EngineKind,
        changes: bool,
        slice: u64,
        stdin: Option<&Path>,
        every: u32,
        hops: u32,
    ) -> (Seen, u32) {
        let (logs, mut snapshot, mut starts) = (Logs::default(), None, 0);
        loop {
            let row = Arc::new(Mutex::new(None));
            let control = Stopping { every, hops, points: 0, is_saved: false, row: Arc::clone(&row) };
            let ran = run_sliced(
                &self.spec(kind, stdin),
                slice,
                snapshot.take(),
                Box::new(logs.clone()),
                Box::new(control),
                || {},
            );
            starts += 1;
            match ran {
                Err(RunError::Abandoned) => {
                    let row = row.lock().unwrap().take().unwrap();
                    // Encoded and decoded as for another device.
                    snapshot = Some(Snapshot::decode(&row.settled().encode().unwrap()).unwrap());
                }
                ran => return (seen(ran.unwrap(), &logs), starts),
            }
            if changes {
                kind =
                    if kind == EngineKind::Compiled { EngineKind::Interpreted } else { EngineKind::Compiled };
            }
        }
    }
}

fn seen((report, files): (Report, Vec<OutputFile>), logs: &Logs) -> Seen {
    Seen {
        outcome: report.outcome,
        units: report.units.0,
        memory: report.memory.0,
        disk: report.disk.0,
        logs: logs.0.lock().unwrap().clone(),
        files: files.into_iter().map(|file| (file.path, blake3::hash(&file.content.bytes()))).collect(),
    }
}

fn guest() -> Machine {
    let limits = Limits {
        memory: ByteCount(11 << 16),
        disk: ByteCount(600_000),
        log: ByteCount(60),
        table_elements: 40,
        ..Limits::default()
    };
    Machine::new(include_str!("tests/guest.wat"), limits)
}

/// Small random generator with a fixed algorithm, so that a seed always gives the same program.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % u64::from(below)) as u32
    }

    fn program(&mut self) -> Vec<Operation> {
        let length = 4 + self.roll(40);
        (0..length).map(|_| self.operation()).collect()
    }

    fn operation(&mut self) -> Operation {
        let name = self.roll(12) as u8;
        // Few descriptors, so that they are reused.
        let slot = self.roll(4) as u8;
        match self.roll(16) {
            0..=3 => (
                OPEN,
                name,
                [CREATE, CREATE, 9, 8, 2, 2, 0, 5][self.roll(8) as usize],
                self.roll(4) | self.roll(2) << 8,
            ),
            4 | 5 => (
                WRITE,
                slot,
                [self.roll(200), self.roll(9000), self.roll(60_000)][self.roll(3) as usize] as u16,
                self.roll(256),
            ),
            // Lengths that repeat, with only zeros behind them.
            6 => (
                SET_SIZE,
                slot,
                0,
                [0, self.roll(0x20000), 4096 * self.roll(20), 65_536][self.roll(4) as usize],
            ),
            7 => (UNLINK, name, 0, 0),
            8 => (BURN, 0, self.roll(60) as u16, self.roll(u32::MAX)),
            _ => {
                let operation = self.roll(u32::from(OPERATIONS)) as u8;
                let a = if (6..9).contains(&operation) { name } else { self.roll(16) as u8 };
                let a = if matches!(operation, 9 | 13 | 17 | 19 | 21 | 22) { slot } else { a };
                (
                    operation,
                    a,
                    self.roll(if operation == BURN { 60 } else { 0x10000 }) as u16,
                    self.roll(u32::MAX),
                )
            }
        }
    }
}

/// Runs some hundred programs; some thousand with `FOG_TEST_FULL=1`.
#[test]
fn random_programs_end_the_same_however_they_are_continued() {
    let is_full = std::env::var_os("FOG_TEST_FULL").is_some_and(|value| value == "1");
    let guest = guest();
    let mut starts = 0;
    for seed in 0..if is_full { 5_000 } else { 250 } {
        let mut dice = Dice(seed);
        let input = guest.input(&dice.program());
        let slice = [1, 1, 1, 150, 900][dice.roll(5) as usize];
        let plain = guest.straight(EngineKind::Compiled, slice, Some(&input));
        let (every, hops) =
            ([1, 1, 1, 2, 5][dice.roll(5) as usize], [1, 1, 2, 5, 20, 200][dice.roll(6) as usize]);
        let (kind, changes) =
            [(EngineKind::Compiled, false), (EngineKind::Compiled, true), (EngineKind::Interpreted, false)]
                [dice.roll(3) as usize];
        let (stopped, count) = guest.stopped(kind, changes, slice, Some(&input), every, hops);
        assert_eq!(
            stopped, plain,
            "seed {seed}, slices of {slice}, every {every}, hops {hops}, {kind:?}, changes: {changes}"
        );
        starts += count;
        if seed % 10 == 0 {
            assert_eq!(
                guest.straight(EngineKind::Interpreted, slice, Some(&input)),
                plain,
                "seed {seed}, interpreted"
            );
        }
    }
    assert!(starts > 1_000, "they are continued: {starts}");
}

/// Deleted bytes of a file do not reappear where a later file has zeros.
#[test]
fn bytes_that_were_deleted_stay_deleted() {
    let guest = guest();
    let burn = (BURN, 0, 1, 1);
    let cut = [
        (OPEN, 0, CREATE, 0),
        (WRITE, 0, 50_000, 0xaa),
        burn,
        (SET_SIZE, 0, 0, 0),
        burn,
        (SET_SIZE, 0, 0, 50_000),
        burn,
    ];
    let replaced = [
        (OPEN, 0, CREATE, 0),
        (WRITE, 0, 50_000, 0xaa),
        burn,
        (CLOSE, 0, 0, 0),
        (UNLINK, 0, 0, 0),
        burn,
        (OPEN, 1, CREATE, 0),
        (SET_SIZE, 0, 0, 40_000),
        burn,
        (SET_SIZE, 0, 0, 9_000),
        burn,
        (SET_SIZE, 0, 0, 60_000),
        burn,
    ];
    for program in [&cut[..], &replaced] {
        let input = guest.input(program);
        let plain = guest.straight(EngineKind::Compiled, 1, Some(&input));
        for hops in 1..30 {
            assert_eq!(
                guest.stopped(EngineKind::Compiled, false, 1, Some(&input), 1, hops).0,
                plain,
                "{hops} snapshots in a row"
            );
        }
    }
}

/// Module that recurses to `depth`, with frames of several sizes, and checks for a stop only at the bottom.
fn recursion(depth: u32, locals: &str) -> String {
    format!(
        "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
        (memory (export \"memory\") 1)
        (func $wait (local $i i32) (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 2000)))))
        (func $deep (param $n i32) (result i32) (local {locals})
            (if (i32.eqz (local.get $n)) (then (call $wait) (return (i32.const 0))))
            (i32.add (i32.const 1) (call $deep (i32.sub (local.get $n) (i32.const 1)))))
        (func (export \"_start\") (if (i32.ne (call $deep (i32.const {depth})) (i32.const {depth})) (then (call $exit (i32.const 1))))))"
    )
}

/// A recursion ends at the same depth on every engine, continued or not.
#[test]
fn the_stack_is_as_deep_for_a_continued_task() {
    for locals in ["", "i64", "v128 v128 v128 f64 i32 i32 i64 i64"] {
        // Frame base and parameter, operands, and locals.
        let frame =
            32 + 8 + 8 * 3 + [0, 8, 48 + 40][usize::from(locals.len() > 1) + usize::from(locals.len() > 4)];
        let most = (1 << 20) / frame;
        for (depth, fits) in [(most - 2, true), (most + 1, false), (40_000, false)] {
            let machine = Machine::new(&recursion(depth, locals), Limits::default());
            let plain = machine.straight(EngineKind::Compiled, 100_000, None);
            let wanted = if fits { Outcome::Exited(0) } else { Outcome::Limit(LimitKind::Stack) };
            assert_eq!(plain.outcome, wanted, "{depth} frames of {frame} bytes");
            assert_eq!(
                machine.straight(EngineKind::Interpreted, 100_000, None),
                plain,
                "{depth} frames of {frame} bytes"
            );
            for (kind, changes) in [(EngineKind::Compiled, false), (EngineKind::Interpreted, true)] {
                let (stopped, starts) = machine.stopped(kind, changes, 100_000, None, 1, 1);
                assert_eq!(stopped, plain, "{depth} frames of {frame} bytes, continued");
                assert!(starts > 1);
            }
        }
    }
}

/// Module with a few loop turns, long work without a safe point, and the given end.
fn straight_on(work: &str, end: &str) -> String {
    format!(
        "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
        (import \"wasi_snapshot_preview1\" \"random_get\" (func $random (param i32 i32) (result i32)))
        (memory (export \"memory\") 16)
        (func (export \"_start\") (local $i i32)
            (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 60))))
            {}
            {end}))",
        work.repeat(20)
    )
}

/// A task that used more units than its limit has reached the limit, whether or not a check saw it in time.
#[test]
fn the_limit_of_units_holds_behind_the_last_safe_point() {
    let works = [
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const 500000))",
        "(drop (call $random (i32.const 0) (i32.const 5000)))",
    ];
    let ends = [("", Some(0)), ("(call $exit (i32.const 3))", Some(3)), ("unreachable", None)];
    for (work, (end, code)) in works.iter().flat_map(|work| ends.map(|end| (work, end))) {
        let wat = straight_on(work, end);
        let free = Machine::new(&wat, Limits::default()).straight(EngineKind::Compiled, 100, None);
        match (&free.outcome, code) {
            (Outcome::Exited(found), Some(code)) => assert_eq!(*found, code),
            (outcome, code) => {
                assert!(matches!(outcome, Outcome::Trapped(_)) && code.is_none(), "{outcome:?}")
            }
        }
        for units in [free.units + 1, free.units, free.units - 1, free.units / 2, 5] {
            let machine = Machine::new(&wat, Limits { units: WorkUnits(units), ..Limits::default() });
            let plain = machine.straight(EngineKind::Compiled, 100, None);
            let (is_enough, found) = (units >= free.units, (plain.outcome.clone(), plain.units));
            let (limited, whole) =
                ((Outcome::Limit(LimitKind::Units), units), (free.outcome.clone(), free.units));
            // A trap is charged with the count that was stored before it, which may be lower than what was
            // used.
            let may_be_either = is_enough && code.is_none();
            assert!(
                found == if is_enough { whole } else { limited.clone() } || may_be_either && found == limited,
                "{units} of {}: {found:?}, {work} {end}",
                free.units
            );
            assert_eq!(
                machine.straight(EngineKind::Interpreted, 100, None),
                plain,
                "{units} units, {work} {end}, interpreted"
            );
            assert_eq!(
                machine.stopped(EngineKind::Compiled, true, 100, None, 1, 1).0,
                plain,
                "{units} units, {work} {end}, continued"
            );
        }
    }
}
