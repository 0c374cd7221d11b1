//! Packets from a peer nearby: each decoder alone, and a node that receives all of them.
#![no_main]

use fog_bitchat::{
    Announce, Card, Config, FilePacket, Fragment, Frame, Group, Identity, Inner, Letter, LinkId, Node, PeerId, Prekeys, Raw, SyncRequest, VoiceFrame, notes_in,
};

const NOW: u64 = 1_750_000_000_000;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(raw) = Raw::decode(bytes) {
        // A decoded value is encoded to an equal one.
        assert_eq!(Frame::decode(&raw.frame.encode()).as_ref(), Ok(&raw.frame));
    }
    if let Ok(inner) = Inner::decode(bytes)
        && let Ok(written) = inner.encode()
        && !matches!(inner, Inner::Unknown(_))
    {
        assert_eq!(Inner::decode(&written), Ok(inner));
    }
    drop(Announce::decode(bytes));
    drop(FilePacket::decode(bytes));
    drop(Fragment::decode(bytes));
    let _ = SyncRequest::decode(bytes).map(|request| request.filter.lookup()(&[1; 16]));
    drop(VoiceFrame::decode(bytes));
    drop(Letter::decode(bytes));
    drop(Prekeys::decode(bytes));
    drop(Group::decode(bytes, PeerId([1; 8])));
    drop(notes_in(bytes));
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(Card::read(text, NOW / 1000));
    }
    let mut node = Node::new(Identity::new([3; 32], [4; 32]), Config::default(), [1; 32]);
    node.handle_link_up(LinkId(1), 512, NOW);
    // Several packets, each with a length before it.
    let mut rest = bytes;
    let mut now = NOW;
    while let [length, after @ ..] = rest {
        let (packet, after) = after.split_at(usize::from(*length).min(after.len()));
        node.handle_bytes(LinkId(1), packet, now);
        now += 1_000;
        node.handle_timeout(now);
        while node.poll_transmit(now).is_some() || node.poll_event().is_some() {}
        rest = after;
    }
});
