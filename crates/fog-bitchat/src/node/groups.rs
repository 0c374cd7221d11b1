//! Groups: who is in which, and what is said in them.
//!
//! Their creator alone changes them, and tells every member in a session of its own: after each change with a new
//! key and the next epoch, and again with each new session, for nothing says that it was heard.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Event, Node};
use crate::bytes::Reader;
use crate::frame::{Kind, Raw};
use crate::group::{Group, GroupText, Member, cut_name};
use crate::identity::{PeerId, PeerKeys, fingerprint};
use crate::inner::Inner;

/// Groups of a node, and those of one creator among them.
pub const MAX_GROUPS: usize = 50;
const MAX_OF_ONE: usize = 10;
/// Groups that were left and are not joined again without being asked.
const MAX_LEFT: usize = 200;
/// Most members, the creator among them.
pub const MAX_MEMBERS: usize = 16;
/// Longest text of one packet in a group, in bytes.
pub const MAX_GROUP_TEXT: usize = 1_000;
/// Packets of groups or epochs that are not known yet.
const MAX_EARLY: usize = 32;
const MAX_EARLY_BYTES: usize = 4 << 10;
/// Milliseconds between two tries to begin a session with a member.
const AGAIN: u64 = 60_000;
/// Begins what is written down.
const FORM: u8 = 1;

/// Why a group is not made, changed or spoken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// No such group here.
    #[error("this device is in no such group")]
    Unknown,
    /// Somebody else made it.
    #[error("only who made a group changes it")]
    NotMine,
    /// Sixteen are in it, or fifty groups are here.
    #[error("a group has at most 16 members, and a device at most 50 groups")]
    Full,
    /// They are in it, or are not.
    #[error("they are in it already, or are not")]
    NoChange,
}

struct Known {
    group: Group,
    /// Members who were told once: an invitation the first time, a new key later.
    invited: BTreeSet<[u8; 32]>,
}

#[derive(Default)]
pub(super) struct Groups {
    known: BTreeMap<[u8; 16], Known>,
    /// In which epoch a group was left.
    left: BTreeMap<[u8; 16], u32>,
    /// The epoch that a member was told in the session there is.
    told: BTreeMap<([u8; 16], [u8; 32]), u32>,
    tried: BTreeMap<PeerId, u64>,
    early: VecDeque<Raw>,
    version: u64,
}

impl Member {
    /// Their name in the mesh.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        PeerId::of_fingerprint(&self.fingerprint)
    }

    /// Somebody whose keys are known.
    #[must_use]
    pub fn of(keys: &PeerKeys, nickname: &str) -> Self {
        Self { fingerprint: fingerprint(&keys.noise), signing: keys.signing, nickname: cut_name(nickname).to_owned() }
    }
}

/// The groups in what [`Node::groups_state`] gave.
#[must_use]
pub fn groups_in(state: &[u8]) -> Vec<Group> {
    read(state).0.into_iter().map(|known| known.group).collect()
}

fn read(state: &[u8]) -> (Vec<Known>, BTreeMap<[u8; 16], u32>) {
    let (mut groups, mut left) = (Vec::new(), BTreeMap::new());
    let Some((&FORM, rest)) = state.split_first() else { return (groups, left) };
    let mut reader = Reader(rest);
    let mut read = || -> Option<()> {
        for _ in 0..reader.u8().ok()? {
            let length = reader.u16().ok()?;
            let group = Group::decode_own(reader.take(usize::from(length)).ok()?).ok()?;
            let count = reader.u8().ok()?;
            let invited = (0..count).map(|_| reader.array().ok()).collect::<Option<_>>()?;
            groups.push(Known { group, invited });
        }
        for _ in 0..reader.u8().ok()? {
            left.insert(reader.array().ok()?, reader.u32().ok()?);
        }
        Some(())
    };
    // What cannot be read of it is left out.
    let _ = read();
    (groups, left)
}

