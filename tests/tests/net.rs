//! Real devices in network namespaces: an isolated switch, routers with address translation, unplugged
//! cables. Needs root; tests are skipped with a message where namespaces cannot be created, except in the
//! full form.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use fog_tests::jobs::working_for;
use fog_tests::net::{Host, is_skipped};
use fog_tests::{Bench, is_full, wait_for};
use serde_json::Value;

fn finished(bench: &Bench, id: &str, seconds: u64) -> Value {
    let show = || bench.json(&["job", "show", id]).unwrap();
    let done = wait_for("the end of the job", Duration::from_secs(seconds), || {
        (show()["summary"]["state"] == "finished").then_some(())
    });
    if let Err(error) = done {
        panic!("{error}: {:#}\n{:#}\n{}", show(), bench.json(&["peers"]).unwrap(), bench.log());
    }
    show()
}

/// Two hosts on one isolated switch.
struct Home {
    switch: Host,
    a: Bench,
    b: Bench,
    hosts: [Host; 2],
}

fn home() -> Home {
    let (switch, one, two) = (Host::new("sw").unwrap(), Host::new("a").unwrap(), Host::new("b").unwrap());
    switch.switch().unwrap();
    switch.plug(&one, "p1", "eth0", "10.77.0.1/24").unwrap();
    switch.plug(&two, "p2", "eth0", "10.77.0.2/24").unwrap();
    let a = Bench::device_with("anna", Some(&one.name), &[]).unwrap();
    let b = Bench::device_with("ben", Some(&two.name), &[]).unwrap();
    Home { switch, a, b, hosts: [one, two] }
}

fn meet(home: &Home) -> Duration {
    let begun = Instant::now();
    for bench in [&home.a, &home.b] {
        bench.json(&["network", "join", "lan"]).unwrap();
    }
    let met = wait_for("meeting", Duration::from_secs(60), || {
        (home.a.friends() == 1 && home.b.friends() == 1).then_some(())
    });
    if let Err(error) = met {
        panic!(
            "{error}: {}\n{}\n{:#}",
            home.a.log(),
            home.b.log(),
            home.a.json(&["network", "status"]).unwrap()
        );
    }
    begun.elapsed()
}

#[test]
fn two_laptops_on_a_switch_share_a_job_without_a_way_out() {
    if is_skipped(&[]) {
        return;
    }
    let home = home();
    eprintln!("met after {:?}", meet(&home));
    let begun = Instant::now();
    let id =
        home.a.json(&["submit", "--example", "lucas-lehmer", "--where", "grid"]).unwrap()["id"].to_string();
    finished(&home.a, &id, 60);
    eprintln!("12 tasks there and back in {:?}", begun.elapsed());
    assert_eq!(home.b.json(&["jobs"]).unwrap().as_array().unwrap().len(), 12);
    let peer = &home.a.json(&["peers"]).unwrap()[0];
    assert_eq!((peer["network"].as_str(), peer["path"].as_str()), (Some("lan"), Some("direct")));
}

/// Writes a job with an input of some megabytes that prints a word.
fn big_job(bench: &Bench, megabytes: usize) -> String {
    let module = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 64) "done")
        (func (export "_start") (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 4))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))"#;
    bench.module("big.wasm", module).unwrap();
    let mut noise = 1u64;
    let bytes: Vec<u8> = (0..megabytes << 20)
        .map(|_| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 56) as u8
        })
        .collect();
    std::fs::write(bench.scratch().join("big.bin"), bytes).unwrap();
    let job = bench.scratch().join("big.toml");
    std::fs::write(&job, "version = 1\nmodule = \"big.wasm\"\n[inputs]\n\"big.bin\" = \"big.bin\"\n")
        .unwrap();
    job.to_string_lossy().into_owned()
}

