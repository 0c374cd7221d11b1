use proptest::prelude::*;

use super::*;

const KEY: [u8; 32] = [9; 32];
const A: [u8; 32] = [1; 32];
const B: [u8; 32] = [2; 32];
const C: [u8; 32] = [3; 32];

/// Two nodes that have met.
fn pair() -> (Ratchet, Ratchet) {
    let (mut a, mut b) = (Ratchet::new(), Ratchet::new());
    meet(&mut a, &mut b);
    (a, b)
}

fn meet(a: &mut Ratchet, b: &mut Ratchet) {
    let (of_a, of_b) = (a.card(), b.card());
    assert!(a.learn(B, &of_b) && b.learn(A, &of_a));
}

#[test]
fn both_write_and_read() {
    let (mut a, mut b) = pair();
    for round in 0..5u8 {
        let sealed = a.seal(&B, &[round; 10]).unwrap();
        assert_eq!(b.open(&A, &sealed), Ok(vec![round; 10]));
        let sealed = b.seal(&A, &[round, 7]).unwrap();
        assert_eq!(a.open(&B, &sealed), Ok(vec![round, 7]));
    }
    assert_eq!((a.peers[&B].sessions.len(), b.peers[&A].sessions.len()), (1, 1));
    assert_eq!(a.issued.len(), KEYS, "b answered and used none of a's keys");
    let longest = a.seal(&B, &vec![1; MAX_PLAINTEXT]).unwrap();
    assert!(longest.len() <= MAX_PAYLOAD && b.open(&A, &longest).is_ok());
    assert!(a.seal(&B, &vec![1; MAX_PLAINTEXT + 1]).is_none());
}

#[test]
fn both_write_first() {
    let (mut a, mut b) = pair();
    let (to_b, to_a) = (a.seal(&B, b"from a").unwrap(), b.seal(&A, b"from b").unwrap());
    assert_eq!((a.open(&B, &to_a), b.open(&A, &to_b)), (Ok(b"from b".to_vec()), Ok(b"from a".to_vec())));
    assert_eq!((a.issued.len(), a.account.stored_one_time_key_count()), (KEYS - 1, KEYS - 1));
    for _ in 0..3 {
        let (to_b, to_a) = (a.seal(&B, b"more").unwrap(), b.seal(&A, b"more").unwrap());
        assert!(a.open(&B, &to_a).is_ok() && b.open(&A, &to_b).is_ok());
    }
}

#[test]
fn order_and_losses_do_not_matter() {
    let (mut a, mut b) = pair();
    let sealed: Vec<Vec<u8>> = (0..10u8).map(|n| a.seal(&B, &[n]).unwrap()).collect();
    for n in [7, 2, 9, 0, 5] {
        assert_eq!(b.open(&A, &sealed[n]), Ok(vec![n as u8]));
    }
    // Three messages never arrive; the early ones can still be opened after an answer and a meeting.
    let answer = b.seal(&A, b"answer").unwrap();
    assert!(a.open(&B, &answer).is_ok());
    let next = a.seal(&B, b"next").unwrap();
    meet(&mut a, &mut b);
    let after = a.seal(&B, b"after the meeting").unwrap();
    for (sealed, expected) in
        [(&after, &b"after the meeting"[..]), (&next, b"next"), (&sealed[1], &[1]), (&sealed[8], &[8])]
    {
        assert_eq!(b.open(&A, sealed).as_deref(), Ok(expected));
    }
}

#[test]
fn each_message_opens_once() {
    let (mut a, mut b) = pair();
    let first = a.seal(&B, b"first").unwrap();
    let second = a.seal(&B, b"second").unwrap();
    for sealed in [&second, &first] {
        assert!(b.open(&A, sealed).is_ok());
        assert_eq!(b.open(&A, sealed), Err(OpenError::NoKey));
    }
    let answer = b.seal(&A, b"answer").unwrap();
    assert!(a.open(&B, &answer).is_ok());
    assert_eq!(a.open(&B, &answer), Err(OpenError::NoKey));
    let version = b.version();
    assert!(b.open(&A, &first).is_err() && b.version() == version, "what does not open changes nothing");
}

