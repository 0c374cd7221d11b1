use proptest::prelude::*;

use super::*;
use crate::Announce;
use crate::identity::tests::alice;

fn unhex(text: &str) -> Vec<u8> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

const AT: u64 = 1_750_000_000_123;

#[test]
fn an_unsigned_packet_has_the_bytes_of_the_vector() {
    let frame = Frame::new(
        Kind::MESSAGE,
        PeerId([0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17]),
        0x0102_0304_0506_0708,
        vec![0xaa, 0xbb, 0xcc],
    );
    let bytes = unhex("01020701020304050607080000031011121314151617aabbcc");
    assert_eq!(frame.encode(), bytes);
    assert_eq!(Frame::decode(&bytes), Ok(frame));
}

#[test]
fn a_routed_and_signed_packet_has_the_bytes_of_the_vector() {
    let bytes = unhex(&format!(
        "021105000000000000002a0b00000002 0102030405060708 1112131415161718 02 2122232425262728 3132333435363738 dead {}",
        "5a".repeat(64)
    ));
    let raw = Raw::decode(&bytes).unwrap();
    let frame = &raw.frame;
    assert_eq!((frame.version, frame.kind, frame.ttl, frame.timestamp), (2, Kind::ENCRYPTED, 5, 42));
    assert_eq!(frame.recipient.unwrap().to_string(), "1112131415161718");
    assert_eq!(
        frame.route.as_ref().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["2122232425262728", "3132333435363738"]
    );
    assert_eq!((frame.payload(), frame.signature), ([0xde, 0xad].as_slice(), Some([0x5a; 64])));
    assert_eq!(raw.bytes(), bytes);
    assert_eq!(padding::unpad(&frame.encode()), bytes);
    // Relayed: only the TTL byte differs.
    let next = raw.with_ttl(4);
    assert_eq!((next[2], &next[3..bytes.len()]), (4, &bytes[3..]));
}

#[test]
fn the_announce_of_the_worked_example() {
    let announce = Announce {
        nickname: "alice".to_owned(),
        keys: alice().keys(),
        capabilities: Some(crate::Capabilities::PRIVATE_MEDIA),
        ..Announce::default()
    };
    let payload = announce.encode().unwrap();
    assert_eq!(payload.len(), 79);
    let frame = Frame::new(Kind::ANNOUNCE, alice().peer(), AT, payload).signed(&alice());
    let preimage = frame.preimage();
    assert_eq!((preimage.len(), preimage[100], preimage[101], preimage[255]), (256, 0x01, 0x9b, 0x9b));
    let bytes = unhex(
        "010107000001977420dc7b02004faaa8fff703b50b220105616c696365022007a37cbc142093c8b755dc1b10e86c
         b426374ad16aa853ed0bdfc0b2b86d1c7c0320e7f162a10bec559afea195e4dce84b69568d5d2cb0963eb446c068
         5e2b17f2f005020001a18db7aa611e487927c2f6707d766c442989f52943eed63d1a74b14aeab3b6da08c9613bb0
         1c600e0d07005c44d3230c526f42595ca49c165303271adc355a00",
    );
    assert_eq!(frame.encode(), bytes);
    assert!(Frame::decode(&bytes).unwrap().is_by(&alice().keys()));
}

#[test]
fn the_message_of_the_worked_example_and_what_its_signature_covers() {
    let frame = Frame::new(Kind::MESSAGE, alice().peer(), AT, b"hello mesh".to_vec()).signed(&alice());
    let bytes = unhex(
        "010207000001977420dc7b02000aaaa8fff703b50b2268656c6c6f206d65736898613c09cfbe390954671b6cea0f
         176f23143810e60b5202fb1b1c9825ed124fb4cbcdb5f48fd7dce5c2b31a0d69a1a5fbb918e15dea4736afb0e887
         5cb7040d",
    );
    assert_eq!(frame.encode(), bytes);
    let keys = alice().keys();
    let mut passed_on = Frame::decode(&bytes).unwrap();
    (passed_on.ttl, passed_on.is_requested) = (1, true);
    assert!(passed_on.is_by(&keys));
    for change in [
        |f: &mut Frame| f.timestamp += 1,
        |f: &mut Frame| f.recipient = Some(PeerId::EVERYBODY),
        |f: &mut Frame| f.kind = Kind::LEAVE,
    ] {
        let mut changed = frame.clone();
        change(&mut changed);
        assert!(!changed.is_by(&keys));
    }
    assert!(!Frame { signature: None, ..frame }.is_by(&keys));
}

