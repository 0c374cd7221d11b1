//! Many damaged inputs for every decoder that reads data of strangers: none may panic.
//!
//! Mutations of valid inputs from a fixed seed, without coverage guidance. `FOG_TEST_FULL` makes it a
//! million for each decoder.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_instrument::{Abilities, instrument};
use fog_runtime::{Checkpoint, FromWorker, ToWorker, accepted, decode_frame, validate};
use fog_tests::is_full;

/// SplitMix64 generator (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Applies one to eight changes: a byte replaced, inserted or removed, a span repeated or cut off.
fn damage(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            1 => bytes.insert(at, random.next() as u8),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 if bytes.len() < 4096 => {
                let span = bytes[at..(at + random.below(16)).min(bytes.len())].to_vec();
                bytes.splice(at..at, span);
            }
            _ if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
    bytes
}

fn attack(seeds: &[Vec<u8>], decode: impl Fn(&[u8])) {
    let rounds = if is_full() { 1_000_000 } else { 20_000 };
    let mut random = Random(1);
    for _ in 0..rounds {
        let seed = &seeds[random.below(seeds.len())];
        decode(&damage(seed, &mut random));
    }
}

#[test]
fn job_files() {
    let seeds = ["protein-search", "path-tracer", "lucas-lehmer"].map(|name| {
        std::fs::read(format!("{}/../examples/{name}/job.toml", env!("CARGO_MANIFEST_DIR"))).unwrap()
    });
    attack(&seeds, |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes)
            && let Ok(job) = fog_types::job::parse(text)
        {
            assert!(job.check().is_ok() && job.task_count() > 0);
            drop((job.args_of(0), job.env_of(job.task_count() - 1)));
        }
    });
}

#[test]
fn frames_of_front_ends() {
    let commands = [
        fog_api::Command::Snapshot,
        fog_api::Command::Duty(fog_api::DutyCommand::Why {
            with: vec![("battery".to_owned(), "3".to_owned())],
        }),
        fog_api::Command::Jobs(fog_api::JobCommand::Submit {
            job_file: "version = 1".to_owned(),
            folder: "/".to_owned(),
            grid: None,
            deadline_seconds: None,
        }),
        fog_api::Command::Jobs(fog_api::JobCommand::List(fog_api::JobQuery::default())),
    ];
    let seeds = commands.map(|command| fog_ipc::encode(&fog_api::Request::Call { id: 1, command }).unwrap());
    attack(&seeds, |bytes| drop(fog_ipc::decode::<fog_api::Request>(bytes)));
}

#[test]
fn messages_of_other_devices() {
    use fog_grid::{
        Answer, Capacity, Content, ContentId, ContentKey, GroupId, Hello, Identity, LeaseId, Message,
        TaskOffer, WorkerState,
    };
    let me = Identity::new(&[1; 32]);
    let lease = LeaseId([3; 16]);
    let content = Content {
        id: ContentId([1; 32]),
        blob: fog_types::BlobId([2; 32]),
        size: 5,
        key: ContentKey([4; 32]),
    };
    let offer = TaskOffer {
        lease,
        requester: me.node(),
        worker: me.node(),
        file: fog_types::job::JobFile::for_module("primes", "m.wasm"),
        module: content,
        stdin: None,
        inputs: Vec::new(),
        checkpoint: Some((7, content)),
        left_ms: 9,
        tags: vec!["maths".to_owned()],
        holders: vec![me.node()],
        price_tenths: 10,
        has_bonus: false,
    };
    let hello = Hello {
        version: 1,
        name: "anna".to_owned(),
        lan: true,
        open: false,
        groups: vec![(GroupId([5; 32]), [6; 32])],
        capacity: Capacity::default(),
        has_heard: true,
        clock_ms: 1 << 40,
    };
    let seeds = [
        Message::Hello(hello),
        Message::Offer(Box::new(me.sign(&offer))),
        Message::Answer { lease, answer: Answer::Accepted },
        Message::Heartbeat { lease, standing: WorkerState::Running, units: 5, permille: Some(3) },
        Message::Saved { lease, units: 9, content },
        Message::Failed { lease, problem: "x".to_owned(), is_hopeless: false },
        Message::Prove { lease, mark: 3 },
        Message::Proof { lease, mark: 3, state: Some(content) },
    ]
    .map(|message| message.encode());
    attack(&seeds, |bytes| {
        if let Ok(Message::Offer(signed)) = Message::decode(bytes)
            && let Ok(found) = signed.open(me.node())
        {
            // An altered offer has no valid signature.
            assert_eq!(found, offer);
        }
    });
}

