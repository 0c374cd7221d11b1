//! A device on the local network announces tens of thousands of devices that do not exist, with a lifetime
//! of years.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::time::Duration;

use fog_tests::net::{Host, is_skipped};
use fog_tests::{Bench, wait_for};
use libp2p::PeerId;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Number of names in one packet.
const NAMES: u16 = 14;

fn name(labels: &[&str]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        labels.iter().flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

fn record(owner: &[u8], kind: u16, class: u16, data: &[u8]) -> Vec<u8> {
    let numbers = [kind.to_be_bytes(), class.to_be_bytes()].concat();
    [owner, &numbers, &4_000_000_000u32.to_be_bytes(), &(data.len() as u16).to_be_bytes(), data].concat()
}

/// Returns an unsolicited mDNS answer with made-up devices.
fn made_up() -> Vec<u8> {
    let service = name(&["_p2p", "_udp", "local"]);
    let (mut answers, mut more) = (Vec::new(), Vec::new());
    for _ in 0..NAMES {
        let label: u128 = rand::random();
        let owner = name(&[&format!("{label:032x}"), "local"]);
        answers.extend(record(&service, 12, 1, &owner));
        let text = format!(
            "dnsaddr=/ip4/10.77.0.{}/udp/{}/quic-v1/p2p/{}",
            label % 200 + 3,
            label % 60_000 + 2000,
            PeerId::random()
        );
        more.extend(record(&owner, 16, 0x8001, &[&[text.len() as u8], text.as_bytes()].concat()));
    }
    let head: Vec<u8> =
        [7u16, 0x8400, 0, NAMES, 0, NAMES].iter().flat_map(|number| number.to_be_bytes()).collect();
    [head, answers, more].concat()
}

/// Returns the number of mDNS sockets in the network namespace of a process.
fn sockets(pid: u32) -> usize {
    let list = |which: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{which}")).unwrap();
    [list("udp"), list("udp6")]
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| line.contains(":14E9 "))
        .count()
}

#[test]
fn made_up_devices_take_neither_memory_nor_time_and_friends_stay() {
    if is_skipped(&[]) {
        return;
    }
    let (switch, one, two) = (Host::new("sw").unwrap(), Host::new("a").unwrap(), Host::new("b").unwrap());
    switch.switch().unwrap();
    switch.plug(&one, "p1", "eth0", "10.77.0.1/24").unwrap();
    switch.plug(&two, "p2", "eth0", "10.77.0.2/24").unwrap();
    let a = Bench::device_with("anna", Some(&one.name), &[]).unwrap();
    let b = Bench::device_with("ben", Some(&two.name), &[]).unwrap();
    for bench in [&a, &b] {
        bench.json(&["network", "join", "lan"]).unwrap();
    }
    wait_for("meeting", Duration::from_secs(60), || (a.friends() == 1 && b.friends() == 1).then_some(()))
        .unwrap();
    let pid = a.pid().unwrap();
    assert!(sockets(pid) > 0, "it looks for others");
    let from = two.name.clone();
    let flood = std::thread::spawn(move || {
        let namespace = File::open(format!("/run/netns/{from}")).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let socket = UdpSocket::bind(("10.77.0.2", 0)).unwrap();
        for _ in 0..2000 {
            // A closed port may answer with an error.
            let _ = socket.send_to(&made_up(), ("10.77.0.1", 5353));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    wait_for("the end of the search", Duration::from_secs(30), || (sockets(pid) == 0).then_some(())).unwrap();
    flood.join().unwrap();
    let log = a.log();
    let believed = log.lines().filter(|line| line.contains("discovered peer on address")).count();
    assert!(believed < 5000, "{believed} names of 28,000 were taken down");
    assert!(log.contains("looked for again later"), "{log}");
    // The search resumes after the flood; connected devices stayed connected all the time.
    wait_for("another search", Duration::from_secs(60), || (sockets(pid) > 0).then_some(())).unwrap();
    assert_eq!(a.friends(), 1);
    assert!(!a.log().contains("panicked"), "{}", a.log());
}