#[test]
fn a_signature_is_found_in_each_form_the_payload_may_have_had() {
    let text = "the same words again and the same words again ".repeat(6).into_bytes();
    let keys = alice().keys();
    let open = Frame::new(Kind::MESSAGE, alice().peer(), AT, text.clone()).signed(&alice());
    let packed = Frame::new(Kind::MESSAGE, alice().peer(), AT, text.clone()).compressed().signed(&alice());
    assert!(packed.encode().len() < open.encode().len());
    let read = Frame::decode(&packed.encode()).unwrap();
    assert_eq!(read.payload(), text);
    assert!(read.is_by(&keys));
    // A relay compressed with another encoder; the signature covers zlib's bytes or the open payload.
    let mut other = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(0));
    std::io::Write::write_all(&mut other, &text).unwrap();
    let other = other.finish().unwrap();
    assert_ne!(Some(&other), packed.body.packed.as_ref());
    for signature in [open.signature, packed.signature] {
        let relayed = Frame {
            body: Body { open: text.clone(), packed: Some(other.clone()) },
            signature,
            ..packed.clone()
        };
        assert!(Frame::decode(&relayed.encode()).unwrap().is_by(&keys));
    }
}

#[test]
fn an_answer_to_a_request_is_marked_and_still_verifies() {
    let frame = Frame::new(Kind::MESSAGE, alice().peer(), AT, b"kept".to_vec()).signed(&alice());
    let answer = Frame::decode(&Raw::decode(&frame.encode()).unwrap().as_answer()).unwrap();
    assert!(answer.is_requested && answer.ttl == 0 && answer.is_by(&alice().keys()));
}

#[test]
fn what_is_not_a_packet_is_refused_with_the_reason() {
    let frame = Frame::new(Kind::MESSAGE, alice().peer(), AT, b"hello".to_vec()).signed(&alice());
    let bytes = frame.encode();
    for length in 0..bytes.len() {
        assert!(matches!(Frame::decode(&bytes[..length]), Err(FrameError::Short)), "{length}");
    }
    assert_eq!(Frame::decode(&[3; 40]), Err(FrameError::Version(3)));
    let mut long = unhex("0222070102030405060708 00 00130000 1011121314151617");
    long.resize(2000, 0);
    assert_eq!(Frame::decode(&long), Err(FrameError::TooLong(0x0013_0000)));
    // Compressed payloads: an empty one, and one of another size than stated.
    assert_eq!(
        Frame::decode(&unhex("01020701020304050607080400021011121314151617 0005")),
        Err(FrameError::Compression)
    );
    assert_eq!(
        Frame::decode(&unhex("010207010203040506070804000410111213141516170005 0300")),
        Err(FrameError::Compression)
    );
}

#[test]
fn the_route_flag_means_nothing_in_version_1() {
    let frame = Frame::decode(&unhex("01020701020304050607080800031011121314151617aabbcc")).unwrap();
    assert_eq!((frame.route.as_ref(), frame.payload()), (None, [0xaa, 0xbb, 0xcc].as_slice()));
}

fn frames() -> impl Strategy<Value = Frame> {
    let route = proptest::option::of(proptest::collection::vec(any::<[u8; 8]>().prop_map(PeerId), 0..6));
    let head = (
        1u8..=2,
        any::<u8>(),
        0u8..=7,
        any::<u64>(),
        any::<[u8; 8]>(),
        proptest::option::of(any::<[u8; 8]>()),
        route,
    );
    let rest = (proptest::collection::vec(0u8..20, 0..700), any::<bool>(), any::<bool>(), any::<bool>());
    (head, rest).prop_map(
        |((version, kind, ttl, at, sender, recipient, route), (payload, packed, signed, is_requested))| {
            let mut frame = Frame::new(Kind(kind), PeerId(sender), at, payload);
            (frame.version, frame.ttl, frame.recipient, frame.is_requested) =
                (version, ttl, recipient.map(PeerId), is_requested);
            frame.route = route.filter(|_| version == 2);
            if packed {
                frame = frame.compressed();
            }
            if signed { frame.signed(&alice()) } else { frame }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_packet_comes_back_as_it_was(frame in frames()) {
        let read = Frame::decode(&frame.encode()).unwrap();
        prop_assert_eq!(&read, &frame);
        prop_assert_eq!(read.is_by(&alice().keys()), frame.signature.is_some());
        let raw = Raw::decode(&frame.encode()).unwrap();
        prop_assert_eq!(Frame::decode(&raw.with_ttl(frame.ttl)), Ok(frame));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Raw::decode(&bytes);
    }
}
