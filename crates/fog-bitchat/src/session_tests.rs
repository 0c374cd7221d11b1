use proptest::prelude::*;

use super::*;

fn identity(seed: u8) -> Identity {
    Identity::new([seed; 32], [seed.wrapping_add(100); 32])
}

/// Two devices; the first has the smaller id.
fn pair() -> (Sessions, Sessions) {
    let (a, b) = (identity(1), identity(2));
    if a.peer() < b.peer() {
        (Sessions::new(a), Sessions::new(b))
    } else {
        (Sessions::new(b), Sessions::new(a))
    }
}

fn sent(events: &[SessionEvent]) -> Vec<u8> {
    let message = events.iter().find_map(|event| {
        if let SessionEvent::Send(_, message) = event { Some(message.clone()) } else { None }
    });
    message.expect("a message to send")
}

/// Runs a whole handshake that `a` begins; `n` makes the ephemeral keys unique.
fn meet(a: &mut Sessions, b: &mut Sessions, n: u8, now: u64) {
    let first = sent(&[a.begin(b.me, &[n; 32], now).unwrap()]);
    assert_eq!(first.len(), FIRST);
    let second = sent(&b.handle(a.me, &first, &[n + 1; 32], now).unwrap());
    assert_eq!(second.len(), SECOND);
    let events = a.handle(b.me, &second, &[0; 32], now).unwrap();
    let third = sent(&events);
    assert_eq!(third.len(), THIRD);
    assert!(matches!(events[1], SessionEvent::Established { peer, .. } if peer == b.me));
    let events = b.handle(a.me, &third, &[0; 32], now).unwrap();
    assert!(
        matches!(&events[..], [SessionEvent::Established { noise, .. }] if *noise == a.identity.keys().noise)
    );
}

fn talk(a: &mut Sessions, b: &mut Sessions, now: u64) {
    let sealed = a.seal(b.me, b"there", now).unwrap();
    assert_eq!(b.open(a.me, &sealed, now), Ok(b"there".to_vec()));
    let sealed = b.seal(a.me, b"and back", now).unwrap();
    assert_eq!(a.open(b.me, &sealed, now), Ok(b"and back".to_vec()));
}

#[test]
fn two_meet_and_talk() {
    let (mut a, mut b) = pair();
    assert_eq!(a.seal(b.me, b"x", 0), Err(SessionError::None));
    meet(&mut a, &mut b, 10, 0);
    talk(&mut a, &mut b, 0);
    assert_eq!(a.noise_key(b.me), Some(b.identity.keys().noise));
    // A file, longer than one message of plain Noise may be.
    let long = vec![7; 300_000];
    let sealed = a.seal(b.me, &long, 0).unwrap();
    assert_eq!(b.open(a.me, &sealed, 0), Ok(long));
}

#[test]
fn when_both_begin_the_smaller_name_goes_on() {
    let (mut small, mut large) = pair();
    let from_small = sent(&[small.begin(large.me, &[1; 32], 0).unwrap()]);
    let from_large = sent(&[large.begin(small.me, &[2; 32], 0).unwrap()]);
    assert_eq!(small.handle(large.me, &from_large, &[3; 32], 0), Ok(Vec::new()));
    let second = sent(&large.handle(small.me, &from_small, &[4; 32], 0).unwrap());
    let third = sent(&small.handle(large.me, &second, &[0; 32], 0).unwrap());
    large.handle(small.me, &third, &[0; 32], 0).unwrap();
    talk(&mut small, &mut large, 0);
}

#[test]
fn a_session_goes_on_whatever_proves_nothing() {
    let (mut a, mut b) = pair();
    meet(&mut a, &mut b, 10, 0);
    // First, second and third messages that somebody made up.
    for n in 0..8 {
        b.handle(a.me, &[n; 32], &[n; 32], 0).ok();
        a.handle(b.me, &[n; 96], &[n; 32], 0).unwrap_err();
        b.handle(a.me, &[n; 64], &[n; 32], 0).unwrap_err();
        a.handle(b.me, &[n; 50], &[n; 32], 0).unwrap_err();
    }
    b.open(a.me, &[7; 40], 0).unwrap_err();
    talk(&mut a, &mut b, 0);
    // The other side begins again: the old session is used until the new one is complete, and still
    // decrypts for 20 s.
    let [late, too_late] = [b"late", b"more"].map(|text| a.seal(b.me, text, 0).unwrap());
    meet(&mut a, &mut b, 40, 1_000);
    talk(&mut a, &mut b, 1_000);
    assert_eq!(b.open(a.me, &late, 1_000), Ok(b"late".to_vec()));
    b.handle_timeout(20_999);
    let at_last = b.open(a.me, &too_late, 20_999);
    assert_eq!(at_last, Ok(b"more".to_vec()));
    let over = a.peers.get_mut(&b.me).unwrap().previous.as_mut().unwrap().0.send.seal(b"over").unwrap();
    b.handle_timeout(21_000);
    assert_eq!(b.open(a.me, &over, 21_000), Err(SessionError::Sealed));
}