impl Node {
    /// The groups this node is in.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.known.values().map(|known| &known.group)
    }

    /// Rises whenever [`Self::groups_state`] has changed.
    #[must_use]
    pub fn groups_version(&self) -> u64 {
        self.groups.version
    }

    /// The groups with their keys, to be sealed and written down.
    #[must_use]
    pub fn groups_state(&self) -> Vec<u8> {
        let mut out = vec![FORM, self.groups.known.len() as u8];
        for known in self.groups.known.values() {
            let body = known.group.encode().unwrap_or_default();
            out.extend((body.len() as u16).to_be_bytes());
            out.extend(body);
            let invited: Vec<_> = known.invited.iter().take(usize::from(u8::MAX)).collect();
            out.push(invited.len() as u8);
            invited.into_iter().for_each(|one| out.extend(one));
        }
        out.push(self.groups.left.len() as u8);
        for (id, epoch) in &self.groups.left {
            out.extend(id);
            out.extend(epoch.to_be_bytes());
        }
        out
    }

    /// Goes on with what was written down.
    pub fn restore_groups(&mut self, state: &[u8]) {
        let (groups, left) = read(state);
        self.groups.known = groups.into_iter().map(|known| (known.group.id, known)).collect();
        self.groups.left = left;
    }

    /// Makes a group with others, who are told when they are there. `id` is random.
    ///
    /// # Errors
    /// [`GroupError::Full`].
    pub fn make_group(&mut self, id: [u8; 16], name: &str, others: Vec<Member>, now: u64) -> Result<(), GroupError> {
        if self.groups.known.len() >= MAX_GROUPS || others.len() >= MAX_MEMBERS {
            return Err(GroupError::Full);
        }
        let me = Member::of(&self.identity.keys(), &self.config.nickname);
        let key = self.fresh();
        let members = std::iter::once(me).chain(others).collect();
        let group = Group::make(&self.identity, id, cut_name(name), key, 1, members);
        self.groups.known.insert(id, Known { group, invited: BTreeSet::new() });
        self.groups.version += 1;
        self.tell_groups(now);
        Ok(())
    }

    /// Takes somebody into a group of this node.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn add_to_group(&mut self, id: [u8; 16], member: Member, now: u64) -> Result<(), GroupError> {
        self.change_group(id, now, |members| {
            if members.len() >= MAX_MEMBERS {
                return Err(GroupError::Full);
            }
            if members.iter().any(|known| known.fingerprint == member.fingerprint) {
                return Err(GroupError::NoChange);
            }
            members.push(member);
            Ok(())
        })
    }

    /// Takes somebody out of a group of this node: what is said from now on they cannot read.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn remove_from_group(&mut self, id: [u8; 16], peer: PeerId, now: u64) -> Result<(), GroupError> {
        if peer == self.me {
            return Err(GroupError::NoChange);
        }
        self.change_group(id, now, |members| {
            let before = members.len();
            members.retain(|member| member.peer() != peer);
            if members.len() < before { Ok(()) } else { Err(GroupError::NoChange) }
        })
    }

    fn change_group(&mut self, id: [u8; 16], now: u64, change: impl FnOnce(&mut Vec<Member>) -> Result<(), GroupError>) -> Result<(), GroupError> {
        let key = self.fresh();
        let known = self.groups.known.get_mut(&id).ok_or(GroupError::Unknown)?;
        if known.group.creator != fingerprint(&self.identity.keys().noise) {
            return Err(GroupError::NotMine);
        }
        let mut members = known.group.members.clone();
        change(&mut members)?;
        // A new key each time: who comes reads nothing of before, who goes nothing of after.
        known.group = Group::make(&self.identity, id, &known.group.name, key, known.group.epoch + 1, members);
        known.invited.retain(|one| known.group.members.iter().any(|member| member.fingerprint == *one));
        self.groups.version += 1;
        self.tell_groups(now);
        Ok(())
    }

    /// Leaves a group. The others are not told; their texts are not read here any more.
    ///
    /// # Errors
    /// [`GroupError::Unknown`].
    pub fn leave_group(&mut self, id: [u8; 16]) -> Result<(), GroupError> {
        let known = self.groups.known.remove(&id).ok_or(GroupError::Unknown)?;
        if self.groups.left.len() >= MAX_LEFT {
            self.groups.left.pop_first();
        }
        self.groups.left.insert(id, known.group.epoch);
        self.groups.version += 1;
        Ok(())
    }

    /// Says something in a group, at most 1,000 bytes of it; `id` is the same at all members.
    ///
    /// # Errors
    /// [`GroupError::Unknown`].
    pub fn say_in_group(&mut self, group: [u8; 16], id: String, text: &str, now: u64) -> Result<(), GroupError> {
        let nonce = self.fresh();
        let known = self.groups.known.get(&group).ok_or(GroupError::Unknown)?;
        let text = crate::text::cut(text, MAX_GROUP_TEXT).to_owned();
        let said = GroupText { id, signing: self.identity.keys().signing, nickname: cut_name(&self.config.nickname).to_owned(), at: now, text };
        let payload = known.group.seal(&self.identity, &said, nonce).map_err(|_| GroupError::Unknown)?;
        let frame = self.frame(Kind::GROUP_MESSAGE, payload, now);
        if let Ok(raw) = Raw::decode(&frame.encode()) {
            self.kept.add(&raw, now, now);
        }
        self.send_everywhere(&frame, now);
        Ok(())
    }

    /// A packet of a group: shown and kept when it is of one of this node, passed on in any case.
    pub(super) fn said_in_group(&mut self, raw: &Raw, now: u64) -> bool {
        let frame = &raw.frame;
        let Some(made) = self.made_in_time(frame, now).filter(|_| frame.is_broadcast()) else { return false };
        let Some((group, said)) = self.groups().find_map(|group| Some((group.clone(), group.open(frame.payload()).ok()?))) else {
            // Its key may be on its way.
            if frame.payload().len() <= MAX_EARLY_BYTES {
                if self.groups.early.len() >= MAX_EARLY {
                    self.groups.early.pop_front();
                }
                self.groups.early.push_back(raw.clone());
            }
            return true;
        };
        self.kept.add(raw, made, now);
        let author = group.members.iter().find(|member| member.signing == said.signing);
        if let Some(author) = author.filter(|author| author.peer() != self.me) {
            let (from, nickname) = (author.peer(), said.nickname);
            self.say(Event::GroupText { group: group.id, from, nickname, text: said.text, at: said.at, id: said.id });
        }
        true
    }

    /// An invitation, or another key: from the creator in their own session.
    pub(super) fn group_came(&mut self, peer: PeerId, body: &[u8], is_invitation: bool, now: u64) {
        let Ok(group) = Group::decode(body, peer) else { return };
        let Some(keys) = self.keys_of(peer).filter(|keys| self.sessions.noise_key(peer) == Some(keys.noise)) else { return };
        let is_in = |keys: &PeerKeys| group.members.iter().any(|member| member.fingerprint == fingerprint(&keys.noise) && member.signing == keys.signing);
        if group.creator != fingerprint(&keys.noise) || !is_in(&keys) {
            return;
        }
        let is_member = is_in(&self.identity.keys());
        match self.groups.known.get(&group.id) {
            Some(known) if known.group.creator != group.creator || group.epoch <= known.group.epoch => return,
            Some(_) if !is_member => {
                self.groups.known.remove(&group.id);
                self.groups.version += 1;
                return;
            }
            Some(_) => {}
            None => {
                let of_one = self.groups().filter(|known| known.creator == group.creator).count();
                let was_left = self.groups.left.get(&group.id).is_some_and(|epoch| !is_invitation || group.epoch <= *epoch);
                if !is_member || was_left || self.groups.known.len() >= MAX_GROUPS || of_one >= MAX_OF_ONE {
                    return;
                }
                self.groups.left.remove(&group.id);
                self.say(Event::Invited { group: group.id, name: group.name.clone(), from: peer });
            }
        }
        self.groups.known.insert(group.id, Known { group, invited: BTreeSet::new() });
        self.groups.version += 1;
        for raw in std::mem::take(&mut self.groups.early) {
            self.said_in_group(&raw, now);
        }
    }

    /// A session began: whoever has it may not have heard what was told in the one before.
    pub(super) fn tell_groups_anew(&mut self, peer: PeerId) {
        self.groups.told.retain(|(_, member), _| PeerId::of_fingerprint(member) != peer);
    }

    /// Tells members of this node's groups what they have not been told; or begins a session with them.
    pub(super) fn tell_groups(&mut self, now: u64) {
        let me = fingerprint(&self.identity.keys().noise);
        let mut due = Vec::new();
        for known in self.groups.known.values().filter(|known| known.group.creator == me) {
            for member in known.group.members.iter().filter(|member| member.fingerprint != me && self.people.contains_key(&member.peer())) {
                let told = self.groups.told.get(&(known.group.id, member.fingerprint));
                if told != Some(&known.group.epoch) {
                    due.push((known.group.clone(), member.fingerprint, known.invited.contains(&member.fingerprint)));
                }
            }
        }
        self.groups.tried.retain(|_, at| now.saturating_sub(*at) < AGAIN);
        for (group, member, was_invited) in due {
            let peer = PeerId::of_fingerprint(&member);
            let Ok(body) = group.encode() else { continue };
            let inner = if was_invited { Inner::GroupUpdate(body) } else { Inner::GroupInvite(body) };
            if self.whisper(peer, &inner, now) {
                self.groups.told.insert((group.id, member), group.epoch);
                if let Some(known) = self.groups.known.get_mut(&group.id)
                    && known.invited.insert(member)
                {
                    self.groups.version += 1;
                }
            } else if let std::collections::btree_map::Entry::Vacant(free) = self.groups.tried.entry(peer) {
                free.insert(now);
                self.begin_session(peer, now);
            }
        }
    }
}
