//! Chat: identity of this device in the BitChat mesh, the people it knows, and the thread that runs the
//! protocol.
//!
//! The state lives here; the modules of this folder handle commands and events.

pub(crate) mod attachments;
pub(crate) mod board;
pub(crate) mod clock;
pub(crate) mod commands;
pub(crate) mod contacts;
pub(crate) mod errors;
pub(crate) mod groups;
pub(crate) mod identity_backup;
pub(crate) mod identity_transfer;
pub(crate) mod incoming;
pub(crate) mod lifecycle;
pub(crate) mod network_links;
pub(crate) mod ping;
pub(crate) mod saved_states;
#[cfg(test)]
mod scenario_tests;
pub(crate) mod service;
pub(crate) mod service_commands;
pub(crate) mod slash_commands;
pub(crate) mod store_and_forward;
pub(crate) mod threads;
pub(crate) mod vault;
pub(crate) mod views;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Instant;

use fog_api::{ApiError, MessageState, PersonView, RadioView, Reply};
use fog_bitchat::{Delivery, PeerId, PeerKeys};
use fog_ble::PhoneRadio;
use fog_types::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

use crate::context::Context;
use crate::effects::Answer;
use crate::names::Names;

pub(crate) use clock::Moved;
pub(crate) use identity_backup::{IdentityBackup, MIN_PASSPHRASE};
pub(crate) use saved_states::{PendingChanges, UnsavedStates};
pub(crate) use service::ChatService;
pub(crate) use service_commands::{Change, PinnedContact, SavedState, ServiceCommand};
pub(crate) use store_and_forward::CarriedMessage;
pub(crate) use vault::{Secrets, Vault};

/// Use of Bluetooth as given at the engine's start, in addition to the settings.
#[derive(Debug, Clone, Default)]
pub struct ChatSettings {
    /// Whether Bluetooth is used even if the settings do not enable it.
    pub bluetooth: bool,
    /// Name of the adapter, such as `hci0`, which overrides the setting.
    pub adapter: Option<String>,
    /// Radio of a phone, which only the shell around the engine reaches.
    pub phone: Option<Arc<dyn PhoneRadio>>,
}

/// Message of the chat thread to the engine's loop.
pub(crate) enum ChatEvent {
    /// An event of the protocol.
    Event(fog_bitchat::Event),
    /// A person is present, or is reached over another link.
    Person(fog_bitchat::Person, fog_api::PersonLink),
    /// A private message that the protocol did not accept.
    Refused { to: PeerId, mid: String, why: fog_bitchat::SayError },
    /// State of the Bluetooth radio.
    Radio(RadioView),
    /// Letters that are carried for others.
    Mail { state: Vec<u8>, letters: u32 },
    /// Groups with their keys.
    Groups(Vec<u8>),
    /// Notes on the board.
    Board(Vec<u8>),
    /// Result of a request for a change, with the state of groups and board after it.
    Changed { request: u64, problem: Option<String>, groups: Vec<u8>, board: Vec<u8> },
    /// Bundles that are carried; `carried` is the number of those for others.
    Bundles { state: Vec<u8>, carried: u32 },
    /// Ratchet keys for bundles, which must be stored before anything sealed with them leaves.
    Ratchet { turn: u64, state: Vec<u8> },
    /// A message that arrived in a bundle.
    CarriedMessage(Box<CarriedMessage>),
}

/// Content that is sealed in a message's row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body {
    /// Peer id of the author; empty for this device.
    pub(crate) from: String,
    /// Nickname that the author used.
    pub(crate) name: String,
    pub(crate) text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<fog_api::ChatFileView>,
    /// Time by the author's clock if that was off, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stated_ms: Option<i64>,
}

/// Content that is sealed in a person's row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContactRecord {
    pub(crate) nickname: String,
    pub(crate) noise: [u8; 32],
    pub(crate) signing: [u8; 32],
    pub(crate) is_verified: bool,
    pub(crate) is_favourite: bool,
    pub(crate) is_blocked: bool,
}

/// State of a person while the engine runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contact {
    pub(crate) view: PersonView,
    pub(crate) keys: Option<PeerKeys>,
    pub(crate) stored: Option<(ContactRecord, Instant)>,
}

/// Statement of a person whom the user verified about the keys of another person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownVouch {
    /// Fingerprint of the keys that the person verified; `signing` is the signing key.
    pub(crate) fingerprint: String,
    pub(crate) signing: [u8; 32],
    /// Time until which the statement counts, in milliseconds since 1970.
    pub(crate) until: u64,
}

