use fog_types::MessageState;
use serde::{Deserialize, Serialize};

/// State of chat: people nearby, conversations, groups, notes and Bluetooth.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatView {
    /// Whether chat runs.
    pub is_on: bool,
    /// Id of this device in the mesh: 16 hexadecimal digits; empty while chat is off.
    pub me: String,
    /// SHA-256 of this device's Noise key, 64 hexadecimal digits, for people to compare.
    pub fingerprint: String,
    /// Name under which other people see this device.
    pub nickname: String,
    /// State of Bluetooth.
    pub radio: RadioView,
    /// Milliseconds by which the clocks of people nearby are ahead of this one; negative when they are
    /// behind. Phones ignore devices whose clock is off by two minutes.
    pub clock_off_ms: Option<i64>,
    /// Number of people nearby whose clocks agree on `clock_off_ms`. With two or more, probably this
    /// device's clock is wrong; with one, it may be either.
    pub clock_peers: u32,
    /// People who are reachable now or remembered.
    pub people: Vec<PersonView>,
    /// The room, private chats and group chats, newest first.
    pub threads: Vec<ThreadView>,
    /// Private groups, sorted by name, followed by groups that this device left or was removed from.
    pub groups: Vec<GroupView>,
    /// Notes on the board, newest first.
    pub board: Vec<NoteView>,
    /// Number of messages that this device carries for recipients whom the authors cannot reach.
    pub carried: u32,
}

/// State of the Bluetooth radio.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RadioView {
    /// Current state.
    pub state: RadioState,
    /// Name of the adapter in use.
    pub adapter: String,
    /// One sentence that says what is wrong and what to do; empty when nothing is wrong.
    pub problem: String,
    /// Number of devices connected over Bluetooth now.
    pub links: u32,
}

/// State of Bluetooth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RadioState {
    /// Switched off in the settings.
    #[default]
    Off,
    /// Starting up.
    Starting,
    /// Finds other devices and can be found.
    On,
    /// Finds other devices, but this adapter cannot be found by them.
    CentralOnly,
    /// Not usable now; [`RadioView::problem`] says why.
    Unavailable,
}

/// Way in which a person is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonLink {
    /// Not reachable now.
    #[default]
    Gone,
    /// Through other devices of the mesh.
    Relayed,
    /// Over a joined network.
    Network,
    /// Over a Bluetooth connection.
    Bluetooth,
}

/// One person in chat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PersonView {
    /// Id in the mesh, 16 hexadecimal digits.
    pub id: String,
    /// Name that the person chose; not unique.
    pub nickname: String,
    /// Displayed name: the nickname, followed by `#` and digits of the id when another one looks the same.
    pub label: String,
    /// SHA-256 of the person's Noise key, 64 hexadecimal digits.
    pub fingerprint: String,
    /// Way in which the person is reached.
    pub link: PersonLink,
    /// Whether a Noise session with the person exists now.
    pub has_session: bool,
    /// Whether the user has verified the person's key.
    pub is_verified: bool,
    /// Marked as a favourite by the user.
    pub is_favourite: bool,
    /// Messages and notes of the person are hidden.
    pub is_blocked: bool,
    /// Names of the verified people who vouch for this person.
    pub vouched_by: Vec<String>,
    /// Whether the person's app accepts private files.
    pub takes_files: bool,
    /// Time at which the person was last heard.
    pub seen_ms: i64,
    /// Milliseconds by which the person's clock is ahead of this one; `None` without a known difference.
    pub clock_off_ms: Option<i64>,
}

/// A note on the board, visible to everybody nearby until it expires.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NoteView {
    /// Id of the note, 32 hexadecimal digits.
    pub id: String,
    /// Text of the note, at most 512 bytes.
    pub text: String,
    /// Id of the author, 16 hexadecimal digits; empty when the author is not known here.
    pub author: String,
    /// Name of the author.
    pub name: String,
    /// This device wrote the note; only the author can take it down.
    pub is_mine: bool,
    /// Marked as urgent by the author.
    pub is_urgent: bool,
    /// Time at which the note was written, by the author's clock.
    pub at_ms: i64,
    /// Time at which the note expires.
    pub until_ms: i64,
}