#[test]
fn adverts_and_what_is_asked_for() {
    use fog_grid::{Advert, ContentId, ContentReply, ContentRequest, Group, Invite, Manifest};
    let (author, group) = (fog_types::NodeId([1; 32]), Group { name: "home".to_owned(), secret: [7; 32] });
    let seeds = [
        ContentRequest { id: ContentId([3; 32]), from: Some(4), count: 64 }.encode(),
        ContentReply::Here { size: 100 }.encode(),
        vec![7; 96],
        fog_types::NodeId([1; 32]).to_string().into_bytes(),
    ];
    attack(&seeds, |bytes| {
        drop(Advert::decode(bytes, author, None, &[0]));
        drop(Advert::decode(bytes, author, Some(&group), &[0]));
        drop(ContentRequest::decode(bytes));
        drop(ContentReply::decode(bytes));
        drop(Manifest::from_bytes(ContentId([0; 32]), 600_000, bytes));
        drop(fog_runtime::History::from_bytes(bytes));
        if let Ok(text) = std::str::from_utf8(bytes) {
            drop(text.parse::<Invite>());
            drop(text.parse::<fog_types::NodeId>());
        }
    });
}

/// Covers packets of people nearby: each decoder alone, and a node that receives all of them.
#[test]
fn packets_of_the_mesh() {
    use fog_bitchat::{
        Announce, Capabilities, Config, FilePacket, Filter, Fragment, Frame, Group, Identity, Inner, Kind,
        Letter, LinkId, MessageText, Node, Prekeys, Raw, SyncRequest, VoiceFrame, VoiceKind, member,
    };
    const NOW: u64 = 1_750_000_000_000;
    let (anna, ben) = (Identity::new([1; 32], [2; 32]), Identity::new([3; 32], [4; 32]));
    let announce = Announce {
        nickname: "anna".to_owned(),
        keys: anna.keys(),
        capabilities: Some(Capabilities::PRIVATE_MEDIA),
        ..Announce::default()
    };
    let text = MessageText { id: "m1".to_owned(), text: "hello".to_owned() };
    let file = FilePacket {
        name: "a.txt".to_owned(),
        mime: "application/octet-stream".to_owned(),
        content: vec![7; 300],
    };
    let request = SyncRequest {
        filter: Filter::of(&[[1; 16], [2; 16]]),
        kinds: Some(3),
        since: Some(5),
        fragments: vec![[9; 8]],
    };
    let voice =
        VoiceFrame { burst: [1; 8], sequence: 3, kind: VoiceKind::Audio(vec![vec![1; 20], vec![2; 30]]) };
    let letter = Letter::seal(&anna, &ben.keys().noise, None, &text, &[5; 32], NOW).unwrap();
    let group =
        Group::make(&anna, [7; 16], "hikers", [5; 32], 1, vec![member(&anna, "anna"), member(&ben, "ben")]);
    let piece = Fragment { id: [1; 8], index: 0, total: 2, inner: Kind::MESSAGE, data: vec![1; 50] };
    let payloads = [
        (Kind::ANNOUNCE, announce.encode().unwrap()),
        (Kind::MESSAGE, b"hello mesh, hello mesh, hello mesh, hello mesh, hello mesh, hello mesh, hello mesh, hello mesh, hello".to_vec()),
        (Kind::LEAVE, Vec::new()),
        (Kind::COURIER, letter.encode().unwrap()),
        (Kind::HANDSHAKE, vec![9; 32]),
        (Kind::ENCRYPTED, vec![0; 60]),
        (Kind::FRAGMENT, piece.encode()),
        (Kind::REQUEST_SYNC, request.encode().unwrap()),
        (Kind::FILE, file.encode().unwrap()),
        (Kind::PREKEYS, Prekeys::offer(&anna, vec![(1, ben.keys().noise)], NOW).encode().unwrap()),
        (Kind::PING, vec![1; 9]),
        (Kind::VOICE, voice.encode().unwrap()),
    ];
    let mut seeds: Vec<Vec<u8>> =
        payloads.iter().map(|(_, payload)| payload.clone()).filter(|payload| !payload.is_empty()).collect();
    seeds.extend(payloads.iter().map(|(kind, payload)| {
        Frame::new(*kind, anna.peer(), NOW, payload.clone()).compressed().signed(&anna).encode()
    }));
    seeds.extend(
        payloads.iter().map(|(kind, payload)| {
            Frame::new(*kind, anna.peer(), NOW, payload.clone()).to(ben.peer()).encode()
        }),
    );
    seeds.extend([
        Inner::Text(text).encode().unwrap(),
        Inner::File(file).encode().unwrap(),
        group.encode().unwrap(),
    ]);
    let mut node = Node::new(ben, Config { nickname: "ben".to_owned(), ..Config::default() }, [1; 32]);
    node.handle_link_up(LinkId(1), 512, NOW);
    node.handle_bytes(
        LinkId(1),
        &Frame::new(Kind::ANNOUNCE, anna.peer(), NOW, payloads[0].1.clone()).signed(&anna).encode(),
        NOW,
    );
    let node = std::cell::RefCell::new(node);
    let step = std::cell::Cell::new(NOW);
    attack(&seeds, |bytes| {
        if let Ok(raw) = Raw::decode(bytes) {
            // A decoded value is encoded to an equal one.
            assert_eq!(Frame::decode(&raw.frame.encode()).as_ref(), Ok(&raw.frame));
        }
        drop(Announce::decode(bytes));
        drop(Inner::decode(bytes));
        drop(FilePacket::decode(bytes));
        drop(Fragment::decode(bytes));
        let _ = SyncRequest::decode(bytes).map(|request| request.filter.lookup()(&[1; 16]));
        drop(VoiceFrame::decode(bytes));
        drop(Letter::decode(bytes));
        drop(Prekeys::decode(bytes));
        drop(Group::decode(bytes, anna.peer()));
        step.set(step.get() + 1);
        let (mut node, now) = (node.borrow_mut(), step.get());
        node.handle_bytes(LinkId(1), bytes, now);
        node.handle_timeout(now);
        while node.poll_transmit(now).is_some() || node.poll_event().is_some() {}
    });
}

