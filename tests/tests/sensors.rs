//! Battery, charger, heat and fan, from the kernel's files to a task that stands still.
//!
//! Test machines lack this hardware, so the daemon runs in a mount namespace whose `/sys/class` is a folder
//! of the test, laid out as the kernel documents it. Everything above the files is real. Needs Linux and
//! the right to create a mount namespace.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use fog_tests::bus::Managers;
use fog_tests::{Bench, Guarded, fog_binary, wait_for};

/// Writes a file of sysfs.
fn put(class: &Path, file: &str, text: &str) {
    let path = class.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("{text}\n")).unwrap();
}

/// Writes the files of a laptop on its charger, cool and quiet.
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
    let allowed = Command::new("unshare")
        .args(["-m", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !allowed {
        assert!(!fog_tests::is_full(), "no mount namespace may be made here, so the sensors cannot be tried");
        println!("skipped: no mount namespace may be made here");
        return;
    }
    let bench = Bench::new().unwrap();
    let class = bench.scratch().join("class");
    laptop(&class);
    let script =
        format!("mount --bind '{}' /sys/class && exec '{}' daemon", class.display(), fog_binary().display());
    let mut daemon = bench.command(&[]);
    let environment: Vec<_> =
        daemon.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    daemon = Command::new("unshare");
    daemon
        .args(["-m", "sh", "-c", &script])
        .envs(environment)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY");
    let _daemon =
        Guarded(daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for("the daemon", Duration::from_secs(20), || bench.json(&["status"]).ok()).unwrap();

    let settings = [
        "contributing=on",
        "run_while_in_use=on",
        "duty_in_use=100",
        "unknown_idle=allow",
        "other_cpu_stop=100",
        "disk_free_min=0.1",
        "ram_available_min=64",
    ];
    assert!(bench.fog(&[&["settings", "set"], settings.as_slice()].concat()).unwrap().status.success());
    let module = bench
        .module(
            "loop.wasm",
            "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $l (br $l))))",
        )
        .unwrap();
    bench.json(&["submit", &module.to_string_lossy()]).unwrap();
    let task = || bench.json(&["status"]).ok().map(|status| status["active"][0].clone());
    wait_for("work on the charger", Duration::from_secs(60), || {
        task().filter(|task| task["units"].as_u64() > Some(0) && task["frozen"] == false)
    })
    .unwrap();
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
    assert!(took < Duration::from_secs(2), "{took:?}");

    let rules = || {
        // `fog why` exits with an error when the device may not work.
        let why: serde_json::Value =
            serde_json::from_slice(&bench.fog(&["--json", "why"]).unwrap().stdout).unwrap();
        why["verdict"]["reasons"]
            .as_array()
            .unwrap()
            .iter()
            .map(|reason| reason["rule"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(rules().contains(&"on-battery".to_owned()), "{:?}", rules());
    assert!(bench.fog(&["settings", "set", "run_on_battery=on"]).unwrap().status.success());
    put(&class, "power_supply/AC/online", "0");
    put(&class, "power_supply/BAT0/status", "Charging");
    put(&class, "power_supply/pad/type", "Wireless");
    put(&class, "power_supply/pad/online", "1");
    assert!(bench.fog(&["settings", "set", "chargers=wired"]).unwrap().status.success());
    wait_for("a pad that does not count", Duration::from_secs(10), || {
        rules().contains(&"charger".to_owned()).then_some(())
    })
    .unwrap();
    let quiet = format!("week={}", "2".repeat(168));
    assert!(bench.fog(&["settings", "set", &quiet]).unwrap().status.success());
    put(&class, "hwmon/hwmon0/fan1_input", "3600");
    wait_for("a loud fan", Duration::from_secs(10), || rules().contains(&"fan".to_owned()).then_some(()))
        .unwrap();
    put(&class, "hwmon/hwmon0/temp1_input", "99000");
    wait_for("heat", Duration::from_secs(10), || rules().contains(&"cpu-temp".to_owned()).then_some(()))
        .unwrap();
    put(&class, "power_supply/BAT0/temp", "520");
    wait_for("a warm battery", Duration::from_secs(10), || {
        rules().contains(&"battery-temp".to_owned()).then_some(())
    })
    .unwrap();

    // A faulty controller: impossible readings are ignored.
    put(&class, "power_supply/BAT0/temp", "32767");
    put(&class, "hwmon/hwmon0/temp1_input", "-273000");
    let doctor_names =
        |sensor: &str| bench.json(&["doctor"]).unwrap().to_string().contains(sensor).then_some(());
    wait_for("the sensor being named", Duration::from_secs(10), || doctor_names("BAT0 says 3276.7 °C"))
        .unwrap();
    wait_for("the other as well", Duration::from_secs(10), || {
        doctor_names("coretemp Package id 0 (hwmon0) says -273 °C")
    })
    .unwrap();
    assert!(rules().contains(&"battery-temp".to_owned()));

    // One faulty sensor does not hide the others; without any chip the kernel's thermal zones are read.
    put(&class, "hwmon/hwmon0/temp2_label", "Core 0");
    put(&class, "hwmon/hwmon0/temp2_input", "97000");
    put(&class, "hwmon/hwmon0/temp1_input", "127500");
    wait_for("the believable one", Duration::from_secs(10), || doctor_names("97 °C")).unwrap();
    assert!(doctor_names("says 127.5 °C").is_some() && rules().contains(&"cpu-temp".to_owned()));
    std::fs::remove_dir_all(class.join("hwmon")).unwrap();
    put(&class, "thermal/thermal_zone0/type", "x86_pkg_temp");
    put(&class, "thermal/thermal_zone0/temp", "96000");
    wait_for("the zone", Duration::from_secs(10), || doctor_names("96 °C")).unwrap();

    // A battery that reports only its capacity is used, and is low.
    std::fs::remove_dir_all(class.join("power_supply")).unwrap();
    for (file, value) in
        [("BAT0/type", "Battery"), ("BAT0/capacity", "70"), ("AC/type", "Mains"), ("AC/online", "0")]
    {
        put(&class, &format!("power_supply/{file}"), value);
    }
    wait_for("the bare battery", Duration::from_secs(10), || doctor_names("70 %, running on it")).unwrap();
    assert!(bench.fog(&["settings", "set", "run_on_battery=off"]).unwrap().status.success());
    wait_for("the rule about it", Duration::from_secs(10), || {
        rules().contains(&"on-battery".to_owned()).then_some(())
    })
    .unwrap();
}

/// Starts a daemon in a Wayland session whose compositor reports no input.
fn daemon_beside(bench: &Bench, managers: &Managers) -> Guarded {
    let mut daemon = bench.command(&["daemon"]);
    daemon.env("DBUS_SYSTEM_BUS_ADDRESS", &managers.bus.address).env("WAYLAND_DISPLAY", "not-there");
    let daemon =
        Guarded(daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for("the daemon", Duration::from_secs(20), || bench.json(&["status"]).ok()).unwrap();
    daemon
}

fn rules_of(bench: &Bench) -> Vec<String> {
    // `fog why` exits with an error when the device may not work.
    let why: serde_json::Value =
        serde_json::from_slice(&bench.fog(&["--json", "why"]).unwrap().stdout).unwrap();
    why["verdict"]["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| reason["rule"].as_str().unwrap().to_owned())
        .collect()
}

/// Expects the login manager's idle hint to count as input, inhibitors of others to count but not the own
/// one, and the system to be kept awake exactly while a task runs.
#[test]
fn the_login_manager_tells_of_input_and_of_programs_that_keep_awake() {
    let (bench, managers) = (Bench::new().unwrap(), Managers::start().unwrap());
    let an_hour_ago = Some(SystemTime::now() - Duration::from_secs(3600));
    managers.say(|said| said.idle_since = None).unwrap();
    let daemon = daemon_beside(&bench, &managers);
    let settings = [
        "contributing=on",
        "idle_after=5",
        "hold=1",
        "other_cpu_stop=100",
        "disk_free_min=0.1",
        "ram_available_min=64",
        "keep_awake=on",
    ];
    assert!(bench.fog(&[&["settings", "set"], settings.as_slice()].concat()).unwrap().status.success());
    let rules = || rules_of(&bench);
    assert_eq!(rules(), ["in-use"]);
    managers.say(|said| said.idle_since = an_hour_ago).unwrap();
    let module = bench
        .module(
            "loop.wasm",
            "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $l (br $l))))",
        )
        .unwrap();
    bench.json(&["submit", &module.to_string_lossy()]).unwrap();
    let task = || bench.json(&["status"]).ok().map(|status| status["active"][0].clone());
    wait_for("work while nobody is there", Duration::from_secs(30), || {
        task().filter(|task| task["frozen"] == false && task["units"].as_u64() > Some(0))
    })
    .unwrap();
    let mut awake =
        wait_for("the hold on sleep", Duration::from_secs(10), || managers.take_hold("idle", "block"))
            .unwrap();

    let pid = daemon.0.id();
    managers.say(|said| said.inhibitors = vec![("idle".to_owned(), "block".to_owned(), pid)]).unwrap();
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(rules(), [""; 0], "our own hold is not another program");

    managers.say(|said| said.idle_since = None).unwrap();
    let touched = Instant::now();
    wait_for("a pause", Duration::from_secs(10), || task().filter(|task| task["frozen"] == true)).unwrap();
    println!(
        "end of the idle hint to standing still, with this test's own look at it: {} ms",
        touched.elapsed().as_millis()
    );
    assert_eq!(rules(), ["in-use"]);
    awake.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(awake.read(&mut [0]).unwrap(), 0, "no hold on sleep while nothing runs");

    managers.say(|said| said.inhibitors = vec![("sleep:idle".to_owned(), "block".to_owned(), 1)]).unwrap();
    wait_for("a film", Duration::from_secs(10), || rules().contains(&"inhibited".to_owned()).then_some(()))
        .unwrap();
}

/// Expects no byte on a metered network while the rule is on.
#[test]
fn a_metered_network_carries_nothing() {
    let (bench, managers) = (Bench::new().unwrap(), Managers::start().unwrap());
    managers.say(|said| said.metered = 3).unwrap();
    let _daemon = daemon_beside(&bench, &managers);
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let source = format!("energy_source=http://{}/price", server.local_addr().unwrap());
    assert!(bench.fog(&["settings", "set", "stop_when_metered=on"]).unwrap().status.success());
    assert!(bench.fog(&["settings", "set", &source, "energy_max=30"]).unwrap().status.success());
    wait_for("the rule", Duration::from_secs(15), || {
        rules_of(&bench).contains(&"metered".to_owned()).then_some(())
    })
    .unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(server.accept().is_err(), "nobody connected");

    managers.say(|said| said.metered = 2).unwrap();
    let (mut client, _) =
        wait_for("the price being fetched", Duration::from_secs(30), || server.accept().ok()).unwrap();
    client.set_nonblocking(false).unwrap();
    let _ = client.read(&mut [0; 1024]).unwrap();
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n99").unwrap();
    drop(client);
    wait_for("the dear price", Duration::from_secs(15), || {
        rules_of(&bench).contains(&"energy".to_owned()).then_some(())
    })
    .unwrap();
}