#[test]
fn a_first_message_by_the_fallback_key_opens_once_though_its_session_is_gone() {
    let (mut a, mut b) = pair();
    let card = b.card();
    let mut sealed = Vec::new();
    // The card has no one-time keys, and each message begins a new session.
    for n in 0..8u8 {
        assert!(a.learn(B, &card));
        a.peers.get_mut(&B).unwrap().card.once.clear();
        sealed.push(a.seal(&B, &[n]).unwrap());
        assert_eq!(b.open(&A, sealed.last().unwrap()), Ok(vec![n]));
    }
    assert_eq!(b.peers[&A].sessions.len(), SESSIONS_OF_PEER);
    let b = &mut Ratchet::restore(&KEY, &b.state(&KEY)).unwrap();
    assert!(sealed.iter().all(|sealed| b.open(&A, sealed) == Err(OpenError::NoKey)));
    // After one rotation the message still opens, after two it does not.
    for expected in [true, false] {
        assert!(a.learn(B, &card));
        a.peers.get_mut(&B).unwrap().card.once.clear();
        let sealed = a.seal(&B, b"late").unwrap();
        b.rotate();
        assert_eq!(b.open(&A, &sealed).is_ok(), expected);
    }
}

#[test]
fn who_lost_everything_is_written_to_again_after_a_meeting() {
    let (mut a, mut b) = pair();
    let sealed = a.seal(&B, b"hello").unwrap();
    assert!(b.open(&A, &sealed).is_ok());
    let answer = b.seal(&A, b"hello").unwrap();
    assert!(a.open(&B, &answer).is_ok());
    let from_before = b.seal(&A, b"by keys that are given up").unwrap();
    let mut b = Ratchet::new();
    let lost = a.seal(&B, b"lost").unwrap();
    assert_eq!(b.open(&A, &lost), Err(OpenError::Stranger));
    meet(&mut a, &mut b);
    assert_eq!(b.open(&A, &lost), Err(OpenError::NoKey));
    assert_eq!(a.open(&B, &from_before), Err(OpenError::NoKey), "their keys of before count no more");
    let sealed = a.seal(&B, b"again").unwrap();
    assert_eq!(b.open(&A, &sealed), Ok(b"again".to_vec()));
    // The same when only sessions were lost.
    let old = b.state(&KEY);
    meet(&mut a, &mut b);
    let sealed = a.seal(&B, b"more").unwrap();
    assert!(b.open(&A, &sealed).is_ok());
    let mut b = Ratchet::restore(&KEY, &old).unwrap();
    meet(&mut a, &mut b);
    let sealed = a.seal(&B, b"again").unwrap();
    assert_eq!(b.open(&A, &sealed), Ok(b"again".to_vec()));
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let (mut a, mut b) = pair();
    let early = a.seal(&B, b"early").unwrap();
    for n in 0..4u8 {
        let version = a.version();
        let sealed = a.seal(&B, &[n]).unwrap();
        assert!(a.version() > version);
        a = Ratchet::restore(&KEY, &a.state(&KEY)).unwrap();
        b = Ratchet::restore(&KEY, &b.state(&KEY)).unwrap();
        assert_eq!(b.open(&A, &sealed), Ok(vec![n]));
        b = Ratchet::restore(&KEY, &b.state(&KEY)).unwrap();
        assert_eq!(b.open(&A, &sealed), Err(OpenError::NoKey));
        let answer = b.seal(&A, b"answer").unwrap();
        assert!(a.open(&B, &answer).is_ok());
    }
    assert!(b.open(&A, &early).is_ok());
    assert_eq!(a.state(&KEY), a.state(&KEY));
    assert!(a.state(&KEY) != a.state(&[8; 32]));
    assert_eq!(Ratchet::restore(&[8; 32], &a.state(&KEY)).err(), Some(RestoreError::Closed));
}

#[test]
fn a_third_party_opens_nothing_and_passes_for_nobody() {
    let (mut a, mut b) = pair();
    let mut c = Ratchet::new();
    let (of_a, of_b, of_c) = (a.card(), b.card(), c.card());
    assert!(c.learn(A, &of_a) && c.learn(B, &of_b) && b.learn(C, &of_c));
    let sealed = a.seal(&B, b"for b").unwrap();
    assert!(c.open(&A, &sealed).is_err());
    // C writes to B in the name of A.
    let forged = c.seal(&B, b"i am a").unwrap();
    assert_eq!(b.open(&A, &forged), Err(OpenError::Stranger));
    assert_eq!(b.open(&[4; 32], &forged), Err(OpenError::Stranger));
    assert_eq!(b.open(&C, &sealed), Err(OpenError::Stranger));
    assert!(b.open(&A, &sealed).is_ok() && b.open(&C, &forged).is_ok(), "what was refused is not used up");
}

