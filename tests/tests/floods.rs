//! A hostile device of the group: endless connections, garbage, silence, copies. The others go on working,
//! and memory stays bounded.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::net::TcpStream;
use std::time::{Duration, Instant};

use fog_grid::{
    Content, ContentId, ContentKey, ContentRequest, Identity, Invite, LeaseId, MAX_MESSAGE, Message,
    TaskOffer,
};
use fog_tests::{Bench, wait_for};
use fog_transport::{Channel, Transport as _, write_frame};
use fog_types::job::JobFile;
use fog_types::{BlobId, NodeId};
use rand::RngExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

mod member;
use member::Member;

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<f64>().ok())
        .unwrap()
        / 1024.0
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn offer_of(me: &Identity, worker: NodeId, lease: [u8; 16]) -> TaskOffer {
    let content = Content {
        id: ContentId([1; 32]),
        blob: BlobId(rand::random()),
        size: 1 << 30,
        key: ContentKey([4; 32]),
    };
    let mut file = JobFile::for_module("never", "module.wasm");
    file.limits.module = fog_types::ByteCount(1 << 30);
    TaskOffer {
        lease: LeaseId(lease),
        requester: me.node(),
        worker,
        file,
        module: content,
        stdin: None,
        inputs: Vec::new(),
        checkpoint: None,
        left_ms: u64::MAX,
        tags: Vec::new(),
        holders: Vec::new(),
        price_tenths: 10,
        has_bonus: false,
    }
}

