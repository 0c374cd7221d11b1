//! Chat: who this device is in the BitChat mesh, whom it knows, and the thread that speaks.
//!
//! The state lives here; what follows from events is in `core/{hearing,chatting,knowing,posting,grouping,pinging}.rs`.

mod clock;
pub(crate) mod driver;
mod fellows;
mod moving;
mod names;
mod vault;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Instant;

use fog_api::{ApiError, MessageState, PersonView, RadioView, Reply};
use fog_bitchat::{Delivery, PeerId, PeerKeys};
use fog_ble::PhoneRadio;
use fog_types::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

pub(crate) use clock::Moved;
pub(crate) use driver::{Acquaintance, Driver, Order, Restored};
pub(crate) use fellows::Parcel;
pub(crate) use moving::{Luggage, MIN_PASSPHRASE};
pub(crate) use names::Names;
pub(crate) use vault::{Secrets, Vault};

/// How the engine was told to use Bluetooth, beside what its settings say.
#[derive(Debug, Clone, Default)]
pub struct ChatSettings {
    /// Use it although the settings do not say so.
    pub bluetooth: bool,
    /// The adapter instead of the setting: `hci0`.
    pub adapter: Option<String>,
    /// The radio of a phone, which only the shell around the engine reaches.
    pub phone: Option<Arc<dyn PhoneRadio>>,
}

/// What the thread that speaks says to the loop.
pub(crate) enum ChatNews {
    /// The protocol says something.
    Event(fog_bitchat::Event),
    /// Somebody is there, or is reached in another way.
    Person(fog_bitchat::Person, fog_api::PersonLink),
    /// Something private was not taken.
    Refused { to: PeerId, mid: String, why: fog_bitchat::SayError },
    /// Bluetooth.
    Radio(RadioView),
    /// Letters that are carried for others.
    Mail { state: Vec<u8>, letters: u32 },
    /// Groups, with their keys.
    Groups(Vec<u8>),
    /// Notes on the board.
    Board(Vec<u8>),
    /// Bundles that are carried, so many of them for others.
    Bundles { state: Vec<u8>, carried: u32 },
    /// Keys for what others carry, to be stored before anything that they sealed leaves.
    Ratchet { turn: u64, state: Vec<u8> },
    /// A message that others carried.
    Parcel(Box<Parcel>),
}

/// What is sealed in a message's row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body {
    /// A peer id; empty for this device.
    pub(crate) from: String,
    /// What they called themselves.
    pub(crate) name: String,
    pub(crate) text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<fog_api::ChatFileView>,
    /// When, in milliseconds since 1970 by its author's clock, if that was off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stated_ms: Option<i64>,
}

/// What is sealed in a person's row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) nickname: String,
    pub(crate) noise: [u8; 32],
    pub(crate) signing: [u8; 32],
    pub(crate) is_verified: bool,
    pub(crate) is_favourite: bool,
    pub(crate) is_blocked: bool,
}

/// Somebody, while the engine runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) view: PersonView,
    pub(crate) keys: Option<PeerKeys>,
    pub(crate) stored: Option<(Remembered, Instant)>,
}

/// What somebody whom the user verified said of somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Word {
    /// Whose keys they verified: the fingerprint, and the signing key.
    pub(crate) fingerprint: String,
    pub(crate) signing: [u8; 32],
    /// Until when it counts, milliseconds since 1970.
    pub(crate) until: u64,
}

/// Links to one device over a network.
pub(crate) struct Linked {
    /// When one was last opened, or tried.
    pub(crate) at: Instant,
    /// What lives as long as each link does, and ends it when told; the oldest first.
    pub(crate) links: VecDeque<Weak<Notify>>,
}

/// Somebody who asked how far away a person is.
pub(crate) struct Asker {
    pub(crate) whom: PeerId,
    /// They want to know the way as well.
    pub(crate) is_trace: bool,
    pub(crate) answer: oneshot::Sender<Result<Reply, ApiError>>,
}

#[derive(Default)]
pub(crate) struct Chat {
    /// Something changed since it was last told.
    pub(crate) is_view_due: bool,
    pub(crate) vault: Option<Vault>,
    pub(crate) driver: Option<Driver>,
    /// What the running driver was told to use.
    pub(crate) told: (String, Option<Option<String>>),
    pub(crate) me: Option<PeerKeys>,
    pub(crate) people: BTreeMap<String, Known>,
    /// How they are told apart.
    pub(crate) names: Names,
    pub(crate) groups: Vec<fog_bitchat::Group>,
    /// Names of groups that this device is not in any more, by id.
    pub(crate) left: BTreeMap<String, String>,
    /// Notes on the board.
    pub(crate) board: Vec<fog_bitchat::Note>,
    /// What people who were verified said of others, by who said it.
    pub(crate) words: BTreeMap<String, Vec<Word>>,
    /// Who waits to hear how far away somebody is.
    pub(crate) pings: Vec<Asker>,
    pub(crate) radio: RadioView,
    /// Letters that are carried for others.
    pub(crate) letters: u32,
    /// The same in the form of Fog nodes.
    pub(crate) bundles: u32,
    /// Milliseconds by which the clocks of neighbours are ahead, and how many agree in this.
    pub(crate) clock_off: Option<(i64, u32)>,
    /// Devices that packets go to over a network.
    pub(crate) linked: BTreeMap<NodeId, Linked>,
    pub(crate) last_chores: Option<Instant>,
    /// Bytes stored since threads were last cut.
    pub(crate) stored: u64,
    /// Messages of each person in the room that may be stored now, and since when.
    pub(crate) credit: BTreeMap<String, (f64, Instant)>,
    /// By how much the calendar was set while no thread spoke that would have seen it.
    pub(crate) moved: i64,
    /// Why there is no chat although it is switched on; empty otherwise.
    pub(crate) problem: String,
}

/// The word of a delivery state.
pub(crate) fn state_of(delivery: Delivery) -> MessageState {
    match delivery {
        Delivery::Queued => MessageState::Queued,
        Delivery::Carried => MessageState::Carried,
        Delivery::Sent => MessageState::Sent,
        Delivery::Delivered => MessageState::Delivered,
        Delivery::Read => MessageState::Read,
        Delivery::Failed => MessageState::Failed,
    }
}

/// A state by its word in the store.
pub(crate) fn state_from(word: &str) -> MessageState {
    use MessageState::{Carried, Delivered, Failed, Queued, Read, Received, Sent};
    [Queued, Carried, Sent, Delivered, Read, Failed].into_iter().find(|state| state.word() == word).unwrap_or(Received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_words_that_are_found_again() {
        for state in [MessageState::Received, MessageState::Queued, MessageState::Carried, MessageState::Delivered, MessageState::Failed] {
            assert_eq!(state_from(state.word()), state);
        }
        assert_eq!(state_from("nonsense"), MessageState::Received);
    }
}
