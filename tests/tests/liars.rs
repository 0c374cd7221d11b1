//! A member that invents results faster than anybody works: outvoted, detected, and trusted less.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fog_grid::{
    Answer, CHUNK, Content, ContentId, ContentKey, ContentReply, ContentRequest, Decline, Invite, LeaseId,
    MAX_MESSAGE, Manifest, Message, Receipt, Sealer, TaskOffer, TaskResult,
};
use fog_runtime::{CheckpointHeader, EngineKind, History, HistoryEnd, HistoryMark, Mark, TaskSpec};
use fog_tests::jobs::{identity, turning};
use fog_tests::{Bench, wait_for};
use fog_transport::{Channel, Link, NetEvent, read_frame, write_frame};
use fog_types::job::JobFile;
use fog_types::{BlobId, ByteCount, Percent, WorkUnits};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

mod member;
use member::Member;

/// Sealed pieces by content id.
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
    let found = shelf
        .lock()
        .unwrap()
        .get(&request.id)
        .map(|(size, manifest, sealed)| (*size, manifest.to_bytes(), sealed.clone()));
    let Some((size, manifest, sealed)) = found else { return };
    let _ = write_frame(&mut link.pipe, &ContentReply::Here { size }.encode()).await;
    let _ = write_frame(&mut link.pipe, if request.from.is_none() { &manifest } else { &sealed }).await;
    let _ = link.pipe.shutdown().await;
}

/// Answers of a liar to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// A made-up result, complete with matching files.
    Text,
    /// A made-up result with an impossible number of work units.
    Units,
    /// A made-up result with two files of one name.
    Twice,
    /// The claim that no device can do the task.
    Hopeless,
    /// A made-up result with made-up states, none of which was kept.
    Unshown,
}

/// Returns the states of an invented run that ends with the lie.
fn made_up(offer: &TaskOffer, units: u64, text: &[u8], hash: &str) -> Vec<u8> {
    let spec = TaskSpec {
        artifact: PathBuf::new(),
        engine: EngineKind::Compiled,
        program: offer.file.name.clone(),
        args: offer.file.args.clone(),
        env: Vec::new(),
        stdin: None,
        inputs: Vec::new(),
        limits: offer.file.limits.clone(),
        seed: offer.file.seed,
        duty: Percent::FULL,
        segments: None,
    };
    let header =
        CheckpointHeader::new(&spec, blake3::Hash::from_bytes(offer.module.blob.0), Vec::new(), None);
    let segment = offer.file.segment.map_or(units, |segment| segment.0);
    let mut history = History::new(&header.module, &header.task_identity(), segment);
    for number in 1..=units / segment {
        let state = blake3::hash(&number.to_le_bytes()).to_hex().to_string();
        history.marks.push(HistoryMark::new(Mark { number, units: number * segment, state }, text));
    }
    history.end = Some(HistoryEnd { units, result_hash: Some(hash.to_owned()) });
    serde_json::to_vec(&history).unwrap()
}

