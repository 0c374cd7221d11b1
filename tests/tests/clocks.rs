//! Devices with a wrong clock, as after a flat battery or in 1970.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::time::Duration;

use fog_grid::Invite;
use fog_tests::{Bench, wait_for};
use serde_json::Value;

mod member;
use member::Member;

const HOURS_MS: i64 = 3_600_000;

fn clock_of(bench: &Bench, name: &str) -> Option<i64> {
    let peers = bench.json(&["peers"]).ok()?;
    peers.as_array()?.iter().find(|peer| peer["name"] == name)?["clock_off_ms"].as_i64()
}

fn clock_check(bench: &Bench) -> Value {
    // `fog doctor` exits with an error when a check fails.
    let checks: Value = serde_json::from_slice(&bench.fog(&["--json", "doctor"]).unwrap().stdout).unwrap();
    let list = checks.as_array().or_else(|| checks["checks"].as_array()).unwrap();
    list.iter().find(|check| check["name"] == "clock").unwrap_or_else(|| panic!("{checks:#}")).clone()
}

/// Expects two devices to report that one clock is wrong, and three to know which.
#[test]
fn a_clock_that_is_hours_off_is_told_on_both_sides() {
    let (a, mut b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    a.invite(&[&b]).unwrap();
    wait_for("clocks", Duration::from_secs(10), || clock_of(&a, "ben").filter(|off| off.abs() < 5_000))
        .unwrap();
    assert_eq!(clock_check(&a)["state"], "good");
    b.kill();
    b.set_clock_ahead(5 * 3600).unwrap();
    b.start().unwrap();
    for (bench, other, off) in [(&a, "ben", 5), (&b, "anna", -5)] {
        let near = wait_for("the other clock", Duration::from_secs(30), || {
            clock_of(bench, other).filter(|found| found.abs_diff(off * HOURS_MS) < 60_000)
        });
        near.unwrap_or_else(|error| panic!("{error}: {:#}", bench.json(&["peers"]).unwrap()));
        let (said, check) =
            (String::from_utf8(bench.fog(&["peers"]).unwrap().stdout).unwrap(), clock_check(bench));
        let how = if off > 0 { "ahead of" } else { "behind" };
        assert!(said.contains(&format!("{how} this device's")), "{said}");
        assert_eq!(check["state"], "bad");
        assert!(check["detail"].as_str().unwrap().contains("one of the two is wrong"), "{check}");
    }
    // A third device that agrees with the first: now both know.
    let c = Bench::device("cleo").unwrap();
    a.invite(&[&c]).unwrap();
    wait_for("all of them", Duration::from_secs(60), || (b.friends() == 2).then_some(())).unwrap();
    let network = || {
        b.json(&["network", "status"]).ok()?["clock_off_ms"]
            .as_i64()
            .filter(|off| off.abs_diff(-5 * HOURS_MS) < 60_000)
    };
    wait_for("its own clock", Duration::from_secs(30), network).unwrap();
    assert!(clock_check(&b)["detail"].as_str().unwrap().contains("this device's is"), "{}", clock_check(&b));
    let said = String::from_utf8(b.fog(&["network"]).unwrap().stdout).unwrap();
    assert!(said.contains("The clock of this device is") && said.contains("fast"), "{said}");
    assert_eq!(a.json(&["network", "status"]).unwrap()["clock_off_ms"], Value::Null);
}

/// Expects adverts to count as fresh by the clock of their sender.
#[test]
fn adverts_of_a_device_whose_clock_is_off_are_heard() {
    let a = Bench::device("anna").unwrap();
    let invite: Invite = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let heard = || a.json(&["network", "status"]).unwrap()["adverts"].as_u64().unwrap();
    for (at, ahead) in [5 * HOURS_MS, -20_000 * 24 * HOURS_MS].into_iter().enumerate() {
        let member = runtime.block_on(async {
            let member = Member::connect(&invite).await;
            member.greet(&invite, ahead).await;
            member
        });
        let before = at as u64;
        let came = wait_for("the advert", Duration::from_secs(10), || {
            runtime.block_on(async {
                member.advertise(&invite.group, ahead);
                tokio::time::sleep(Duration::from_millis(500)).await;
            });
            (heard() > before).then_some(())
        });
        came.unwrap_or_else(|error| panic!("{ahead} ms: {error}\n{}", a.log()));
    }
}
