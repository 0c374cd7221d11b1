use proptest::prelude::*;

use super::*;
use crate::identity::tests::alice;

fn file(bytes: usize, at: u64) -> Frame {
    let payload = (0..bytes).map(|n| (n * 7 % 251) as u8 ^ (n / 251) as u8).collect();
    let mut frame = Frame::new(Kind::FILE, alice().peer(), at, payload);
    frame.version = 2;
    frame.signed(&alice())
}

fn fragments(frame: &Frame, limit: usize) -> Vec<Fragment> {
    let frames = split(frame, [3; 8], limit).unwrap();
    frames.iter().map(|one| Fragment::decode(one.payload()).unwrap()).collect()
}

fn is_hers(frame: &Frame) -> bool {
    frame.is_by(&alice().keys())
}

#[test]
fn the_vector() {
    let fragment = Fragment {
        id: [0, 1, 2, 3, 4, 5, 6, 7],
        index: 1,
        total: 3,
        inner: Kind::MESSAGE,
        data: vec![0xaa, 0xbb],
    };
    let bytes = data_encoding::HEXLOWER.decode(b"00010203040506070001000302aabb").unwrap();
    assert_eq!(fragment.encode(), bytes);
    assert_eq!(Fragment::decode(&bytes), Ok(fragment));
    assert_eq!(Fragment::decode(&bytes[..12]), Err(WireError::Short));
    // An index beyond the last fragment; a fragment of a fragment.
    for (place, byte) in [(9, 3), (12, 0x20)] {
        let mut wrong = bytes.clone();
        wrong[place] = byte;
        assert!(Fragment::decode(&wrong).is_err());
    }
}

#[test]
fn every_frame_fits_and_carries_what_the_packet_does() {
    for (limit, to) in [(512, None), (512, Some(PeerId([9; 8]))), (182, None), (244, Some(PeerId([9; 8])))] {
        let packet = Frame { recipient: to, ..file(20_000, 5) };
        let frames = split(&packet, [3; 8], limit).unwrap();
        for one in &frames {
            assert!(one.encode().len() <= limit);
            assert_eq!(
                (one.version, one.ttl, one.timestamp, one.recipient, one.signature),
                (1, 7, 5, to, None)
            );
        }
    }
    let small = Frame::new(Kind::MESSAGE, alice().peer(), 5, b"hi".to_vec());
    assert_eq!(split(&small, [3; 8], 512), Ok(vec![small]));
    assert!(split(&file(200_000, 5), [3; 8], 512).is_err());
    let routed = Frame {
        route: Some(vec![PeerId([1; 8]), PeerId([2; 8])]),
        recipient: Some(PeerId([9; 8])),
        ..file(3_000, 5)
    };
    for one in split(&routed, [3; 8], 512).unwrap() {
        assert!(one.version == 2 && one.route == routed.route && one.encode().len() <= 512);
    }
}

/// Some senders cut off the end of a long frame that looks like padding (bitchat-android#903): one in
/// sixteen signed packets loses a byte.
#[test]
fn what_a_sender_took_for_padding_is_added_again() {
    let cut = (0..).map(|at| file(600, at)).find(|frame| frame.encode().last() == Some(&1)).unwrap();
    let bytes = cut.encode();
    let data = bytes[..bytes.len() - 1].to_vec();
    let fragment = Fragment { id: [1; 8], index: 0, total: 1, inner: Kind::FILE, data };
    let raw = Assembler::default().handle(alice().peer(), fragment.clone(), 0, is_hers).unwrap();
    assert_eq!(raw.bytes(), bytes);
    // Only if the signature is valid.
    assert_eq!(Assembler::default().handle(alice().peer(), fragment, 0, |_| false), None);
}

#[test]
fn what_does_not_fit_together_is_not_put_together() {
    let pieces = fragments(&file(2_000, 1), 512);
    let mut assembler = Assembler::default();
    let mut other = pieces[1].clone();
    other.total += 1;
    assert_eq!(assembler.handle(alice().peer(), pieces[0].clone(), 0, is_hers), None);
    assert_eq!(assembler.handle(alice().peer(), other, 0, is_hers), None);
    // Fragments of another sender with the same id belong to another packet.
    for piece in &pieces[1..] {
        assert_eq!(assembler.handle(PeerId([8; 8]), piece.clone(), 0, is_hers), None);
    }
    let last = pieces[1..]
        .iter()
        .filter_map(|piece| assembler.handle(alice().peer(), piece.clone(), 0, is_hers))
        .count();
    assert_eq!(last, 1);
}

#[test]
fn a_flood_of_beginnings_keeps_to_its_bounds_and_to_its_sender() {
    let mut assembler = Assembler::default();
    let begin = |n: u64, size: usize| Fragment {
        id: n.to_be_bytes(),
        index: 0,
        total: 2,
        inner: Kind::FILE,
        data: vec![0; size],
    };
    let mut honest = fragments(&file(700, 1), 512);
    assembler.handle(alice().peer(), honest.remove(0), 0, is_hers);
    for n in 0..10_000 {
        assembler.handle(PeerId([6; 8]), begin(n, 60_000), n, is_hers);
        assert!(assembler.bytes() <= MAX_ALL && assembler.sets.len() <= MAX_SETS);
    }
    let whole = honest
        .into_iter()
        .filter_map(|piece| assembler.handle(alice().peer(), piece, 10_000, is_hers))
        .count();
    assert_eq!(whole, 1, "an honest sender's packet was pushed out");
    assembler.handle_timeout(60_000);
    assert_eq!((assembler.bytes(), assembler.sets.len()), (0, 0));
}

#[test]
fn a_stalled_packet_is_asked_for_now_and_then() {
    let mut assembler = Assembler::default();
    let pieces = fragments(&file(2_000, 1), 512);
    assembler.handle(alice().peer(), pieces[0].clone(), 0, is_hers);
    assert!(assembler.stalled(4_999).is_empty());
    assert_eq!(assembler.stalled(5_000), [[3; 8]]);
    assert!(assembler.stalled(14_999).is_empty());
    assert_eq!(assembler.stalled(15_000), [[3; 8]]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_order_and_any_repeats_give_the_packet_once(size in 500usize..9_000, limit in 100usize..512, seed in any::<u64>()) {
        let packet = file(size, seed);
        let pieces = fragments(&packet, limit);
        let mut order: Vec<usize> = (0..pieces.len()).chain(0..pieces.len() / 2).collect();
        order.sort_by_key(|n| (*n as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut assembler = Assembler::default();
        let mut whole = Vec::new();
        for n in order {
            whole.extend(assembler.handle(alice().peer(), pieces[n].clone(), 0, is_hers));
        }
        prop_assert_eq!(whole.len(), 1);
        prop_assert_eq!(whole[0].bytes(), packet.encode());
        prop_assert_eq!(whole[0].frame.ttl, 0);
    }

    #[test]
    fn no_payload_makes_it_panic(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..40)) {
        let mut assembler = Assembler::default();
        for payload in payloads {
            if let Ok(fragment) = Fragment::decode(&payload) {
                assembler.handle(PeerId([1; 8]), fragment, 0, |_| true);
            }
        }
    }
}
