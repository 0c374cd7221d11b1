//! A data folder that disappears or becomes full while an engine uses it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fog_tests::{Bench, wait_for};

const SOON: Duration = Duration::from_secs(60);
/// Exit code of an engine whose data folder is gone.
const STORAGE: i32 = 74;

const ENDLESS: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $l (br $l))))";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A daemon whose end is awaited.
struct Daemon(Child, PathBuf);

impl Daemon {
    fn start(bench: &Bench, name: &str) -> Self {
        let log = bench.scratch().join(name);
        let child = bench
            .command(&["daemon"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let daemon = Self(child, log);
        wait_for("an engine that answers", SOON, || bench.json(&["status"]).ok())
            .unwrap_or_else(|error| panic!("{error}: {}", daemon.log()));
        daemon
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.1).unwrap()
    }

    fn ended(&mut self) -> Option<i32> {
        wait_for("the end of an engine", SOON, || self.0.try_wait().unwrap())
            .unwrap_or_else(|error| panic!("{error}: {}", self.log()))
            .code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a daemon with a job that has taken a checkpoint.
fn at_work(bench: &Bench) -> Daemon {
    let daemon = Daemon::start(bench, "first.log");
    bench.work_always().unwrap();
    assert!(bench.fog(&["settings", "set", "checkpoint_every=1"]).unwrap().status.success());
    let module = bench.module("endless.wasm", ENDLESS).unwrap();
    bench.json(&["submit", &module.to_string_lossy()]).unwrap();
    wait_for("a checkpoint", SOON, || bench.data().join("checkpoints/1-0.fog").exists().then_some(()))
        .unwrap_or_else(|e| panic!("{e}: {}", daemon.log()));
    daemon
}

#[test]
fn an_engine_whose_folder_is_deleted_ends_and_makes_none() {
    let bench = Bench::new().unwrap();
    let mut daemon = at_work(&bench);
    // The folder cannot be removed while the engine creates files in it.
    wait_for("the folder to be gone", SOON, || std::fs::remove_dir_all(bench.data()).is_ok().then_some(()))
        .unwrap();
    assert_eq!(daemon.ended(), Some(STORAGE), "{}", daemon.log());
    assert!(daemon.log().contains("no longer what this engine opened"), "{}", daemon.log());
    assert!(!bench.data().exists());
}

#[test]
fn a_moved_folder_keeps_its_work_and_the_next_engine_is_left_alone() {
    let bench = Bench::new().unwrap();
    let mut first = at_work(&bench);
    let moved = bench.scratch().join("moved");
    std::fs::rename(bench.data(), &moved).unwrap();
    let second = Daemon::start(&bench, "second.log");
    assert_eq!(first.ended(), Some(STORAGE), "{}", first.log());
    assert!(first.log().contains(moved.to_str().unwrap()), "it says where: {}", first.log());
    assert!(!bench.data().join("checkpoints/1-0.fog").exists(), "the folder of the second one");
    assert!(
        bench.json(&["settings", "set", "keep_awake=on"]).is_ok(),
        "the second one is reached: {}",
        second.log()
    );
    let status = bench
        .fog(&[
            "--data-dir",
            moved.to_str().unwrap(),
            "checkpoint",
            "inspect",
            moved.join("checkpoints/1-0.fog").to_str().unwrap(),
        ])
        .unwrap();
    assert!(status.status.success() || text(&status.stderr).contains("sealed"), "{}", text(&status.stderr));
    drop(second);
    // The finished work is there.
    let again = bench
        .command(&["--data-dir", moved.to_str().unwrap(), "daemon"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let again = Daemon(again, first.1.clone());
    let at = |args: &[&str]| bench.json(&[&["--data-dir", moved.to_str().unwrap()], args].concat()).ok();
    let saved = wait_for("the job that goes on", SOON, || at(&["status"])?["active"][0]["saved_ms"].as_i64())
        .unwrap();
    assert!(saved > 0);
    drop(again);
}

/// A small separate file system; only root can create one.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path) -> Option<Self> {
        std::fs::create_dir(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=300m,mode=700", "tmpfs"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn off_holds_at_once_on_a_full_disk_and_is_stored_later() {
    let bench = Bench::new().unwrap();
    let Some(_disk) = Small::mount(&bench.data()) else { return };
    let daemon = at_work(&bench);
    let filler = bench.data().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    // Free pages of the database still take a few changes.
    let refused = wait_for("a change that cannot be stored", SOON, || {
        for size in [1 << 20, 1 << 12, 1] {
            while std::io::Write::write_all(&mut file, &vec![1; size]).is_ok() {}
        }
        let set = bench.fog(&["settings", "set", "keep_awake=on"]).unwrap();
        assert!(set.status.success(), "{}", text(&set.stderr));
        text(&set.stderr).contains("could not be stored").then_some(())
    });
    refused.unwrap_or_else(|error| panic!("{error}: {}", daemon.log()));
    let off = bench.fog(&["off"]).unwrap();
    assert!(off.status.success(), "{} {}", text(&off.stderr), daemon.log());
    let paused = bench.fog(&["--json", "job", "pause", "1"]).unwrap();
    assert!(paused.status.success() && text(&paused.stdout).contains("paused"), "{}", text(&paused.stderr));
    let status = bench.json(&["status"]).unwrap();
    assert!(
        status["contributing"] == false
            && status["active"].as_array().unwrap().is_empty()
            && status["unstored"] != "",
        "{status}"
    );
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    wait_for("what was asked for to be stored", SOON, || {
        (bench.json(&["status"]).ok()?["unstored"] == "").then_some(())
    })
    .unwrap();
    drop(daemon);
    let _again = Daemon::start(&bench, "again.log");
    assert_eq!(bench.json(&["status"]).unwrap()["contributing"], false);
    assert_eq!(bench.json(&["job", "show", "1"]).unwrap()["summary"]["state"], "paused");
}