/// Links to one device over a network.
pub(crate) struct Linked {
    /// Time at which a link was last opened or tried.
    pub(crate) at: Instant,
    /// Handles of the links, oldest first. A notification ends the link.
    pub(crate) links: VecDeque<Weak<Notify>>,
}

/// A pending request for the distance to a person.
pub(crate) struct PendingPing {
    pub(crate) whom: PeerId,
    /// Whether the route is wanted as well.
    pub(crate) is_trace: bool,
    pub(crate) answer: oneshot::Sender<Result<Reply, ApiError>>,
}

/// Chat of this device.
#[derive(Default)]
pub(crate) struct Chat {
    /// Whether a change is still to be announced.
    is_view_due: bool,
    vault: Option<Vault>,
    driver: Option<ChatService>,
    /// Nickname and radio setting that the running driver uses.
    told: (String, Option<Option<String>>),
    me: Option<PeerKeys>,
    people: BTreeMap<String, Contact>,
    /// Index of names that tells people with similar names apart.
    names: Names,
    groups: Vec<fog_bitchat::Group>,
    /// Names of groups that this device has left, by id.
    left: BTreeMap<String, String>,
    /// Notes on the board.
    board: Vec<fog_bitchat::Note>,
    /// Statements of verified people about others, by the person who made them.
    words: BTreeMap<String, Vec<KnownVouch>>,
    /// Requests that wait for the distance to a person.
    pings: Vec<PendingPing>,
    /// Requests that wait until the thread's state with their change is stored.
    changes: PendingChanges,
    /// States of the thread that could not be stored yet.
    states: UnsavedStates,
    /// Whether the present input has taken over another identity.
    is_identity_changed: bool,
    /// Number of the latest ratchet keys.
    ratchet_turn: u64,
    radio: RadioView,
    /// Number of letters that are carried for others.
    letters: u32,
    /// Number of bundles that are carried for others.
    bundles: u32,
    /// Milliseconds by which the clocks of neighbours are ahead, and the number of neighbours that agree.
    clock_off: Option<(i64, u32)>,
    /// Devices to which packets go over a network.
    linked: BTreeMap<NodeId, Linked>,
    last_chores: Option<Instant>,
    /// Bytes stored since message threads were last trimmed.
    stored: u64,
    /// Messages of each person in the room that may be stored now, and the time of that count.
    credit: BTreeMap<String, (f64, Instant)>,
    /// Milliseconds by which the calendar was set while no chat thread ran.
    moved: i64,
    /// Reason why there is no chat although it is switched on.
    problem: Option<ApiError>,
}

impl Chat {
    /// Whether the chat view has to be announced.
    pub(crate) fn is_view_due(&self) -> bool {
        self.is_view_due
    }

    /// Whether the chat view has to be announced; asking resets that.
    pub(crate) fn take_view_due(&mut self) -> bool {
        std::mem::take(&mut self.is_view_due)
    }

    /// Moves what ends at a time by the milliseconds by which the calendar was set.
    pub(crate) fn clock_was_set(&mut self, ctx: &mut Context, by: i64) {
        self.move_vouches(ctx, by);
        // A running chat thread notices the change itself.
        if self.driver.is_none() {
            self.moved = self.moved.saturating_add(by);
        }
    }

    /// Hands over what the thread is to do, as the changes of this input are stored.
    pub(crate) fn committed(&mut self) {
        self.states.committed();
        self.changes.committed();
        self.is_identity_changed = false;
        if let Some(driver) = &self.driver {
            driver.send_orders();
        }
    }

    /// Forgets what the thread was to do, as the changes of this input could not be stored. Returns whether
    /// the state of the thread was among them, which is stored later, and the answers to the commands that
    /// were to change it.
    pub(crate) fn rolled_back(&mut self) -> (bool, Vec<Answer>) {
        if let Some(driver) = &self.driver {
            driver.drop_orders();
        }
        (self.states.rolled_back(), self.changes.rolled_back())
    }

    /// Whether the identity in use is not the stored one.
    pub(crate) fn is_unlike_rows(&self) -> bool {
        self.is_identity_changed
    }

    /// Forgets the links to a device that has restarted.
    pub(crate) fn forget_links(&mut self, node: NodeId) {
        self.linked.remove(&node);
    }

    /// Ends chat. The receiver hears when the goodbye was said; `None` when chat is off.
    pub(crate) fn stop(&mut self) -> Option<oneshot::Receiver<()>> {
        self.driver.take().map(ChatService::stop)
    }
}

/// Message state that corresponds to a delivery state.
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