#[test]
fn a_made_up_answer_does_not_break_a_handshake() {
    let (mut a, mut b) = pair();
    let first = sent(&[a.begin(b.me, &[1; 32], 0).unwrap()]);
    a.handle(b.me, &[9; 96], &[0; 32], 0).unwrap_err();
    let second = sent(&b.handle(a.me, &first, &[2; 32], 0).unwrap());
    b.handle(a.me, &[9; 64], &[0; 32], 0).unwrap_err();
    let third = sent(&a.handle(b.me, &second, &[0; 32], 0).unwrap());
    b.handle(a.me, &third, &[0; 32], 0).unwrap();
    talk(&mut a, &mut b, 0);
}

#[test]
fn somebody_else_s_key_is_not_this_peer() {
    let (mut a, b) = pair();
    let mut c = Sessions::new(identity(77));
    let first = sent(&[a.begin(b.me, &[1; 32], 0).unwrap()]);
    let second = sent(&c.handle(a.me, &first, &[2; 32], 0).unwrap());
    assert_eq!(a.handle(b.me, &second, &[0; 32], 0), Err(SessionError::Sealed));
    assert!(!a.has(b.me));
}

#[test]
fn a_beginning_that_nobody_answers_ends() {
    let (mut a, b) = pair();
    a.begin(b.me, &[1; 32], 0).unwrap();
    assert_eq!(a.begin(b.me, &[1; 32], 5), None);
    assert!(a.handle_timeout(9_999).is_empty());
    assert_eq!(a.handle_timeout(10_000), [SessionEvent::TimedOut(b.me)]);
    assert!(a.begin(b.me, &[2; 32], 10_001).is_some());
}

#[test]
fn beginnings_are_answered_only_so_often() {
    let (mut a, b) = pair();
    let answered = (0..20).filter(|n| a.handle(b.me, &[*n; 32], &[*n; 32], 0).is_ok()).count();
    assert_eq!(answered, OF_ONE);
    let others = (1..=100u8).filter(|n| a.handle(PeerId([*n; 8]), &[*n; 32], &[*n; 32], 0).is_ok()).count();
    assert_eq!(others, OF_ALL - OF_ONE);
    a.handle_timeout(MINUTE + 1);
    assert!(a.peers.is_empty(), "nothing of them is kept");
    assert!(a.handle(b.me, &[1; 32], &[1; 32], MINUTE + 1).is_ok());
}

