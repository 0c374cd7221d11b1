//! Commands of the event loop to the chat thread, and the state with which it starts.

use fog_bitchat::{FilePacket, Member, PeerId, PeerKeys};
use fog_transport::PacketLink;

use crate::chat::clock::Moved;

/// Command of the event loop to the chat thread.
pub(crate) enum ServiceCommand {
    /// Send a text to everybody.
    SendToAll(String),
    /// Send a text to one person.
    SendText { to: PeerId, mid: String, text: String },
    /// Send a file to one person, or to everybody.
    SendFile { to: Option<PeerId>, mid: String, file: FilePacket },
    /// A private message is stored.
    ConfirmStored { from: PeerId, mid: String },
    /// A private message was read by the user.
    ConfirmRead { from: PeerId, mid: String },
    /// Measure the distance to a person.
    Ping(PeerId),
    /// Drop everything that waits for a person.
    DropOutbox(PeerId),
    /// Ask a person to prove possession of a scanned key.
    Verify { peer: PeerId, noise: [u8; 32] },
    /// Set the remembered keys of a person.
    Pin(PeerKeys),
    /// Set whether a person's letters are carried before those of others.
    SetFavourite(PeerId, bool),
    /// Set whether the user verified a person.
    SetVerified(PeerKeys, bool),
    /// Change groups or the board, and report both once that is done, with the number of the request.
    Change(u64, Change),
    /// Change the nickname.
    Rename(String),
    /// Send a text to a group.
    SendToGroup { group: [u8; 16], mid: String, text: String },
    /// The ratchet keys with this number are stored.
    RatchetStored(u64),
    /// A message from a bundle is stored, or cannot be.
    CarriedAnswered { bundle: [u8; 16], is_stored: bool },
    /// Use a new link over a network.
    Link(PacketLink),
    /// Switch Bluetooth on with this adapter, or off.
    Radio(Option<Option<String>>),
}

/// Change of groups or of the board.
pub(crate) enum Change {
    /// Pin a note to the board.
    Post { id: [u8; 16], text: String, is_urgent: bool, life: u64 },
    /// Remove a note of this device from the board.
    TakeDown([u8; 16]),
    /// Create a group.
    MakeGroup { id: [u8; 16], name: String, others: Vec<Member> },
    /// Add a member to a group.
    AddToGroup { group: [u8; 16], member: Member },
    /// Remove a member from a group.
    RemoveFromGroup { group: [u8; 16], peer: PeerId },
    /// Leave a group.
    LeaveGroup([u8; 16]),
}

/// A remembered person.
pub(crate) struct PinnedContact {
    pub(crate) keys: PeerKeys,
    pub(crate) is_favourite: bool,
    pub(crate) is_verified: bool,
}

/// State that was stored by an earlier run.
#[derive(Default)]
pub(crate) struct SavedState {
    /// Remembered people.
    pub(crate) known: Vec<PinnedContact>,
    /// Carried letters.
    pub(crate) letters: Vec<u8>,
    /// Groups with their keys.
    pub(crate) groups: Vec<u8>,
    /// Notes on the board.
    pub(crate) board: Vec<u8>,
    /// Carried bundles.
    pub(crate) bundles: Vec<u8>,
    /// State of the ratchet for the bundles; `key` is the key that seals it.
    pub(crate) ratchet: Vec<u8>,
    pub(crate) key: [u8; 32],
    /// Change of the calendar since the state was stored.
    pub(crate) moved: Moved,
}