/// A private group of at most 16 members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupView {
    /// Id of the group and of its thread, 32 hexadecimal digits.
    pub id: String,
    /// Name of the group; not unique.
    pub name: String,
    /// Members, creator first; empty when this device left the group or was removed.
    pub members: Vec<MemberView>,
    /// This device created the group; only the creator can change it.
    pub is_mine: bool,
}

/// One member of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberView {
    /// Id in the mesh, 16 hexadecimal digits.
    pub id: String,
    /// Name that the member had when added, with digits of the id when another name looks the same.
    pub nickname: String,
    /// The member created the group.
    pub is_creator: bool,
    /// The member is this device.
    pub is_me: bool,
}

/// A change to a private group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupChange {
    /// Creates a group.
    Create {
        /// Name of the new group, at most 64 bytes.
        name: String,
        /// People to add beside this device, by id or name.
        members: Vec<String>,
    },
    /// Adds a member.
    Add {
        /// Id or name of the group.
        group: String,
        /// Id or name of the person to add.
        who: String,
    },
    /// Removes a member, who cannot read later messages.
    Remove {
        /// Id or name of the group.
        group: String,
        /// Id or name of the member to remove.
        who: String,
    },
    /// Leaves a group without telling the other members.
    Leave {
        /// Id or name of the group.
        group: String,
    },
}

/// One conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreadView {
    /// Id of the person or group; empty for the room.
    pub with: String,
    /// Number of unread messages.
    pub unread: u32,
    /// The newest message.
    pub last: Option<ChatMessage>,
}

/// One chat message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatMessage {
    /// Number of the message on this device; later messages have higher numbers.
    pub row: i64,
    /// Thread of the message: id of a person or group; empty for the room.
    pub with: String,
    /// Id of the author; empty for this device.
    pub from: String,
    /// Name of the author at that time, with digits of the id when another name looks the same.
    pub name: String,
    /// Text of the message; for a file, its name.
    pub text: String,
    /// Time at which the message was written, corrected by the author's clock offset and never later than
    /// its arrival.
    pub at_ms: i64,
    /// Uncorrected time by the author's clock, when it differs from `at_ms`.
    pub stated_ms: Option<i64>,
    /// Attached file; [`crate::ChatCommand::File`] returns its content.
    pub file: Option<ChatFileView>,
    /// Delivery state.
    pub state: MessageState,
}

/// A file attached to a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatFileView {
    /// File name, safe to use on this system.
    pub name: String,
    /// Media type.
    pub mime: String,
    /// Size in bytes.
    pub size: u64,
}

/// A change to the marks of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonChange {
    /// Marks or unmarks a favourite.
    Favourite(bool),
    /// Hides or shows the person's messages.
    Blocked(bool),
    /// Marks the person's key as compared, or withdraws that mark.
    Verified(bool),
}

impl ChatView {
    /// Adds a person or replaces the known entry with the same id.
    pub(crate) fn put_person(&mut self, person: &PersonView) {
        match self.people.iter_mut().find(|known| known.id == person.id) {
            Some(known) => known.clone_from(person),
            None => self.people.push(person.clone()),
        }
    }

    /// Returns the number of unread messages in all threads.
    #[must_use]
    pub fn unread(&self) -> u32 {
        self.threads.iter().map(|thread| thread.unread).sum()
    }

    /// Adds a message to its thread, or updates the thread's newest message.
    pub fn put_message(&mut self, message: &ChatMessage) {
        let place = self.threads.iter().position(|thread| thread.with == message.with);
        let mut thread = place.map_or_else(
            || ThreadView { with: message.with.clone(), ..ThreadView::default() },
            |place| self.threads.remove(place),
        );
        let newest = thread.last.as_ref().map_or(0, |last| last.row);
        if message.row > newest && message.state == MessageState::Received {
            thread.unread += 1;
        }
        if message.row >= newest {
            thread.last = Some(message.clone());
            // Only a new message moves a thread to the front.
            let to = if message.row > newest { 0 } else { place.unwrap_or(0) };
            self.threads.insert(to, thread);
        } else {
            self.threads.insert(place.unwrap_or(0), thread);
        }
    }
}
