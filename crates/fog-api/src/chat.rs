use serde::{Deserialize, Serialize};

/// Chat: who is near, what was said, what the radio does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatView {
    /// Chat is switched on.
    pub is_on: bool,
    /// The id of this device in the mesh: 16 hexadecimal digits; empty while chat is off.
    pub me: String,
    /// SHA-256 of its Noise key, 64 hexadecimal digits: what people compare.
    pub fingerprint: String,
    /// What others see it called.
    pub nickname: String,
    /// Bluetooth.
    pub radio: RadioView,
    /// Milliseconds by which the clocks of people near are ahead of this one; below 0 when this one is ahead.
    /// Phones ignore who is two minutes off.
    pub clock_off_ms: Option<i64>,
    /// Number of people near whose clocks agree in this: with two or more it is probably this device's clock that is
    /// wrong, with one it may be either.
    pub clock_peers: u32,
    /// Who is there, and who is remembered.
    pub people: Vec<PersonView>,
    /// The room and private chats, the newest first.
    pub threads: Vec<ThreadView>,
    /// Private groups, by name; then those that this device is not in any more.
    pub groups: Vec<GroupView>,
    /// Notes on the board, the newest first.
    pub board: Vec<NoteView>,
    /// Messages that this device carries to who cannot be reached by their authors.
    pub carried: u32,
}

/// What Bluetooth does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RadioView {
    /// How far it is.
    pub state: RadioState,
    /// The adapter in use.
    pub adapter: String,
    /// One sentence: what is wrong, and what to do; empty when nothing is.
    pub problem: String,
    /// Devices it is linked to now.
    pub links: u32,
}

/// How far Bluetooth is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RadioState {
    /// Not switched on in the settings.
    #[default]
    Off,
    /// On its way.
    Starting,
    /// It finds others and is found.
    On,
    /// It finds others, but this adapter cannot be found by them.
    CentralOnly,
    /// It cannot be used now; the problem says why.
    Unavailable,
}

/// How somebody is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonLink {
    /// Not at all now.
    #[default]
    Gone,
    /// Through others.
    Relayed,
    /// Over a network that was joined.
    Network,
    /// Over Bluetooth.
    Bluetooth,
}

/// Somebody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PersonView {
    /// 16 hexadecimal digits.
    pub id: String,
    /// What they call themselves; two may have the same.
    pub nickname: String,
    /// What they are shown as: the nickname, followed by `#` and digits of the id when somebody else looks the same.
    pub label: String,
    /// 64 hexadecimal digits.
    pub fingerprint: String,
    /// How they are reached.
    pub link: PersonLink,
    /// There is an encrypted session with them now.
    pub has_session: bool,
    /// Their key was compared.
    pub is_verified: bool,
    /// Marked by the user.
    pub is_favourite: bool,
    /// What they say is hidden.
    pub is_blocked: bool,
    /// Who of those who were verified says that they verified them: what these are called.
    pub vouched_by: Vec<String>,
    /// Their app takes private files.
    pub takes_files: bool,
    /// When they were last heard.
    pub seen_ms: i64,
    /// Milliseconds by which their clock is ahead of this one, when the two differ by more than 90 s.
    pub clock_off_ms: Option<i64>,
}

/// A note on the board: everybody near reads it, and those who come by until it expires.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NoteView {
    /// 32 hexadecimal digits.
    pub id: String,
    /// At most 512 bytes.
    pub text: String,
    /// Who wrote it: 16 hexadecimal digits; empty when they are not known here.
    pub author: String,
    /// What they called themselves.
    pub name: String,
    /// This device wrote it, and alone takes it down.
    pub is_mine: bool,
    /// It is meant to be noticed.
    pub is_urgent: bool,
    /// When it was written, by its author's clock.
    pub at_ms: i64,
    /// When it goes.
    pub until_ms: i64,
}

/// A private group of at most 16.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupView {
    /// 32 hexadecimal digits; also the name of its thread.
    pub id: String,
    /// What people call it; two may have the same.
    pub name: String,
    /// Who is in it, its creator first; empty when this device left it or was taken out.
    pub members: Vec<MemberView>,
    /// This device made it, and alone changes it.
    pub is_mine: bool,
}

/// Somebody in a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberView {
    /// 16 hexadecimal digits.
    pub id: String,
    /// What they were called when they were taken in.
    pub nickname: String,
    /// They made the group.
    pub is_creator: bool,
    /// This device.
    pub is_me: bool,
}

/// What is to become of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupChange {
    /// Make one.
    Create {
        /// Its name, at most 64 bytes.
        name: String,
        /// Who is taken in beside this device.
        members: Vec<String>,
    },
    /// Take somebody in.
    Add {
        /// Its id or name.
        group: String,
        /// Whom.
        who: String,
    },
    /// Take somebody out: what is said from then on they cannot read.
    Remove {
        /// Its id or name.
        group: String,
        /// Whom.
        who: String,
    },
    /// Leave it. The others are not told.
    Leave {
        /// Its id or name.
        group: String,
    },
}

/// One conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreadView {
    /// The person's or group's id; empty for the room of everybody.
    pub with: String,
    /// Messages that were not seen.
    pub unread: u32,
    /// The newest message.
    pub last: Option<ChatMessage>,
}

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatMessage {
    /// Its number on this device; later ones are higher.
    pub row: i64,
    /// The thread it is in: a person's or group's id; empty for the room.
    pub with: String,
    /// Who said it; empty for this device.
    pub from: String,
    /// What they called themselves then, with digits of their id where that looks like somebody else.
    pub name: String,
    /// What; for a file its name.
    pub text: String,
    /// When: as its author says, but for how far their clock is off, and never later than it came.
    pub at_ms: i64,
    /// When by its author's clock, if that was off.
    pub stated_ms: Option<i64>,
    /// A file that came with it: [`crate::Command::ChatFile`] has its bytes.
    pub file: Option<ChatFileView>,
    /// How far it is.
    pub state: MessageState,
}

/// A file in a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatFileView {
    /// Safe as a file's name.
    pub name: String,
    /// Media type.
    pub mime: String,
    /// Bytes.
    pub size: u64,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// From somebody else.
    #[default]
    Received,
    /// It waits until its recipient is there.
    Queued,
    /// Somebody carries it.
    Carried,
    /// It is on the air.
    Sent,
    /// It arrived.
    Delivered,
    /// It was seen.
    Read,
    /// It was given up; it can be sent again.
    Failed,
}

impl MessageState {
    /// A word for `--json` and the store.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Queued => "queued",
            Self::Carried => "carried",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }
}

/// A change to what is remembered of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonChange {
    /// Mark or unmark as a favourite.
    Favourite(bool),
    /// Hide or show what they say.
    Blocked(bool),
    /// The fingerprint was compared by eye, or no longer counts.
    Verified(bool),
}

impl ChatView {
    /// Puts somebody in, or what has changed about them.
    pub(crate) fn put_person(&mut self, person: &PersonView) {
        match self.people.iter_mut().find(|known| known.id == person.id) {
            Some(known) => known.clone_from(person),
            None => self.people.push(person.clone()),
        }
    }

    /// Messages that were not seen.
    #[must_use]
    pub fn unread(&self) -> u32 {
        self.threads.iter().map(|thread| thread.unread).sum()
    }

    /// Puts a message in, or what has become of it.
    pub fn put_message(&mut self, message: &ChatMessage) {
        let place = self.threads.iter().position(|thread| thread.with == message.with);
        let mut thread = place.map_or_else(|| ThreadView { with: message.with.clone(), ..ThreadView::default() }, |place| self.threads.remove(place));
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