#[test]
fn a_cable_that_is_pulled_again_and_again_delays_a_transfer_and_no_more() {
    if is_skipped(&[]) {
        return;
    }
    let home = home();
    meet(&home);
    // Slow enough that every cut interrupts a transfer.
    home.switch
        .exec(&[
            "tc", "qdisc", "add", "dev", "p2", "root", "tbf", "rate", "40mbit", "burst", "64kb", "latency",
            "50ms",
        ])
        .unwrap();
    let cuts = if is_full() { 20 } else { 5 };
    let job = big_job(&home.a, if is_full() { 64 } else { 24 });
    let id = home.a.json(&["submit", &job, "--where", "grid"]).unwrap()["id"].to_string();
    let arrived = || {
        let partial = std::fs::read_dir(home.b.data().join("partial")).into_iter().flatten().flatten();
        partial.filter_map(|entry| entry.metadata().ok()).map(|about| about.len()).max().unwrap_or(0)
    };
    let mut reached = 0;
    for cut in 0..cuts {
        wait_for("bytes", Duration::from_secs(60), || (arrived() > reached).then_some(()))
            .unwrap_or_else(|error| panic!("cut {cut}: {error}\n{}", home.b.log()));
        reached = arrived();
        home.switch.ip(&["link", "set", "p2", "down"]).unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        home.switch.ip(&["link", "set", "p2", "up"]).unwrap();
    }
    finished(&home.a, &id, 120);
    assert_eq!(home.b.json(&["jobs"]).unwrap().as_array().unwrap().len(), 1);
}

#[test]
fn a_device_whose_address_changes_is_found_again() {
    if is_skipped(&[]) {
        return;
    }
    let home = home();
    meet(&home);
    // The first address goes first: with it, Linux removes all other addresses of its subnet.
    home.hosts[1].ip(&["addr", "del", "10.77.0.2/24", "dev", "eth0"]).unwrap();
    home.hosts[1].ip(&["addr", "add", "10.77.0.9/24", "dev", "eth0"]).unwrap();
    let begun = Instant::now();
    let address = || home.a.json(&["peers"]).ok()?[0]["address"].as_str().map(str::to_owned);
    wait_for("the new address", Duration::from_secs(30), || {
        address().filter(|address| address.contains("10.77.0.9"))
    })
    .unwrap_or_else(|error| {
        panic!("{error}: {:#}\n{}", home.a.json(&["peers"]).unwrap(), home.b.log());
    });
    eprintln!("found again after {:?}", begun.elapsed());
    // A job is sent there, and results come back.
    let id =
        home.a.json(&["submit", "--example", "lucas-lehmer", "--where", "grid"]).unwrap()["id"].to_string();
    let begun = Instant::now();
    finished(&home.a, &id, 60);
    eprintln!("a job after that took {:?}", begun.elapsed());
}

/// Changes the address during a task, and expects the device to go on and to deliver the result.
#[test]
fn a_task_under_way_outlives_the_address_of_its_device() {
    if is_skipped(&[]) {
        return;
    }
    let home = home();
    meet(&home);
    let id =
        home.a.json(&["submit", &working_for(&home.a, 20.0), "--where", "grid"]).unwrap()["id"].to_string();
    let units = |bench: &Bench| bench.json(&["status"]).ok()?["active"][0]["units"].as_u64();
    wait_for("ben at work", Duration::from_secs(30), || units(&home.b).filter(|units| *units > 0)).unwrap();
    home.hosts[1].ip(&["addr", "del", "10.77.0.2/24", "dev", "eth0"]).unwrap();
    home.hosts[1].ip(&["addr", "add", "10.77.0.9/24", "dev", "eth0"]).unwrap();
    let begun = Instant::now();
    let said = || home.a.json(&["job", "places", &id]).ok()?[0]["units"].as_u64();
    let before = said().unwrap_or(0);
    wait_for("a word from ben", Duration::from_secs(30), || said().filter(|units| *units > before)).unwrap();
    eprintln!("ben was heard of again after {:?}", begun.elapsed());
    let job = finished(&home.a, &id, 120);
    assert_eq!(job["tasks"][0]["attempts"].as_array().unwrap().len(), 1, "{job:#}");
}

