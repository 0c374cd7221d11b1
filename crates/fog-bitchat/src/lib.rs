//! The BitChat protocol as the two shipping apps speak it over Bluetooth LE.
//!
//! Frames, padding, compression, identities, announces, fragments, set reconciliation, Noise sessions and
//! the messages inside them, relaying. The crate does no I/O: time, randomness and received bytes come in
//! as arguments, and bytes to send and events come out as values. It knows no radio, no clock and no
//! storage.
//!
//! Everything that either app sends is accepted, and only what both apps accept is sent. Everything that a
//! peer can make this node keep or do is bounded.

mod announce;
mod board;
mod bytes;
mod command;
mod compress;
mod courier;
mod dedup;
mod file;
mod fragment;
mod frame;
mod group;
mod identity;
mod inner;
mod node;
mod padding;
mod qr;
mod relay;
mod session;
mod sync;
mod text;
mod transport;
mod voice;
mod vouch;

pub use announce::{Announce, Capabilities};
pub use board::{MAX_NOTE, MAX_NOTE_LIFE, Note};
pub use bytes::WireError;
pub use command::{COMMANDS, Command, CommandError, GroupVerb, hug, slap};
pub use courier::{Letter, Opened, Prekeys};
pub use dedup::Dedup;
pub use file::FilePacket;
pub use fragment::{Assembler, Fragment, MAX_FRAGMENT_DATA, split};
pub use frame::{Frame, FrameError, Kind, MAX_PAYLOAD, MAX_TTL, Raw};
pub use group::{Group, GroupText, MAX_NAME, Member, member};
pub use identity::{Identity, PeerId, PeerKeys, fingerprint_text};
pub use inner::{Inner, MessageText, PeerState, Verification};
pub use node::{
    BoardError, Config, Delivery, Event, GroupError, LinkId, MAX_GROUP_TEXT, MAX_GROUPS, MAX_MEMBERS,
    MAX_NOTES_OF_ONE, Node, Person, SayError, groups_in, notes_in, pieces,
};
pub use qr::{Card, CardError, card};
pub use relay::{Load, Relay, choose_links, decide};
pub use session::{SessionError, SessionEvent, Sessions};
pub use sync::{Filter, SyncRequest, packet_id};
pub use text::cut as cut_text;
pub use voice::{VoiceFrame, VoiceKind};
pub use vouch::Vouch;