#[test]
fn what_overtakes_the_last_message_of_a_handshake_is_read_after_it() {
    let (mut a, mut b) = pair();
    let first = sent(&[a.begin(b.me, &[1; 32], 0).unwrap()]);
    let second = sent(&b.handle(a.me, &first, &[2; 32], 0).unwrap());
    let third = sent(&a.handle(b.me, &second, &[0; 32], 0).unwrap());
    let hello = a.seal(b.me, b"hello", 0).unwrap();
    assert_eq!(b.open(a.me, &hello, 0), Err(SessionError::Early));
    let events = b.handle(a.me, &third, &[0; 32], 0).unwrap();
    let [SessionEvent::Established { early, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(early.len(), 1);
    assert_eq!(b.open(a.me, &early[0], 0), Ok(b"hello".to_vec()));
}

#[test]
fn an_old_session_is_to_be_renewed() {
    let (mut a, mut b) = pair();
    meet(&mut a, &mut b, 10, 0);
    assert!(a.to_renew(RENEW_AFTER).is_empty());
    assert_eq!(a.to_renew(RENEW_AFTER + 1), [b.me]);
}

#[test]
fn sessions_do_not_grow_without_end() {
    let mut a = Sessions::new(identity(1));
    for n in 0..600u32 {
        let mut secret = [3; 32];
        secret[..4].copy_from_slice(&n.to_be_bytes());
        let mut other = Sessions::new(Identity::new(secret, [9; 32]));
        let now = u64::from(n) * 10_000;
        a.handle_timeout(now);
        meet(&mut other, &mut a, 10, now);
    }
    assert!(a.peers.len() <= MAX_SESSIONS + 10, "{}", a.peers.len());
}

/// Transcripts of other implementations.
#[test]
fn the_cacophony_vectors() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../vectors/noise-xx.json")).unwrap();
    let hex = |value: &serde_json::Value| {
        data_encoding::HEXLOWER.decode(value.as_str().unwrap_or_default().as_bytes()).unwrap()
    };
    let mut checked = 0;
    for vector in vectors.as_array().unwrap() {
        let builder = |who: &str, is_initiator: bool| {
            let (prologue, secret, ephemeral) = (
                hex(&vector[format!("{who}_prologue")]),
                hex(&vector[format!("{who}_static")]),
                hex(&vector[format!("{who}_ephemeral")]),
            );
            let builder = Builder::new(PATTERN.parse().unwrap())
                .prologue(&prologue)
                .unwrap()
                .local_private_key(&secret)
                .unwrap();
            let builder = builder.fixed_ephemeral_key_for_testing_only(&ephemeral);
            if is_initiator { builder.build_initiator().unwrap() } else { builder.build_responder().unwrap() }
        };
        let (mut init, mut resp) = (builder("init", true), builder("resp", false));
        let messages = vector["messages"].as_array().unwrap();
        let mut buffer = vec![0; 1024];
        for (n, message) in messages[..3].iter().enumerate() {
            let (from, to) = if n % 2 == 0 { (&mut init, &mut resp) } else { (&mut resp, &mut init) };
            let length = from.write_message(&hex(&message["payload"]), &mut buffer).unwrap();
            assert_eq!(buffer[..length], hex(&message["ciphertext"]));
            let sent = buffer[..length].to_vec();
            let length = to.read_message(&sent, &mut buffer).unwrap();
            assert_eq!(buffer[..length], hex(&message["payload"]));
        }
        if vector["handshake_hash"].is_string() {
            assert_eq!(init.get_handshake_hash(), hex(&vector["handshake_hash"]));
        }
        let (first, second) = init.dangerously_get_raw_split();
        let mut ciphers = [Cipher::new(&second), Cipher::new(&first)];
        for (n, message) in messages[3..].iter().enumerate() {
            // The counter of the apps stands before the ciphertext of the vectors.
            assert_eq!(
                ciphers[n % 2].seal(&hex(&message["payload"])).unwrap()[4..],
                hex(&message["ciphertext"])
            );
            checked += 1;
        }
    }
    assert!(checked >= 4, "{checked} messages");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Despite any loss, repetition and reordering, both sides share a session once messages get through
    /// again.
    #[test]
    fn two_devices_meet_in_the_end(losses in proptest::collection::vec(0u8..4, 0..40), begins in proptest::collection::vec(any::<bool>(), 1..4)) {
        let (mut a, mut b) = pair();
        let mut air: Vec<(bool, Vec<u8>)> = Vec::new();
        let mut losses = losses.into_iter();
        let mut n = 1u8;
        let mut now = 0;
        for to_b in begins.into_iter().chain([true]) {
            now += 11_000;
            a.handle_timeout(now);
            b.handle_timeout(now);
            let (from, to) = if to_b { (&mut a, b.me) } else { (&mut b, a.me) };
            n += 1;
            if let Some(SessionEvent::Send(_, message)) = from.begin(to, &[n; 32], now) {
                air.push((to_b, message));
            }
            while let Some((to_b, message)) = air.pop() {
                let copies = match losses.next() { Some(0) => 0, Some(1) => 2, _ => 1 };
                for _ in 0..copies {
                    let (to, from) = if to_b { (&mut b, a.me) } else { (&mut a, b.me) };
                    n = n.wrapping_add(1);
                    for event in to.handle(from, &message, &[n; 32], now).unwrap_or_default() {
                        if let SessionEvent::Send(_, message) = event {
                            air.insert(0, (!to_b, message));
                        }
                    }
                }
            }
        }
        now += 30_000;
        a.handle_timeout(now);
        b.handle_timeout(now);
        meet(&mut a, &mut b, 200, now);
        talk(&mut a, &mut b, now);
    }
}