/// Connects two switches with two devices each, and unplugs the cable between them for a minute. Expects
/// both halves to work on, and every result to be accepted once afterwards.
#[test]
fn a_network_that_falls_apart_works_in_both_halves_and_heals() {
    if is_skipped(&[]) {
        return;
    }
    let names = ["anna", "ben", "cleo", "dora"];
    let switches = [Host::new("s1").unwrap(), Host::new("s2").unwrap()];
    for switch in &switches {
        switch.switch().unwrap();
    }
    switches[0].join(&switches[1], "trunk0", "trunk1").unwrap();
    let mut hosts = Vec::new();
    let mut devices = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let host = Host::new(name).unwrap();
        switches[at / 2].plug(&host, &format!("p{at}"), "eth0", &format!("10.78.0.{}/24", at + 1)).unwrap();
        devices.push(Bench::device_with(name, Some(&host.name), &[]).unwrap());
        hosts.push(host);
    }
    for device in &devices {
        device.json(&["network", "join", "lan"]).unwrap();
    }
    let all_met = || devices.iter().all(|device| device.friends() == 3).then_some(());
    wait_for("meeting", Duration::from_secs(60), all_met).unwrap_or_else(|error| {
        let seen =
            devices.iter().map(|device| format!("{:#}\n{}", device.json(&["peers"]).unwrap(), device.log()));
        panic!("{error}: {}", seen.collect::<Vec<_>>().join("\n"));
    });
    // Long tasks of Anna: some are on the other side when the cable is unplugged.
    drop(working_for(&devices[0], 8.0));
    let job = devices[0].scratch().join("six.toml");
    std::fs::write(&job, "version = 1\nmodule = \"long.wasm\"\n[map]\nrange = [0, 6]\n").unwrap();
    let id =
        devices[0].json(&["submit", job.to_str().unwrap(), "--where", "grid"]).unwrap()["id"].to_string();
    let busy = |device: &Bench| {
        !device.json(&["status"]).unwrap_or_default()["active"].as_array().is_none_or(Vec::is_empty)
    };
    wait_for("work on both sides", Duration::from_secs(30), || {
        (busy(&devices[1]) && (busy(&devices[2]) || busy(&devices[3]))).then_some(())
    })
    .unwrap();
    switches[0].ip(&["link", "set", "trunk0", "down"]).unwrap();
    let cut = Instant::now();
    // Each half goes on alone.
    let small = |device: &Bench| {
        device.json(&["submit", "--example", "lucas-lehmer", "--where", "grid"]).unwrap()["id"].to_string()
    };
    wait_for("two in each half", Duration::from_secs(60), || {
        devices.iter().all(|device| device.friends() == 1).then_some(())
    })
    .unwrap_or_else(|error| {
        let seen = devices.iter().map(|device| format!("{:#}", device.json(&["peers"]).unwrap()));
        panic!("{error}: {}", seen.collect::<Vec<_>>().join("\n"));
    });
    eprintln!("both halves knew after {:?}", cut.elapsed());
    let theirs = small(&devices[2]);
    // The other device may first have to finish tasks from the other side.
    finished(&devices[2], &theirs, 240);
    std::thread::sleep(Duration::from_secs(60).saturating_sub(cut.elapsed()));
    switches[0].ip(&["link", "set", "trunk0", "up"]).unwrap();
    let healed = Instant::now();
    wait_for("healing", Duration::from_secs(90), all_met)
        .unwrap_or_else(|error| panic!("{error}: {:#}", devices[0].json(&["peers"]).unwrap()));
    eprintln!("whole again after {:?}", healed.elapsed());
    let job = finished(&devices[0], &id, 240);
    for task in job["tasks"].as_array().unwrap() {
        let attempts = task["attempts"].as_array().unwrap();
        assert_eq!(attempts.iter().filter(|attempt| attempt["outcome"] == "finished").count(), 1, "{task:#}");
    }
}

/// Builds two homes behind routers with address translation, and a relay between them.
fn homes_and_relay(symmetric: [bool; 2]) -> (Bench, Bench, Bench, Vec<Host>) {
    let net = Host::new("net").unwrap();
    net.switch().unwrap();
    let relay = Host::new("relay").unwrap();
    net.plug(&relay, "pr", "eth0", "203.0.113.1/24").unwrap();
    let mut hosts = vec![net, relay];
    let mut homes = Vec::new();
    for (at, is_symmetric) in symmetric.into_iter().enumerate() {
        let n = at + 2;
        let (router, inside) = (Host::new("r").unwrap(), Host::new("h").unwrap());
        hosts[0].plug(&router, &format!("p{n}"), "wan", &format!("203.0.113.{n}/24")).unwrap();
        router.switch().unwrap();
        router.plug(&inside, "lan0", "eth0", &format!("192.168.{n}.2/24")).unwrap();
        router.ip(&["addr", "add", &format!("192.168.{n}.1/24"), "dev", "br0"]).unwrap();
        inside.ip(&["route", "add", "default", "via", &format!("192.168.{n}.1")]).unwrap();
        router.translate("wan", is_symmetric).unwrap();
        homes.push(inside.name.clone());
        hosts.extend([router, inside]);
    }
    let helper = Bench::device_with("relay", Some(&hosts[1].name), &["--relay"]).unwrap();
    helper.json(&["off"]).unwrap();
    let a = Bench::device_with("anna", Some(&homes[0]), &[]).unwrap();
    let b = Bench::device_with("ben", Some(&homes[1]), &[]).unwrap();
    (helper, a, b, hosts)
}