/// Covers messages of Fog nodes inside a session, and sealed bundles.
#[test]
fn messages_that_are_carried() {
    use fog_mesh::{Bundle, Carrier, Effect, Quotas, Ratchet};
    const NOW: u64 = 1_790_000_000_000;
    let (anna, ben, cleo) = ([1; 8], [2; 8], [3; 8]);
    let (mut ours, mut theirs) = (Ratchet::new(), Ratchet::new());
    let card = theirs.card();
    assert!(ours.learn([2; 32], &card) && theirs.learn([1; 32], &ours.card()));
    let sealed = ours.seal(&[2; 32], b"hello").unwrap();
    // Messages of a carrier about a recipient that the other node may meet.
    let mut carrier = Carrier::new(anna, Quotas::default());
    let mut other = Carrier::new(ben, Quotas::default());
    other.handle_met(cleo, NOW);
    for to in [ben, cleo] {
        carrier.send(to, sealed.clone(), [9; 16], 3_600_000, NOW).unwrap();
    }
    carrier.handle_met(ben, NOW);
    other.handle_met(anna, NOW);
    let mut seeds = vec![card, sealed];
    loop {
        let said: Vec<(bool, Effect)> = std::iter::from_fn(|| {
            carrier
                .poll_effect()
                .map(|effect| (true, effect))
                .or_else(|| other.poll_effect().map(|effect| (false, effect)))
        })
        .collect();
        if said.is_empty() {
            break;
        }
        for (is_annas, effect) in said {
            match effect {
                Effect::Say { peer, bytes } => {
                    if is_annas && peer == ben {
                        other.handle_message(anna, &bytes, NOW);
                    } else if !is_annas && peer == anna {
                        carrier.handle_message(ben, &bytes, NOW);
                    }
                    seeds.push(bytes);
                }
                Effect::Arrived { id, .. } => drop(other.confirm(id, [9; 16])),
                _ => {}
            }
        }
    }
    seeds.extend([other.state(), seeds.iter().max_by_key(|seed| seed.len()).unwrap()[3..].to_vec()]);
    assert!(seeds.len() > 8, "summaries, a bundle, answers and receipts");
    let hears = std::cell::RefCell::new((other, theirs));
    let step = std::cell::Cell::new(NOW);
    attack(&seeds, |bytes| {
        step.set(step.get() + 1_000);
        let (mut both, now) = (hears.borrow_mut(), step.get());
        let (carrier, ratchet) = &mut *both;
        carrier.handle_message(anna, bytes, now);
        while carrier.poll_effect().is_some() {}
        drop(Bundle::decode(bytes));
        drop(ratchet.open(&[1; 32], bytes));
        ratchet.learn([4; 32], bytes);
        drop(Carrier::restore(ben, Quotas::default(), bytes));
    });
    let (carrier, _) = &*hears.borrow();
    assert!(carrier.state().len() < 9 << 20);
}

