//! `cargo xtask bench`: cost of BitChat packets and handshakes, of a node and of a daemon.
#![allow(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use fog_bitchat::{
    Announce, Capabilities, Config, Delivery, Event, Frame, Identity, Kind, LinkId, Node, PeerId, Raw,
};
use fog_tests::Bench;

const START: u64 = 1_790_000_000_000;

fn identity(n: u32) -> Identity {
    let mut secret = [5; 32];
    // Not at the ends, where X25519 fixes some bits.
    secret[8..12].copy_from_slice(&n.to_le_bytes());
    Identity::new(secret, secret)
}

fn node(n: u32, name: &str) -> Node {
    Node::new(
        identity(n),
        Config { nickname: name.to_owned(), capabilities: Capabilities::PRIVATE_MEDIA, ..Config::default() },
        [n as u8; 32],
    )
}

/// Repeats `work` for a second; returns the number of runs per second.
fn per_second(mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut times = 0_u64;
    while begun.elapsed() < Duration::from_secs(1) {
        for _ in 0..50 {
            work();
        }
        times += 50;
    }
    times as f64 / begun.elapsed().as_secs_f64()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
}

fn packets() {
    let anna = identity(1);
    let text = Frame::new(
        Kind::MESSAGE,
        anna.peer(),
        START,
        b"a text of a usual length that says something to everybody near".to_vec(),
    );
    println!(
        "text signed and encoded        {:>10.0} a second",
        per_second(|| drop(black_box(text.clone().signed(&anna).encode())))
    );
    let bytes = text.clone().signed(&anna).encode();
    println!(
        "packet decoded                 {:>10.0} a second",
        per_second(|| drop(black_box(Raw::decode(black_box(&bytes)))))
    );
    let raw = Raw::decode(&bytes).unwrap();
    println!(
        "signature checked              {:>10.0} a second",
        per_second(|| assert!(raw.frame.is_by(&anna.keys())))
    );
}

/// Exchanges packets between two nodes until none is left.
fn settle(a: &mut Node, b: &mut Node, now: u64) {
    loop {
        let (mut to_b, mut to_a) = (Vec::new(), Vec::new());
        while let Some((_, bytes)) = a.poll_transmit(now) {
            to_b.push(bytes);
        }
        while let Some((_, bytes)) = b.poll_transmit(now) {
            to_a.push(bytes);
        }
        if to_a.is_empty() && to_b.is_empty() {
            return;
        }
        to_b.iter().for_each(|bytes| b.handle_bytes(LinkId(1), bytes, now));
        to_a.iter().for_each(|bytes| a.handle_bytes(LinkId(1), bytes, now));
    }
}

fn handshakes() {
    let mut count = 0_u32;
    let rate = per_second(|| {
        count += 1;
        let (mut a, mut b) = (node(count * 2, "a"), node(count * 2 + 1, "b"));
        a.handle_link_up(LinkId(1), 512, START);
        b.handle_link_up(LinkId(1), 512, START);
        settle(&mut a, &mut b, START);
        a.tell(b.me(), "1".to_owned(), "hello".to_owned(), START).unwrap();
        settle(&mut a, &mut b, START);
        while let Some(event) = b.poll_event() {
            if let Event::Private { from, id, .. } = event {
                b.confirm_stored(from, id, START);
            }
        }
        settle(&mut a, &mut b, START);
        let delivered = std::iter::from_fn(|| a.poll_event())
            .any(|event| matches!(event, Event::Delivery { state: Delivery::Delivered, .. }));
        assert!(delivered, "the work was done");
    });
    println!("two nodes meet, handshake, text, receipt {rate:>10.0} a second");
}

/// Measures the memory of one node with two hundred people and ten thousand texts.
fn memory() {
    let before = resident_kib();
    let mut node = node(0, "me");
    node.handle_link_up(LinkId(1), 512, START);
    let people: Vec<(Identity, PeerId)> = (1..=200).map(|n| (identity(n), identity(n).peer())).collect();
    for (n, (identity, peer)) in people.iter().enumerate() {
        let announce =
            Announce { nickname: format!("person {n}"), keys: identity.keys(), ..Announce::default() };
        let mut bytes =
            Frame::new(Kind::ANNOUNCE, *peer, START, announce.encode().unwrap()).signed(identity).encode();
        bytes[2] = 5;
        node.handle_bytes(LinkId(1), &bytes, START);
    }
    let mut heard = 0;
    for n in 0..10_000_u64 {
        let (identity, peer) = &people[n as usize % people.len()];
        let text = Frame::new(Kind::MESSAGE, *peer, START + n, format!("text {n} of somebody").into_bytes())
            .signed(identity);
        node.handle_bytes(LinkId(1), &text.encode(), START + n);
        node.handle_timeout(START + n);
        heard += std::iter::from_fn(|| node.poll_event())
            .filter(|event| matches!(event, Event::Room { .. }))
            .count();
    }
    assert_eq!((node.people().len(), heard), (200, 10_000), "the work was done");
    println!(
        "node with 200 people after 10,000 texts  {:>7.1} MiB more",
        resident_kib().saturating_sub(before) as f64 / 1024.0
    );
}

/// Measures an idle daemon that looks for Bluetooth.
fn idle() {
    let mut bench = Bench::new().unwrap();
    bench.daemon_option("--ble");
    bench.start().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let pid = bench.pid().unwrap();
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse().unwrap())
            .collect();
        fields.iter().sum::<u64>()
    };
    let (before, seconds) = (ticks(), 30);
    std::thread::sleep(Duration::from_secs(seconds));
    let share = (ticks() - before) as f64 / 100.0 / seconds as f64;
    println!("daemon with chat and Bluetooth switched on, idle {:.3} % of a processor", share * 100.0);
}

fn main() {
    packets();
    handshakes();
    memory();
    idle();
}