#[test]
fn nothing_is_sealed_without_a_card() {
    let mut a = Ratchet::new();
    assert!(a.seal(&B, b"hello").is_none() && !a.knows(&B));
    let own = a.card();
    assert!(!a.learn(B, &own) && !a.learn(B, &own[..own.len() - 1]) && !a.learn(B, &[]));
    // Keys of small order, which give no shared secret.
    let bad = Card { identity: [0; 32], fallback: [0; 32], once: vec![[0; 32]] }.encode();
    assert!(a.learn(B, &bad) && a.seal(&B, b"hello").is_none());
    assert!(!a.learn(
        B,
        &Card { identity: [1; 32], fallback: [2; 32], once: vec![[3; 32]; MAX_KEYS + 1] }.encode()
    ));
}

#[test]
fn the_least_used_go_when_there_are_too_many() {
    let mut a = Ratchet::new();
    let card = Ratchet::new().card();
    let name = |n: usize| std::array::from_fn(|at| if at < 2 { (n >> (8 * at)) as u8 } else { 5 });
    for n in 0..PEERS {
        assert!(a.learn(name(n), &card) && a.seal(&name(n), b"hello").is_some());
    }
    assert!(a.seal(&name(0), b"hello").is_some());
    assert!(a.learn(B, &card) && a.seal(&B, b"hello").is_some());
    assert_eq!(
        (a.peers.len(), a.knows(&name(0)), a.knows(&name(1)), a.knows(&name(2))),
        (PEERS, true, false, true)
    );
    // A second session with one peer drops one of the peer that was unused longest.
    assert!(a.learn(name(0), &card) && a.seal(&name(0), b"hello").is_some());
    let sessions = |of: usize| a.peers[&name(of)].sessions.len();
    assert_eq!((sessions(0), sessions(2), sessions(3)), (2, 0, 1));
    assert_eq!(a.peers.values().map(|peer| peer.sessions.len()).sum::<usize>(), SESSIONS);
    (0..ISSUED).for_each(|_| drop(a.card()));
    assert_eq!((a.issued.len(), a.account.stored_one_time_key_count()), (ISSUED, ISSUED));
}

#[test]
fn damage_opens_nothing() {
    let (mut a, mut b) = pair();
    let first = a.seal(&B, b"hello").unwrap();
    every_damage_is_refused(&mut b, &A, &first);
    assert!(b.open(&A, &first).is_ok());
    let answer = b.seal(&A, b"hello").unwrap();
    every_damage_is_refused(&mut a, &B, &answer);
    assert!(a.open(&B, &answer).is_ok());
    // An opened message with any bit changed is not another message, with a one-time key or the fallback
    // key.
    every_damage_is_refused(&mut b, &A, &first);
    let card = b.card();
    assert!(a.learn(B, &card));
    a.peers.get_mut(&B).unwrap().card.once.clear();
    let first = a.seal(&B, b"hello").unwrap();
    assert!(b.open(&A, &first).is_ok());
    every_damage_is_refused(&mut b, &A, &first);
}

fn every_damage_is_refused(of: &mut Ratchet, peer: &[u8; 32], sealed: &[u8]) {
    for at in 0..sealed.len() {
        assert!(of.open(peer, &sealed[..at]).is_err());
        for bit in 0..8 {
            let mut damaged = sealed.to_vec();
            damaged[at] ^= 1 << bit;
            assert!(of.open(peer, &damaged).is_err(), "byte {at}, bit {bit}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..3) {
        let (mut a, _) = pair();
        let versioned = [&[VERSION, kind, 3], &bytes[..]].concat();
        for bytes in [&bytes, &versioned] {
            prop_assert!(a.open(&B, bytes).is_err());
            let _ = a.learn(C, bytes);
            let _ = a.seal(&C, b"hello");
            prop_assert!(Ratchet::restore(&KEY, bytes).is_err());
        }
        let state = a.state(&KEY);
        prop_assert!(Ratchet::restore(&KEY, &state[..bytes.len()]).is_err());
    }
}