#[test]
fn frames_of_workers() {
    // Postcard by hand: the number of a variant, then its fields.
    let seeds = [
        vec![3],
        vec![4, 3, 1, 2, 3],
        vec![6, 10, 1, 5],
        vec![9, 1, b'a', 2, 0, 0],
        vec![10, 0, 0, 1, 1, 1, 1, 0, 0],
        vec![11, 1, 2, b'o', b'k'],
    ];
    attack(&seeds, |bytes| {
        drop(decode_frame::<FromWorker>(bytes));
        drop(decode_frame::<ToWorker>(bytes));
    });
}

#[test]
fn modules() {
    let wat = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32))) (memory (export "memory") 1) (table 4 funcref)
        (global (mut i64) (i64.const 1)) (data (i32.const 0) "abc") (elem (i32.const 0) 1)
        (func (export "_start") (local i32) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;
    let seeds = [wat::parse_str(wat).unwrap()];
    attack(&seeds, |bytes| {
        drop(validate(bytes));
        let rewritten = instrument(bytes, accepted(), Abilities::default());
        // A module can be instrumented exactly when it is valid.
        assert_eq!(rewritten.is_ok(), validate(bytes).is_ok());
    });
}

#[test]
fn checkpoints() {
    let seed = std::fs::read(format!("{}/fuzz/seeds/checkpoint.fog", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let whole = Checkpoint::parse(&seed).unwrap();
    let mut taken = 0;
    let mut random = Random(2);
    let rounds = if is_full() { 1_000_000 } else { 20_000 };
    for _ in 0..rounds {
        let bytes = damage(&seed, &mut random);
        if let Ok(found) = Checkpoint::parse(&bytes) {
            taken += 1;
            // An unaltered earlier generation is accepted; an altered one never.
            assert!(
                found.added <= whole.added && found.header.units <= whole.header.units,
                "{:?}",
                found.header
            );
            assert_eq!((&found.header.module, &found.files), (&whole.header.module, &whole.files));
            let begins = bytes.iter().zip(&seed).take_while(|(a, b)| a == b).count();
            assert!(
                begins == seed.len() || found.added < whole.added || bytes.len() > seed.len(),
                "an altered file was taken whole"
            );
        }
    }
    println!("{taken} of {rounds} fell back to what lies before the damage");
}