/// Accepts every offer and returns the same lie at once.
async fn lie(mut member: Member, lie: Lie) {
    let shelf = Shelf::default();
    let (offers, mut taken) = tokio::sync::mpsc::channel::<Message>(64);
    let mut talk = member.control().await;
    loop {
        tokio::select! {
            event = member.events.recv() => match event {
                Some(NetEvent::Incoming(link)) if link.channel == Channel::Content => drop(tokio::spawn(serve(link, shelf.clone()))),
                Some(NetEvent::Incoming(mut link)) => {
                    let offers = offers.clone();
                    tokio::spawn(async move {
                        while let Ok(bytes) = read_frame(&mut link.pipe, MAX_MESSAGE).await {
                            if let Ok(message @ (Message::Offer(_) | Message::Prove { .. })) = Message::decode(&bytes) {
                                let _ = offers.send(message).await;
                            }
                        }
                    });
                }
                Some(_) => {}
                None => return,
            },
            Some(message) = taken.recv() => {
                let signed = match message {
                    Message::Offer(signed) => *signed,
                    Message::Prove { lease, mark } => {
                        let _ = write_frame(&mut talk.pipe, &Message::Proof { lease, mark, state: None }.encode()).await;
                        continue;
                    }
                    _ => continue,
                };
                let Ok(offer) = signed.open(member.victim) else { continue };
                let text = b"a lie";
                let (stdout, stderr) = (put(&shelf, text), put(&shelf, b""));
                let units = WorkUnits(match lie {
                    Lie::Units => u64::MAX,
                    Lie::Unshown => 7_000_000_005,
                    _ => 1_000_000,
                });
                let outputs = if lie == Lie::Twice { vec![("a.txt".to_owned(), stdout), ("a.txt".to_owned(), stdout)] } else { Vec::new() };
                let listed = outputs.iter().map(|(path, content): &(String, Content)| (path.as_str(), blake3::Hash::from_bytes(content.blob.0)));
                let hash = fog_runtime::result_hash(0, units, text, listed).to_hex().to_string();
                let history = (lie == Lie::Unshown).then(|| put(&shelf, &made_up(&offer, units.0, text, &hash)));
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
                    outputs,
                    list: None,
                    history,
                };
                let end = match lie {
                    Lie::Hopeless => Message::Failed { lease: offer.lease, problem: "nobody can do this".to_owned(), is_hopeless: true },
                    Lie::Text | Lie::Units | Lie::Twice | Lie::Unshown => Message::Result(Box::new(member.me.sign(&result))),
                };
                for message in [Message::Answer { lease: offer.lease, answer: Answer::Accepted }, end] {
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
    let (a, b, c) =
        (Bench::device("anna").unwrap(), Bench::device("ben").unwrap(), Bench::device("cleo").unwrap());
    a.invite(&[&b, &c]).unwrap();
    let run = |args: &[&str]| -> Value {
        let id =
            a.json(&[&["submit", "--example", "lucas-lehmer"], args].concat()).unwrap()["id"].to_string();
        let show = || a.json(&["job", "show", &id]).unwrap();
        wait_for("the end of the job", Duration::from_secs(120), || {
            (show()["summary"]["state"] == "finished").then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {:#}\n{:#}", show(), a.json(&["peers"]).unwrap()));
        show()
    };
    let hashes = |job: &Value| {
        job["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["result_hash"].to_string())
            .collect::<Vec<_>>()
    };
    let right = hashes(&run(&["--where", "local"]));
    // Two honest devices give the known results.
    assert_eq!(hashes(&run(&["--service", "silver"])), right);
    let invite: Invite = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async move { lie(Member::join(&invite).await, Lie::Text).await });
    let liar = || a.json(&["peers"]).ok()?.as_array()?.iter().find(|peer| peer["name"] == "mallory").cloned();
    wait_for("the liar", Duration::from_secs(30), || liar().filter(|peer| peer["slots"].as_u64() > Some(0)))
        .unwrap();
    // Alone it is believed, so that later checks have lies to find.
    let alone = hashes(&run(&["--where", "grid", "--prefer", "fast"]));
    assert!(alone.iter().zip(&right).any(|(found, right)| found != right), "the liar got no task");
    assert!(liar().unwrap()["reliability"].as_u64() > Some(500));
    // Two of three agree on the correct result, and the liar loses reliability.
    assert_eq!(hashes(&run(&["--service", "gold", "--prefer", "fast"])), right);
    let outvoted = liar().unwrap()["reliability"].as_u64().unwrap();
    assert!(outvoted < 500, "{outvoted}");
    // Spot checks with known results detect the liar, although no results are compared. It gets tasks from
    // jobs that prefer speed.
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

/// Whatever one member answers, the others' results are stored and the job ends.
fn survives(what: Lie, args: &[&str]) {
    let (a, b, c) =
        (Bench::device("anna").unwrap(), Bench::device("ben").unwrap(), Bench::device("cleo").unwrap());
    a.invite(&[&b, &c]).unwrap();
    let invite: Invite = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async move { lie(Member::join(&invite).await, what).await });
    let liar = || a.json(&["peers"]).ok()?.as_array()?.iter().find(|peer| peer["name"] == "mallory").cloned();
    wait_for("the liar", Duration::from_secs(30), || liar().filter(|peer| peer["slots"].as_u64() > Some(0)))
        .unwrap();
    let id = a
        .json(
            &[&["submit", "--example", "lucas-lehmer", "--where", "grid", "--prefer", "fast"], args].concat(),
        )
        .unwrap()["id"]
        .to_string();
    let show = || a.json(&["job", "show", &id]).unwrap();
    wait_for("the end of the job", Duration::from_secs(120), || {
        (show()["summary"]["state"] == "finished").then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:#}\n{:#}\n{}", show(), a.json(&["peers"]).unwrap(), a.log()));
    // The liar got a task and lost reliability.
    let reliability = liar().unwrap()["reliability"].as_u64().unwrap();
    assert!(reliability < 500, "{reliability}");
    // No credit sum overflowed.
    let credits = a.json(&["credits"]).unwrap();
    assert!(credits["spent"].as_u64().is_some_and(|spent| spent < 1_000_000_000), "{credits}");
}

#[test]
fn more_work_than_there_can_be_is_no_result() {
    survives(Lie::Units, &[]);
}

#[test]
fn two_files_of_one_name_are_no_result() {
    survives(Lie::Twice, &[]);
}

#[test]
fn one_word_that_nobody_could_do_it_fails_nothing_where_several_are_asked() {
    survives(Lie::Hopeless, &["--service", "gold"]);
}

/// Expects a device that admits not having kept a requested state not to be believed alone.
#[test]
fn a_result_whose_states_were_not_kept_is_not_believed_alone() {
    let (a, b, c) =
        (Bench::device("anna").unwrap(), Bench::device("ben").unwrap(), Bench::device("cleo").unwrap());
    a.invite(&[&b, &c]).unwrap();
    let module = turning(&a, 300_000_000);
    let (right, _) = identity(&a.fog(&["--json", "run", &module]).unwrap());
    let invite: Invite = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async move { lie(Member::join(&invite).await, Lie::Unshown).await });
    let liar = || a.json(&["peers"]).ok()?.as_array()?.iter().find(|peer| peer["name"] == "mallory").cloned();
    wait_for("the liar", Duration::from_secs(30), || liar().filter(|peer| peer["slots"].as_u64() > Some(0)))
        .unwrap();
    let job = a.scratch().join("shown.toml");
    std::fs::write(
        &job,
        "version = 1\nmodule = \"long.wasm\"\nsegment = 1000000000\n[map]\nrange = [0, 16]\n",
    )
    .unwrap();
    let id = a
        .json(&[
            "submit",
            job.to_str().unwrap(),
            "--where",
            "grid",
            "--spot-checks",
            "50",
            "--prefer",
            "fast",
        ])
        .unwrap()["id"]
        .to_string();
    let show = || a.json(&["job", "show", &id]).unwrap();
    wait_for("the end of the job", Duration::from_secs(180), || {
        (show()["summary"]["state"] == "finished").then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:#}\n{:#}", show(), a.json(&["peers"]).unwrap()));
    let done = show();
    let lines =
        done["journal"].as_array().unwrap().iter().filter(|line| {
            line["detail"].as_str().is_some_and(|text| text.contains("could not be run again"))
        });
    let asked: Vec<u64> = lines.filter_map(|line| line["index"].as_u64()).collect();
    assert!(!asked.is_empty(), "the liar was not asked: {:#}", done["journal"]);
    for index in asked {
        let task = done["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .find(|task| task["index"].as_u64() == Some(index))
            .unwrap();
        assert_eq!(task["result_hash"].as_str(), Some(right.as_str()), "a lie was believed: {task:#}");
    }
    let reliability = liar().unwrap()["reliability"].as_u64().unwrap();
    assert!(reliability < 500, "{reliability}");
}

/// Serves one file with a piece every 100 ms; counts the pieces sent.
async fn serve_slowly(
    mut link: Link,
    size: u64,
    manifest: Manifest,
    piece: Vec<u8>,
    served: Arc<std::sync::atomic::AtomicU64>,
) {
    let Ok(bytes) = read_frame(&mut link.pipe, 256).await else { return };
    let Ok(request) = ContentRequest::decode(&bytes) else { return };
    let _ = write_frame(&mut link.pipe, &ContentReply::Here { size }.encode()).await;
    if request.from.is_none() {
        let _ = write_frame(&mut link.pipe, &manifest.to_bytes()).await;
        let _ = link.pipe.shutdown().await;
        return;
    }
    for _ in 0..request.count {
        // Every piece is the first one, so it is wrong from the second on, and each request asks for it
        // again.
        if write_frame(&mut link.pipe, &piece).await.is_err() {
            return;
        }
        served.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A requester that the test controls.
struct Asker {
    member: Member,
    shelf: Shelf,
    talk: Link,
    heard: tokio::sync::mpsc::Receiver<Message>,
}

impl Asker {
    async fn new(invite: &Invite) -> Self {
        let mut member = Member::join(invite).await;
        let shelf = Shelf::default();
        let talk = member.control().await;
        let (to, heard) = tokio::sync::mpsc::channel(64);
        let (spare, events) = tokio::sync::mpsc::channel(1);
        drop(spare);
        let mut events = std::mem::replace(&mut member.events, events);
        let shelved = shelf.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let NetEvent::Incoming(mut link) = event else { continue };
                if link.channel == Channel::Content {
                    tokio::spawn(serve(link, shelved.clone()));
                    continue;
                }
                let to = to.clone();
                tokio::spawn(async move {
                    while let Ok(bytes) = read_frame(&mut link.pipe, MAX_MESSAGE).await {
                        if let Ok(message) = Message::decode(&bytes) {
                            let _ = to.send(message).await;
                        }
                    }
                });
            }
        });
        Self { member, shelf, talk, heard }
    }

    async fn say(&mut self, message: &Message) {
        write_frame(&mut self.talk.pipe, &message.encode()).await.unwrap();
    }

    async fn until<T>(&mut self, mut pick: impl FnMut(Message) -> Option<T>) -> T {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(90), self.heard.recv())
                .await
                .expect("nothing is said")
                .unwrap();
            if let Some(found) = pick(message) {
                return found;
            }
        }
    }

    fn offer(&self, lease: u8, module: Content) -> TaskOffer {
        TaskOffer {
            lease: LeaseId([lease; 16]),
            requester: self.member.me.node(),
            worker: self.member.victim,
            file: JobFile::for_module("again", "module.wasm"),
            module,
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
}

#[test]
fn a_lease_is_taken_on_once() {
    let a = Bench::device("anna").unwrap();
    let invite: Invite = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().parse().unwrap();
    let module = std::fs::read(
        a.module("nothing.wasm", r#"(module (memory (export "memory") 1) (func (export "_start")))"#)
            .unwrap(),
    )
    .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut asker = Asker::new(&invite).await;
        let content = put(&asker.shelf, &module);
        let signed = asker.member.me.sign(&asker.offer(5, content));
        let offer = Message::Offer(Box::new(signed));
        asker.say(&offer).await;
        let result = asker
            .until(|message| if let Message::Result(signed) = message { Some(signed) } else { None })
            .await;
        let taken = result.open(asker.member.victim).unwrap();
        let receipt = Receipt {
            lease: taken.lease,
            requester: asker.member.me.node(),
            worker: asker.member.victim,
            result: result.hash(),
            units: taken.units,
            credit: 1,
            at_ms: 0,
        };
        let receipt = Message::Receipt(Box::new(asker.member.me.sign(&receipt)));
        asker.say(&receipt).await;
        asker.say(&offer).await;
        let again = asker
            .until(|message| {
                if let Message::Answer { answer: Answer::Declined(why), .. } = message {
                    Some(why)
                } else {
                    None
                }
            })
            .await;
        assert_eq!(again, Decline::Malformed);
    });
    assert_eq!(a.json(&["jobs"]).unwrap().as_array().unwrap().len(), 1, "{:#}", a.json(&["jobs"]).unwrap());
}

/// Expects a state that is impossible for its task not to be fetched: reading it would use any amount of
/// memory.
#[test]
fn a_state_beyond_its_task_is_declined() {
    let a = Bench::device("anna").unwrap();
    let invite: Invite = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().parse().unwrap();
    let module = std::fs::read(
        a.module("nothing.wasm", r#"(module (memory (export "memory") 1) (func (export "_start")))"#)
            .unwrap(),
    )
    .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut asker = Asker::new(&invite).await;
        let content = put(&asker.shelf, &module);
        let state = put(&asker.shelf, b"FOGCKPT1 and nothing else");
        let mut offer = asker.offer(5, content);
        offer.file.limits.memory = ByteCount::mib(2);
        offer.file.limits.disk = ByteCount(0);
        let most = offer.file.limits.state_size().0;
        offer.checkpoint = Some((1, Content { size: most + 1, ..state }));
        asker.say(&Message::Offer(Box::new(asker.member.me.sign(&offer)))).await;
        let why = asker
            .until(|message| {
                if let Message::Answer { answer: Answer::Declined(why), .. } = message {
                    Some(why)
                } else {
                    None
                }
            })
            .await;
        assert_eq!(why, Decline::Malformed);
        // A file that is no state makes the task begin anew, and costs this device nothing.
        let mut offer = asker.offer(6, content);
        offer.checkpoint = Some((1, state));
        asker.say(&Message::Offer(Box::new(asker.member.me.sign(&offer)))).await;
        asker.until(|message| if let Message::Result(signed) = message { Some(signed) } else { None }).await;
    });
    let left = |name: &str| std::fs::read_dir(a.data().join(name)).map_or(0, Iterator::count);
    assert_eq!((left("partial"), left("incoming")), (0, 0));
}

#[test]
fn what_is_not_wanted_any_more_is_not_fetched_any_further() {
    let a = Bench::device("anna").unwrap();
    let invite: Invite = a.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut member = Member::join(&invite).await;
        let mut talk = member.control().await;
        // Content of 25 MiB made of one piece, served slowly.
        let (count, open) = (100u64, vec![7u8; CHUNK]);
        let size = count * CHUNK as u64;
        let key = ContentKey([9; 32]);
        let (sealer, mut manifest, mut whole) =
            (Sealer::new(&key, size), Manifest::begin(size), blake3::Hasher::new());
        let mut first = Vec::new();
        for at in 0..count as u32 {
            let sealed = sealer.seal(at, &open).unwrap();
            manifest.add(&sealed);
            whole.update(&open);
            if at == 0 {
                first = sealed;
            }
        }
        let module = Content { id: manifest.id(), blob: BlobId(*whole.finalize().as_bytes()), size, key };
        let offer = TaskOffer {
            lease: LeaseId([6; 16]),
            requester: member.me.node(),
            worker: member.victim,
            file: JobFile::for_module("slow", "module.wasm"),
            module,
            stdin: None,
            inputs: Vec::new(),
            checkpoint: None,
            left_ms: u64::MAX,
            tags: Vec::new(),
            holders: Vec::new(),
            price_tenths: 10,
            has_bonus: false,
        };
        write_frame(&mut talk.pipe, &Message::Offer(Box::new(member.me.sign(&offer))).encode())
            .await
            .unwrap();
        let served = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (mut is_released, mut asked_after) = (false, 0);
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            let event = tokio::time::timeout(Duration::from_millis(200), member.events.recv()).await;
            if let Ok(Some(NetEvent::Incoming(link))) = event
                && link.channel == Channel::Content
            {
                asked_after += u64::from(is_released);
                tokio::spawn(serve_slowly(link, size, manifest.clone(), first.clone(), served.clone()));
            }
            if !is_released && served.load(std::sync::atomic::Ordering::Relaxed) > 2 {
                let release = Message::Release { lease: LeaseId([6; 16]), why: "not wanted".to_owned() };
                write_frame(&mut talk.pipe, &release.encode()).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
                // The answers to earlier requests have arrived by now.
                while member.events.try_recv().is_ok() {}
                is_released = true;
            }
            if is_released && begun.elapsed() > Duration::from_secs(15) {
                break;
            }
        }
        assert!(is_released, "nothing was fetched");
        assert_eq!(asked_after, 0, "it went on");
    });
}
