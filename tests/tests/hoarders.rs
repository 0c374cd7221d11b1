//! A member of the group says that it has room for everything, takes what it is given and does nothing.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::time::Duration;

use fog_grid::{Answer, Invite, MAX_MESSAGE, Message};
use fog_tests::Bench;
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
        while let Ok(Some(event)) = timeout(until.saturating_duration_since(Instant::now()), hoarder.events.recv()).await {
            let NetEvent::Incoming(mut link) = event else { continue };
            while let Ok(Ok(bytes)) = timeout(until.saturating_duration_since(Instant::now()), read_frame(&mut link.pipe, MAX_MESSAGE)).await {
                let Ok(Message::Offer(signed)) = Message::decode(&bytes) else { continue };
                let offer = signed.open(hoarder.victim).unwrap();
                let answer = Message::Answer { lease: offer.lease, answer: Answer::Accepted };
                write_frame(&mut answers.pipe, &answer.encode()).await.unwrap();
                if taken.is_empty() {
                    // All that are coming come soon.
                    until = Instant::now() + Duration::from_secs(8);
                }
                taken.insert(offer.lease);
            }
        }
        taken.len()
    });
    assert!((1..=4).contains(&taken), "somebody unknown was given {taken} tasks of 40");
}
