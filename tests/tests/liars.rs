//! A member that makes results up, faster than anybody works: outvoted, found out, and trusted less.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fog_grid::{
    Answer, Content, ContentId, ContentKey, ContentReply, ContentRequest, Invite, MAX_MESSAGE, Manifest, Message, Sealer, Signed, TaskOffer, TaskResult,
};
use fog_tests::{Bench, wait_for};
use fog_transport::{Channel, Link, NetEvent, read_frame, write_frame};
use fog_types::{BlobId, WorkUnits};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

mod member;
use member::Member;

/// Sealed pieces by content.
type Shelf = Arc<Mutex<BTreeMap<ContentId, (u64, Manifest, Vec<u8>)>>>;

fn put(shelf: &Shelf, bytes: &[u8]) -> Content {
    let (blob, key) = (BlobId(*blake3::hash(bytes).as_bytes()), ContentKey([9; 32]));
    let sealed = Sealer::new(&key, bytes.len() as u64).seal(0, bytes).unwrap();
    let mut manifest = Manifest::begin(bytes.len() as u64);
    manifest.add(&sealed);
    let content = Content { id: manifest.id(), blob, size: bytes.len() as u64, key };
    shelf.lock().unwrap().insert(content.id, (content.size, manifest, sealed));
    content
}

async fn serve(mut link: Link, shelf: Shelf) {
    let Ok(bytes) = read_frame(&mut link.pipe, 256).await else { return };
    let Ok(request) = ContentRequest::decode(&bytes) else { return };
    let found = shelf.lock().unwrap().get(&request.id).map(|(size, manifest, sealed)| (*size, manifest.to_bytes(), sealed.clone()));
    let Some((size, manifest, sealed)) = found else { return };
    let _ = write_frame(&mut link.pipe, &ContentReply::Here { size }.encode()).await;
    let _ = write_frame(&mut link.pipe, if request.from.is_none() { &manifest } else { &sealed }).await;
    let _ = link.pipe.shutdown().await;
}

/// Takes every offer and hands in the same lie at once, complete with files that make it.
async fn lie(mut member: Member) {
    let shelf = Shelf::default();
    let (offers, mut taken) = tokio::sync::mpsc::channel::<Signed<TaskOffer>>(64);
    let mut talk = member.control().await;
    loop {
        tokio::select! {
            event = member.events.recv() => match event {
                Some(NetEvent::Incoming(link)) if link.channel == Channel::Content => drop(tokio::spawn(serve(link, shelf.clone()))),
                Some(NetEvent::Incoming(mut link)) => {
                    let offers = offers.clone();
                    tokio::spawn(async move {
                        while let Ok(bytes) = read_frame(&mut link.pipe, MAX_MESSAGE).await {
                            if let Ok(Message::Offer(signed)) = Message::decode(&bytes) {
                                let _ = offers.send(*signed).await;
                            }
                        }
                    });
                }
                Some(_) => {}
                None => return,
            },
            Some(signed) = taken.recv() => {
                let Ok(offer) = signed.open(member.victim) else { continue };
                let text = b"a lie";
                let (stdout, stderr) = (put(&shelf, text), put(&shelf, b""));
                let units = WorkUnits(1_000_000);
                let hash = fog_runtime::result_hash(0, units, text, std::iter::empty()).to_hex().to_string();
                let result = TaskResult {
                    lease: offer.lease,
                    worker: member.me.node(),
                    offer: signed.hash(),
                    units,
                    active_ms: 1,
                    memory: 1,
                    hash,
                    stdout: (stdout, 0),
                    stderr: (stderr, 0),
                    outputs: Vec::new(),
                    history: None,
                };
                for message in [Message::Answer { lease: offer.lease, answer: Answer::Accepted }, Message::Result(Box::new(member.me.sign(&result)))] {
                    if write_frame(&mut talk.pipe, &message.encode()).await.is_err() {
                        talk = member.control().await;
                    }
                }
            }
        }
    }
}

#[test]
fn a_liar_is_outvoted_found_out_and_trusted_less() {
    let (a, b, c) = (Bench::device("anna").unwrap(), Bench::device("ben").unwrap(), Bench::device("cleo").unwrap());
    a.invite(&[&b, &c]).unwrap();
    let run = |args: &[&str]| -> Value {
        let id = a.json(&[&["submit", "--example", "lucas-lehmer"], args].concat()).unwrap()["id"].to_string();
        let show = || a.json(&["job", "show", &id]).unwrap();
        wait_for("the end of the job", Duration::from_secs(120), || (show()["summary"]["state"] == "finished").then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {:#}\n{:#}", show(), a.json(&["peers"]).unwrap()));
        show()
    };
    let hashes = |job: &Value| job["tasks"].as_array().unwrap().iter().map(|task| task["result_hash"].to_string()).collect::<Vec<_>>();
    let right = hashes(&run(&["--where", "local"]));
    // Two honest devices: answers that are known.
    assert_eq!(hashes(&run(&["--service", "silver"])), right);
    let invite: Invite = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async move { lie(Member::join(&invite).await).await });
    let liar = || a.json(&["peers"]).ok()?.as_array()?.iter().find(|peer| peer["name"] == "mallory").cloned();
    wait_for("the liar", Duration::from_secs(30), || liar().filter(|peer| peer["slots"].as_u64() > Some(0))).unwrap();
    // Believed alone, it gets its lies in: the checks below have something to find.
    let alone = hashes(&run(&["--where", "grid", "--prefer", "fast"]));
    assert!(alone.iter().zip(&right).any(|(found, right)| found != right), "the liar got no task");
    assert!(liar().unwrap()["reliability"].as_u64() > Some(500));
    // Two of three agree on the truth, and it shows in what is thought of it.
    assert_eq!(hashes(&run(&["--service", "gold", "--prefer", "fast"])), right);
    let outvoted = liar().unwrap()["reliability"].as_u64().unwrap();
    assert!(outvoted < 500, "{outvoted}");
    // Found out by tasks whose result is known, although nobody compares. It is lent to by those who ask
    // for speed alone.
    let mut found = 0;
    for _ in 0..8 {
        let job = run(&["--where", "grid", "--spot-checks", "50", "--prefer", "fast"]);
        std::thread::sleep(Duration::from_secs(1));
        let id = job["summary"]["id"].to_string();
        found += a.json(&["job", "show", &id]).unwrap()["grid"]["checks"][1].as_u64().unwrap();
        if found > 0 {
            break;
        }
    }
    assert!(found > 0, "no spot check found the liar");
    assert!(liar().unwrap()["reliability"].as_u64() < Some(500));
}