#[test]
fn a_hostile_member_takes_no_memory_and_stops_no_work() {
    let (a, b) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap());
    a.invite(&[&b]).unwrap();
    // The group's first job, with its duration under good conditions.
    let submit = |args: &[&str]| b.json(&[&["submit"], args].concat()).unwrap()["id"].to_string();
    let finished = |id: &str, limit: u64| {
        let begun = Instant::now();
        let done = wait_for("honest work", Duration::from_secs(limit), || {
            (b.json(&["job", "show", id]).ok()?["summary"]["state"] == "finished").then_some(())
        });
        if let Err(error) = done {
            panic!("{error}: {:#}\n{}", b.json(&["peers"]).unwrap(), a.log());
        }
        begun.elapsed()
    };
    let honest = ["--example", "lucas-lehmer", "--where", "grid"];
    eprintln!("before: {:?}", finished(&submit(&honest), 60));
    let pid = a.pid().unwrap();
    let (memory, open) = (resident_mib(pid), descriptors(pid));
    let text = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().to_owned();
    let invite: Invite = text.parse().unwrap();
    let listening = a.json(&["network", "status"]).unwrap()["addresses"].as_array().unwrap().clone();
    let tcp = listening
        .iter()
        .filter_map(|address| address.as_str())
        .find(|address| address.contains("/tcp/"))
        .unwrap()
        .to_owned();
    let port: u16 = tcp.split('/').nth(4).unwrap().parse().unwrap();

    // A thousand silent connections of strangers.
    let silent: Vec<TcpStream> = (0..1000)
        .filter_map(|_| {
            TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_millis(500)).ok()
        })
        .collect();
    eprintln!(
        "{} silent connections: {:.0} MiB, {} descriptors",
        silent.len(),
        resident_mib(pid),
        descriptors(pid)
    );
    assert!(descriptors(pid) < open + 400, "connections are limited");
    eprintln!("with silent connections: {:?}", finished(&submit(&honest), 60));
    drop(silent);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let held = runtime.block_on(async {
        let hostile = Member::join(&invite).await;
        // Frames that announce more than they bring or than is allowed, and garbage.
        let mut held = Vec::new();
        for length in [MAX_MESSAGE, MAX_MESSAGE + 1, u32::MAX] {
            for _ in 0..50 {
                let mut link = hostile.control().await;
                let _ = link.pipe.write_all(&length.to_le_bytes()).await;
                let _ = link.pipe.flush().await;
                held.push(link);
            }
        }
        for _ in 0..200 {
            let mut noise = vec![0; 300];
            rand::rng().fill(&mut noise[..]);
            let mut link = hostile.control().await;
            let _ = write_frame(&mut link.pipe, &noise).await;
        }
        held.clear();
        // One offer sent a thousand times, and a thousand offers, for files that never come.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut link = hostile.control().await;
        let same = Message::Offer(Box::new(hostile.me.sign(&offer_of(&hostile.me, hostile.victim, [7; 16]))))
            .encode();
        for _ in 0..1000 {
            if timeout(Duration::from_secs(1), write_frame(&mut link.pipe, &same)).await.is_err() {
                break;
            }
        }
        for n in 0..1000u32 {
            let mut lease = [0; 16];
            lease[..4].copy_from_slice(&n.to_le_bytes());
            let other =
                Message::Offer(Box::new(hostile.me.sign(&offer_of(&hostile.me, hostile.victim, lease))))
                    .encode();
            if timeout(Duration::from_secs(1), write_frame(&mut link.pipe, &other)).await.is_err() {
                break;
            }
        }
        held.push(link);
        (hostile, held)
    });
    let (mut hostile, mut held) = held;
    eprintln!(
        "garbage and copies: {:.0} MiB, {} descriptors, {} jobs",
        resident_mib(pid),
        descriptors(pid),
        a.json(&["jobs"]).unwrap().as_array().unwrap().len()
    );
    assert!(
        a.json(&["jobs"]).unwrap().as_array().unwrap().iter().all(|job| job["owner"] != "mallory"),
        "what never arrived is no job"
    );
    eprintln!("after garbage and copies: {:?}", finished(&submit(&honest), 90));

    // A reader of a large file that does not read; it gets offers like any worker.
    let big = b.scratch().join("big.bin");
    std::fs::write(&big, vec![7u8; 48 << 20]).unwrap();
    b.module("idle.wasm", r#"(module (memory (export "memory") 1) (func (export "_start")))"#).unwrap();
    let job = a.scratch().join("big.toml");
    std::fs::write(
        &job,
        format!(
            "version = 1\nmodule = \"{}\"\n[inputs]\n\"big.bin\" = \"{}\"\n",
            b.scratch().join("idle.wasm").display(),
            big.display()
        ),
    )
    .unwrap();
    a.json(&["submit", job.to_str().unwrap(), "--where", "grid"]).unwrap();
    runtime.block_on(async {
        let offer = hostile.offered().await;
        let content = offer.inputs.first().unwrap().1;
        for _ in 0..100 {
            let Ok(mut link) = hostile.net.open(hostile.victim, Channel::Content).await else { continue };
            let request = ContentRequest { id: content.id, from: Some(0), count: 192 };
            let _ = write_frame(&mut link.pipe, &request.encode()).await;
            held.push(link);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    });
    eprintln!("slow readers: {:.0} MiB, {} descriptors", resident_mib(pid), descriptors(pid));
    eprintln!("with slow readers: {:?}", finished(&submit(&honest), 90));
    let (now, still_open) = (resident_mib(pid), descriptors(pid));
    assert!(now < memory + 150.0, "memory grew from {memory:.0} to {now:.0} MiB");
    assert!(still_open < open + 400, "{open} descriptors became {still_open}");
    drop((held, hostile));
    assert!(!a.log().contains("panicked"), "{}", a.log());
}

#[test]
fn what_a_stranger_sends_is_refused_before_it_is_read() {
    let a = Bench::device("anna").unwrap();
    let invite: Invite = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().parse().unwrap();
    let status = || {
        let begun = Instant::now();
        a.json(&["status"]).unwrap();
        begun.elapsed()
    };
    let before = status();
    let opened = a.counter("fog_control_opened").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let flood = runtime.spawn(async move {
        let mut sent = 0u64;
        // Each identity is soon cut off; then a new one starts.
        for _ in 0..8 {
            let Ok(stranger) = timeout(Duration::from_secs(10), Member::connect(&invite)).await else {
                continue;
            };
            let mut offer = offer_of(&stranger.me, stranger.victim, [7; 16]);
            offer.file.map = fog_types::job::Map::Inputs(vec![String::new(); 2_000_000]);
            let large = Message::Offer(Box::new(stranger.me.sign(&offer))).encode();
            assert!(large.len() > 1_900_000 && large.len() < MAX_MESSAGE as usize);
            let small =
                Message::Offer(Box::new(stranger.me.sign(&offer_of(&stranger.me, stranger.victim, [8; 16]))))
                    .encode();
            for bytes in [small, large.clone(), large] {
                // A stranger that was cut off cannot open a link.
                let Ok(Ok(mut link)) =
                    timeout(Duration::from_secs(2), stranger.net.open(stranger.victim, Channel::Control))
                        .await
                else {
                    break;
                };
                let wrote = timeout(Duration::from_secs(5), write_frame(&mut link.pipe, &bytes)).await;
                sent += u64::from(matches!(wrote, Ok(Ok(()))));
            }
        }
        sent
    });
    let mut worst = Duration::ZERO;
    while !flood.is_finished() {
        worst = worst.max(status());
    }
    eprintln!(
        "{} messages were sent; status took {before:?} before, {worst:?} at worst",
        runtime.block_on(flood).unwrap()
    );
    // No signature was checked and no list was read.
    assert_eq!(a.counter("fog_control_opened").unwrap(), opened);
    assert!(a.counter("fog_control_refused{reason=\"too_long\"}").unwrap() > 0);
    assert!(a.counter("fog_control_refused{reason=\"unrelated\"}").unwrap() > 0);
    assert!(worst < Duration::from_secs(10), "status took {worst:?}");
    // The flood does not count against the data limit.
    let network = a.json(&["network", "status"]).unwrap();
    assert_eq!((network["received"].as_u64(), network["sent"].as_u64()), (Some(0), Some(0)));
    assert!(!a.log().contains("panicked"), "{}", a.log());
}
