//! Battery, charger, heat and fan from the kernel's files to a task that stands still.
//!
//! This machine has no such hardware, so the daemon runs in a mount namespace of its own whose
//! `/sys/class` is a folder of the test, laid out as the kernel documents it. Everything above the
//! files is the real thing. Linux, and allowed to make a mount namespace.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fog_tests::{Bench, fog_binary, wait_for};

/// A daemon that is killed with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file of sysfs.
fn put(class: &Path, file: &str, text: &str) {
    let path = class.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("{text}\n")).unwrap();
}

/// A laptop on its charger, cool and quiet.
fn laptop(class: &Path) {
    let battery = [
        ("type", "Battery"),
        ("scope", "System"),
        ("present", "1"),
        ("status", "Charging"),
        ("capacity", "90"),
        ("energy_full", "50000000"),
        ("energy_full_design", "57000000"),
        ("energy_now", "45000000"),
        ("power_now", "9000000"),
        ("voltage_now", "12000000"),
        ("temp", "300"),
        ("technology", "Li-ion"),
    ];
    for (name, value) in battery {
        put(class, &format!("power_supply/BAT0/{name}"), value);
    }
    put(class, "power_supply/AC/type", "Mains");
    put(class, "power_supply/AC/online", "1");
    put(class, "hwmon/hwmon0/name", "coretemp");
    put(class, "hwmon/hwmon0/temp1_label", "Package id 0");
    put(class, "hwmon/hwmon0/temp1_input", "45000");
    put(class, "hwmon/hwmon0/fan1_input", "1200");
}

#[test]
fn unplugging_and_heat_stop_a_task() {
    let allowed = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !allowed {
        assert!(!fog_tests::is_full(), "no mount namespace may be made here, so the sensors cannot be tried");
        println!("skipped: no mount namespace may be made here");
        return;
    }
    let bench = Bench::new().unwrap();
    let class = bench.scratch().join("class");
    laptop(&class);
    let script = format!("mount --bind '{}' /sys/class && exec '{}' daemon", class.display(), fog_binary().display());
    let mut daemon = bench.command(&[]);
    let environment: Vec<_> = daemon.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    daemon = Command::new("unshare");
    daemon.args(["-m", "sh", "-c", &script]).envs(environment).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    let _daemon = Daemon(daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for("the daemon", Duration::from_secs(20), || bench.json(&["status"]).ok()).unwrap();

    let settings =
        ["contributing=on", "run_while_in_use=on", "duty_in_use=100", "unknown_idle=allow", "other_cpu_stop=100", "disk_free_min=0.1", "ram_available_min=64"];
    assert!(bench.fog(&[&["settings", "set"], settings.as_slice()].concat()).unwrap().status.success());
    let module = bench.module("loop.wasm", "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $l (br $l))))").unwrap();
    bench.json(&["submit", &module.to_string_lossy()]).unwrap();
    let task = || bench.json(&["status"]).ok().map(|status| status["active"][0].clone());
    wait_for("work on the charger", Duration::from_secs(60), || task().filter(|task| task["units"].as_u64() > Some(0) && task["frozen"] == false)).unwrap();
    let doctor = bench.json(&["doctor"]).unwrap().to_string();
    for seen in ["90 %", "45 °C"] {
        assert!(doctor.contains(seen), "{seen}: {doctor}");
    }

    put(&class, "power_supply/AC/online", "0");
    put(&class, "power_supply/BAT0/status", "Discharging");
    let unplugged = Instant::now();
    wait_for("a pause", Duration::from_secs(10), || task().filter(|task| task["frozen"] == true)).unwrap();
    let took = unplugged.elapsed();
    println!("unplugged to standing still, with this test's own look at it: {} ms", took.as_millis());
    // Twice the requirement of 2 s: machines that run tests are loaded.
    assert!(took < Duration::from_secs(4), "{took:?}");

    let rules = || {
        // The exit code of `why` is that the device may not work.
        let why: serde_json::Value = serde_json::from_slice(&bench.fog(&["--json", "why"]).unwrap().stdout).unwrap();
        why["verdict"]["reasons"].as_array().unwrap().iter().map(|reason| reason["rule"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(rules().contains(&"on-battery".to_owned()), "{:?}", rules());
    put(&class, "hwmon/hwmon0/temp1_input", "99000");
    wait_for("heat", Duration::from_secs(10), || rules().contains(&"cpu-temp".to_owned()).then_some(())).unwrap();
    put(&class, "power_supply/BAT0/temp", "520");
    wait_for("a warm battery", Duration::from_secs(10), || rules().contains(&"battery-temp".to_owned()).then_some(())).unwrap();

    // A controller that stutters: nothing is concluded from what cannot be.
    put(&class, "power_supply/BAT0/temp", "32767");
    put(&class, "hwmon/hwmon0/temp1_input", "-273000");
    let rejected = || bench.json(&["doctor"]).unwrap().to_string().contains("0 rejected");
    wait_for("a rejection", Duration::from_secs(10), || (!rejected()).then_some(())).unwrap();
    assert!(rules().contains(&"battery-temp".to_owned()));
}