/// Returns how many of `tries` meetings became direct; all must at least be relayed and carry a job.
fn meet_through_relay(symmetric: [bool; 2], tries: u32) -> u32 {
    let mut direct = 0;
    for _ in 0..tries {
        let (helper, a, b, _hosts) = homes_and_relay(symmetric);
        // The relay knows both; they find each other at the group's meeting place.
        helper.invite(&[&a, &b]).unwrap();
        let met = wait_for("meeting", Duration::from_secs(90), || {
            (a.friends() == 2 && b.friends() == 2).then_some(())
        });
        if let Err(error) = met {
            panic!(
                "{error}: {:#}\n{:#}\n{}\n{}",
                a.json(&["network", "status"]).unwrap(),
                b.json(&["network", "status"]).unwrap(),
                a.log(),
                b.log()
            );
        }
        let id =
            a.json(&["submit", "--example", "lucas-lehmer", "--where", "grid"]).unwrap()["id"].to_string();
        finished(&a, &id, 90);
        let path = || {
            a.json(&["peers"])
                .ok()?
                .as_array()?
                .iter()
                .find(|peer| peer["name"] == "ben")
                .map(|peer| peer["path"].to_string())
        };
        // Hole punching takes a few round trips after the relayed connection. It often fails, so the wait
        // may be in vain.
        let punched =
            wait_for("punching", Duration::from_secs(7), || path().filter(|path| path.contains("direct")));
        direct += u32::from(punched.is_ok());
    }
    direct
}

fn behind_routers(name: &str, symmetric: [bool; 2]) {
    if is_skipped(&["nft"]) {
        return;
    }
    let tries = if is_full() { 17 } else { 1 };
    let direct = meet_through_relay(symmetric, tries);
    eprintln!("{name}: {direct} of {tries} direct, the others relayed");
}

#[test]
fn devices_behind_two_routers_meet_through_a_relay() {
    behind_routers("cone and cone", [false, false]);
}

#[test]
fn devices_meet_through_a_relay_where_one_router_gives_each_connection_another_port() {
    behind_routers("cone and symmetric", [false, true]);
}

#[test]
fn devices_meet_through_a_relay_where_both_routers_do() {
    behind_routers("symmetric and symmetric", [true, true]);
}

/// Tests two hosts on one switch with IPv6 only: with addresses of their own network, or with link-local
/// addresses only.
fn six(addresses: [Option<&str>; 2]) {
    if is_skipped(&[]) {
        return;
    }
    let (switch, one, two) = (Host::new("sw").unwrap(), Host::new("a").unwrap(), Host::new("b").unwrap());
    switch.switch().unwrap();
    for (host, port, address) in [(&one, "p1", addresses[0]), (&two, "p2", addresses[1])] {
        // Addresses are usable at once.
        host.exec(&["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"]).unwrap();
        let any = "192.0.2.1/32";
        switch.plug(host, port, "eth0", address.unwrap_or(any)).unwrap();
        if address.is_none() {
            host.ip(&["addr", "del", any, "dev", "eth0"]).unwrap();
        }
    }
    let a = Bench::device_with("anna", Some(&one.name), &[]).unwrap();
    let b = Bench::device_with("ben", Some(&two.name), &[]).unwrap();
    let home = Home { switch, a, b, hosts: [one, two] };
    eprintln!("met after {:?}", meet(&home));
    let id =
        home.a.json(&["submit", "--example", "lucas-lehmer", "--where", "grid"]).unwrap()["id"].to_string();
    finished(&home.a, &id, 60);
    let peer = &home.a.json(&["peers"]).unwrap()[0];
    assert!(peer["address"].as_str().is_some_and(|address| address.starts_with("/ip6/")), "{peer}");
}

#[test]
fn a_network_of_unique_local_addresses_is_enough() {
    six([Some("fd77::1/64"), Some("fd77::2/64")]);
}

#[test]
fn link_local_addresses_are_enough() {
    six([None, None]);
}
