//! Memory that a checkpoint takes beside that of the task; alone in its process, so that nothing else is
//! measured.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fog_runtime::{Control, EngineKind, Observer, Order, Outcome, Taken, TaskSpec, compile, run};
use fog_types::{ByteCount, Limits, Percent};

struct Silent;

impl Observer for Silent {
    fn output(&mut self, _stderr: bool, _bytes: &[u8]) {}

    fn progress(&mut self, _permille: u16) {}
}

/// Bytes that the kernel reports for this process.
fn said(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Control that saves twice after all files are written, and records the additional memory of each save.
struct Measuring {
    points: u32,
    before: u64,
    taken: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Control for Measuring {
    fn safe_point(&mut self, worked: Duration, _units: u64) -> Order {
        self.points += u32::from(worked > Duration::ZERO);
        if self.points < 3 || self.taken.lock().unwrap().len() == 2 {
            return Order::Go;
        }
        // The peak is counted from here.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        self.before = said("VmRSS");
        Order::Save { whole: self.taken.lock().unwrap().is_empty() }
    }

    fn save(&mut self, taken: Result<Taken<'_>, String>) {
        let mut bytes = 0;
        taken.unwrap().write(Counting(&mut bytes)).unwrap();
        self.taken.lock().unwrap().push((said("VmHWM").saturating_sub(self.before), bytes));
    }
}

struct Counting<'a>(&'a mut u64);

impl std::io::Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        *self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_checkpoint_takes_little_beside_the_files() {
    const FILES: u64 = 3;
    const FILE: u64 = 64 << 20;
    // Three files of 64 MiB, written 1 MiB at a time, then work for several slices.
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 20) (data (i32.const 0) "abc")
        (func (export "_start") (local $file i32) (local $times i32) (local $n i64)
            (memory.fill (i32.const 65536) (i32.const 0xa5) (i32.const 1048576))
            (i32.store (i32.const 100) (i32.const 65536)) (i32.store (i32.const 104) (i32.const 1048576))
            (loop $files
                (if (call $open (i32.const 3) (i32.const 0) (local.get $file) (i32.const 1) (i32.const 1) (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 200))
                    (then (call $exit (i32.const 1))))
                (local.set $times (i32.const 64))
                (loop $more
                    (if (call $write (i32.load (i32.const 200)) (i32.const 100) (i32.const 1) (i32.const 108)) (then (call $exit (i32.const 2))))
                    (br_if $more (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
                (br_if $files (i32.lt_u (local.tee $file (i32.add (local.get $file) (i32.const 1))) (i32.const 3))))
            (loop $work (br_if $work (i64.lt_u (local.tee $n (i64.add (local.get $n) (i64.const 1))) (i64.const 20000000))))))"#;
    let folder = tempfile::tempdir().unwrap();
    let artifact = folder.path().join("module.cwasm");
    std::fs::write(&artifact, compile(&wat::parse_str(wat).unwrap(), EngineKind::Compiled).unwrap()).unwrap();
    let spec = TaskSpec {
        artifact,
        engine: EngineKind::Compiled,
        program: "test".to_owned(),
        args: vec![],
        env: vec![],
        stdin: None,
        inputs: vec![],
        limits: Limits { disk: ByteCount(FILES * FILE + (1 << 20)), ..Limits::default() },
        seed: 0,
        duty: Percent::FULL,
        segments: None,
    };
    let taken = Arc::new(Mutex::new(Vec::new()));
    let control = Measuring { points: 0, before: 0, taken: Arc::clone(&taken) };
    let (report, _) = run(&spec, None, Box::new(Silent), Box::new(control), || {}).unwrap();
    assert_eq!(report.outcome, Outcome::Exited(0));
    assert!(report.disk.0 >= FILES * FILE);
    let taken = taken.lock().unwrap();
    let [(whole, bytes), (added, added_bytes)] = taken[..] else { panic!("saved {} times", taken.len()) };
    assert!(bytes > FILES * FILE / 300 && added_bytes < bytes / 10, "{bytes} and {added_bytes} bytes");
    println!(
        "{} MiB of files; beside them {} KiB for a whole checkpoint and {} KiB for the next",
        (FILES * FILE) >> 20,
        whole >> 10,
        added >> 10
    );
    // Page hashes (16 bytes per 4,096) and small buffers, but no copy of any file.
    const MOST: u64 = 8 << 20;
    assert!(
        whole < MOST && added < MOST,
        "beside {} MiB of files {} and {} MiB more",
        (FILES * FILE) >> 20,
        whole >> 20,
        added >> 20
    );
}
