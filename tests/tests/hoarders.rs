//! A member of the group that claims unlimited room, accepts every offer and does nothing.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::time::Duration;

use fog_grid::{Answer, Invite, MAX_MESSAGE, Message};
use fog_tests::{Bench, is_full};
use fog_transport::{NetEvent, read_frame, write_frame};
use tokio::time::{Instant, timeout};

mod member;
use member::Member;

#[test]
fn whoever_is_new_gets_few_tasks_at_once_whatever_it_claims() {
    let a = Bench::device("anna").unwrap();
    let invite: Invite = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().parse().unwrap();
    a.module("idle.wasm", r#"(module (memory (export "memory") 1) (func (export "_start")))"#).unwrap();
    let job = a.scratch().join("many.toml");
    std::fs::write(&job, "version = 1\nmodule = \"idle.wasm\"\n[map]\nrange = [0, 40]\n").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let taken = runtime.block_on(async {
        let mut hoarder = Member::join(&invite).await;
        a.json(&["submit", job.to_str().unwrap(), "--where", "grid"]).unwrap();
        let mut answers = hoarder.control().await;
        let mut taken = BTreeSet::new();
        let mut until = Instant::now() + Duration::from_secs(60);
        while let Ok(Some(event)) =
            timeout(until.saturating_duration_since(Instant::now()), hoarder.events.recv()).await
        {
            let NetEvent::Incoming(mut link) = event else { continue };
            while let Ok(Ok(bytes)) = timeout(
                until.saturating_duration_since(Instant::now()),
                read_frame(&mut link.pipe, MAX_MESSAGE),
            )
            .await
            {
                let Ok(Message::Offer(signed)) = Message::decode(&bytes) else { continue };
                let offer = signed.open(hoarder.victim).unwrap();
                let answer = Message::Answer { lease: offer.lease, answer: Answer::Accepted };
                write_frame(&mut answers.pipe, &answer.encode()).await.unwrap();
                if taken.is_empty() {
                    // All further offers come soon.
                    until = Instant::now() + Duration::from_secs(8);
                }
                taken.insert(offer.lease);
            }
        }
        taken.len()
    });
    assert!((1..=4).contains(&taken), "somebody unknown was given {taken} tasks of 40");
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
        .unwrap()
}

/// Expects little memory per name: a member of a group can create names without end.
#[test]
fn members_that_come_say_what_they_have_and_go_leave_no_memory_behind() {
    let a = Bench::device("anna").unwrap();
    let invite: Invite = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().parse().unwrap();
    let pid = a.pid().unwrap();
    // By the first, everything that is allocated once exists, and the number of closing connections has
    // reached its maximum.
    let (first, last) = if is_full() { (100, 500) } else { (100, 200) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let begun = std::time::Instant::now();
    let mut sizes = vec![resident_kib(pid)];
    for n in 1..=last {
        runtime.block_on(async {
            let mut member = Member::connect(&invite).await;
            member.greet(&invite, 0).await;
            // The device greets the new member back.
            let mut link = member
                .until(|event| if let NetEvent::Incoming(link) = event { Some(link) } else { None })
                .await;
            while let Ok(Ok(bytes)) =
                timeout(Duration::from_secs(30), read_frame(&mut link.pipe, MAX_MESSAGE)).await
            {
                if matches!(Message::decode(&bytes), Ok(Message::Hello(hello)) if hello.has_heard) {
                    break;
                }
            }
            for _ in 0..3 {
                member.advertise(&invite.group, 0);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        if n == first || n == last {
            sizes.push(resident_kib(pid));
        }
    }
    let adverts = a.json(&["network", "status"]).unwrap()["adverts"].as_u64().unwrap();
    let [before, early, late] = sizes[..] else { unreachable!() };
    let grown = late.saturating_sub(early);
    eprintln!(
        "{before} KiB, {early} after {first}, {late} after {last}: {grown} more; {adverts} adverts, {:?}",
        begun.elapsed()
    );
    let known = a.json(&["peers"]).unwrap().as_array().unwrap().len();
    assert!(known >= last / 2, "{known} of {last} were believed");
    assert!(grown < 8 << 10, "{grown} KiB for {} identities", last - first);
    assert!(!a.log().contains("panicked"), "{}", a.log());
}
