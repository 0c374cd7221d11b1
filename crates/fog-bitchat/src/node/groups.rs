//! Groups of a node: their members and texts.
//!
//! Only the creator changes a group. They tell each member in a session: after each change, with a new key
//! and the next epoch, and again in each new session, because members do not acknowledge.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Event, Node};
use crate::bytes::Reader;
use crate::frame::{Kind, Raw};
use crate::group::{Group, GroupText, Member, cut_name};
use crate::identity::{PeerId, PeerKeys, fingerprint};
use crate::inner::Inner;

/// Maximum number of groups of a node, and of those by one creator.
pub const MAX_GROUPS: usize = 50;
const MAX_OF_ONE: usize = 10;
/// Maximum number of groups that were left and are not joined again without an invitation.
const MAX_LEFT: usize = 200;
/// Maximum number of members, the creator included.
pub const MAX_MEMBERS: usize = 16;
/// Maximum size of a text in a group, in bytes; one packet carries it.
pub const MAX_GROUP_TEXT: usize = 1_000;
/// Maximum number of packets kept for groups or epochs that are not known yet, and maximum size of each in
/// bytes.
const MAX_EARLY: usize = 32;
const MAX_EARLY_BYTES: usize = 4 << 10;
/// Milliseconds between two tries to begin a session with a member.
const AGAIN: u64 = 60_000;
/// First byte of the stored form.
const FORM: u8 = 1;

/// Reasons why a group is not made, changed or spoken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// This device is not in such a group.
    #[error("this device is in no such group")]
    Unknown,
    /// Another device created the group.
    #[error("only who made a group changes it")]
    NotMine,
    /// The group has 16 members, or the device has 50 groups.
    #[error("a group has at most 16 members, and a device at most 50 groups")]
    Full,
    /// The person is in the group already, or is not in it.
    #[error("they are in it already, or are not")]
    NoChange,
}

struct Known {
    group: Group,
    /// Members who were told before: they get an update instead of an invitation.
    invited: BTreeSet<[u8; 32]>,
}

#[derive(Default)]
pub(super) struct Groups {
    known: BTreeMap<[u8; 16], Known>,
    /// Groups that were left, each with the epoch in which, in the order in which they were left.
    left: Vec<([u8; 16], u32)>,
    /// Epoch that a member was told in the present session.
    told: BTreeMap<([u8; 16], [u8; 32]), u32>,
    tried: BTreeMap<PeerId, u64>,
    early: VecDeque<Raw>,
    version: u64,
}

impl Member {
    /// Id of the member in the mesh.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        PeerId::of_fingerprint(&self.fingerprint)
    }

    /// Member entry for a person whose keys are known.
    #[must_use]
    pub fn of(keys: &PeerKeys, nickname: &str) -> Self {
        Self {
            fingerprint: fingerprint(&keys.noise),
            signing: keys.signing,
            nickname: cut_name(nickname).to_owned(),
        }
    }
}

/// Groups in the result of [`Node::groups_state`].
#[must_use]
pub fn groups_in(state: &[u8]) -> Vec<Group> {
    read(state).0.into_iter().map(|known| known.group).collect()
}

fn read(state: &[u8]) -> (Vec<Known>, Vec<([u8; 16], u32)>) {
    let (mut groups, mut left) = (Vec::new(), Vec::new());
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
            left.push((reader.array().ok()?, reader.u32().ok()?));
        }
        Some(())
    };
    // Unreadable parts are left out.
    let _ = read();
    (groups, left)
}

impl Node {
    /// Groups that this node is in.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.known.values().map(|known| &known.group)
    }

    /// Counter that rises whenever [`Self::groups_state`] changes.
    #[must_use]
    pub fn groups_version(&self) -> u64 {
        self.groups.version
    }

    /// Groups with their keys, to be encrypted and stored.
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

    /// Restores the stored groups.
    pub fn restore_groups(&mut self, state: &[u8]) {
        let (groups, left) = read(state);
        self.groups.known = groups.into_iter().map(|known| (known.group.id, known)).collect();
        self.groups.left = left;
    }

    /// Makes a group with others, who are told when they are here. `id` is random.
    ///
    /// # Errors
    /// [`GroupError::Full`] when there are 50 groups or more than 16 members.
    pub fn make_group(
        &mut self,
        id: [u8; 16],
        name: &str,
        others: Vec<Member>,
        now: u64,
    ) -> Result<(), GroupError> {
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

    /// Adds a person to a group that this node created.
    ///
    /// # Errors
    /// [`GroupError`] when the group is unknown, not of this node or full, or the person is in it.
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

    /// Removes a person from a group that this node created; they cannot read later texts.
    ///
    /// # Errors
    /// [`GroupError`] when the group is unknown or not of this node, or the person is not in it.
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

    fn change_group(
        &mut self,
        id: [u8; 16],
        now: u64,
        change: impl FnOnce(&mut Vec<Member>) -> Result<(), GroupError>,
    ) -> Result<(), GroupError> {
        let key = self.fresh();
        let known = self.groups.known.get_mut(&id).ok_or(GroupError::Unknown)?;
        if known.group.creator != fingerprint(&self.identity.keys().noise) {
            return Err(GroupError::NotMine);
        }
        let mut members = known.group.members.clone();
        change(&mut members)?;
        // A new key each time: a new member cannot read earlier texts, a removed one cannot read later
        // ones.
        known.group = Group::make(&self.identity, id, &known.group.name, key, known.group.epoch + 1, members);
        known.invited.retain(|one| known.group.members.iter().any(|member| member.fingerprint == *one));
        self.groups.version += 1;
        self.tell_groups(now);
        Ok(())
    }

    /// Leaves a group. The others are not told; their texts are no longer read here.
    ///
    /// # Errors
    /// [`GroupError::Unknown`] when this node is not in the group.
    pub fn leave_group(&mut self, id: [u8; 16]) -> Result<(), GroupError> {
        let known = self.groups.known.remove(&id).ok_or(GroupError::Unknown)?;
        if self.groups.left.len() >= MAX_LEFT {
            self.groups.left.remove(0);
        }
        self.groups.left.push((id, known.group.epoch));
        self.groups.version += 1;
        Ok(())
    }

    /// Says something in a group, cut to 1,000 bytes; `id` is the same at all members.
    ///
    /// # Errors
    /// [`GroupError::Unknown`] when this node is not in the group.
    pub fn say_in_group(
        &mut self,
        group: [u8; 16],
        id: String,
        text: &str,
        now: u64,
    ) -> Result<(), GroupError> {
        let nonce = self.fresh();
        let known = self.groups.known.get(&group).ok_or(GroupError::Unknown)?;
        let text = crate::text::cut(text, MAX_GROUP_TEXT).to_owned();
        let said = GroupText {
            id,
            signing: self.identity.keys().signing,
            nickname: cut_name(&self.config.nickname).to_owned(),
            at: now,
            text,
        };
        let payload = known.group.seal(&self.identity, &said, nonce).map_err(|_| GroupError::Unknown)?;
        let frame = self.frame(Kind::GROUP_MESSAGE, payload, now);
        if let Ok(raw) = Raw::decode(&frame.encode()) {
            self.kept.add(&raw, now, now);
        }
        self.send_everywhere(&frame, now);
        Ok(())
    }

    /// Handles a packet of a group: shown and kept if the group is one of this node; relayed even if not.
    pub(super) fn said_in_group(&mut self, raw: &Raw, now: u64) -> bool {
        let frame = &raw.frame;
        let Some(made) = self.made_in_time(frame, now).filter(|_| frame.is_broadcast()) else { return false };
        let Some((group, said)) =
            self.groups().find_map(|group| Some((group.clone(), group.open(frame.payload()).ok()?)))
        else {
            // The key of the group may be on its way.
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
            self.say(Event::GroupText {
                group: group.id,
                from,
                nickname,
                text: said.text,
                at: said.at,
                id: said.id,
            });
        }
        true
    }

    /// Handles an invitation or a new key, from the creator in their own session.
    pub(super) fn group_came(&mut self, peer: PeerId, body: &[u8], is_invitation: bool, now: u64) {
        let Ok(group) = Group::decode(body, peer) else { return };
        let Some(keys) = self.keys_of(peer).filter(|keys| self.sessions.noise_key(peer) == Some(keys.noise))
        else {
            return;
        };
        let is_in = |keys: &PeerKeys| {
            group.members.iter().any(|member| {
                member.fingerprint == fingerprint(&keys.noise) && member.signing == keys.signing
            })
        };
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
                let was_left = self
                    .groups
                    .left
                    .iter()
                    .find(|(left, _)| *left == group.id)
                    .is_some_and(|(_, epoch)| !is_invitation || group.epoch <= *epoch);
                if !is_member || was_left || self.groups.known.len() >= MAX_GROUPS || of_one >= MAX_OF_ONE {
                    return;
                }
                self.groups.left.retain(|(left, _)| *left != group.id);
                self.say(Event::Invited { group: group.id, name: group.name.clone(), from: peer });
            }
        }
        self.groups.known.insert(group.id, Known { group, invited: BTreeSet::new() });
        self.groups.version += 1;
        for raw in std::mem::take(&mut self.groups.early) {
            self.said_in_group(&raw, now);
        }
    }

    /// A session began: the peer may not have received what was told in the previous one.
    pub(super) fn tell_groups_anew(&mut self, peer: PeerId) {
        self.groups.told.retain(|(_, member), _| PeerId::of_fingerprint(member) != peer);
    }

    /// Tells members of this node's groups the current epoch if they have not been told, or begins a
    /// session with them.
    pub(super) fn tell_groups(&mut self, now: u64) {
        let me = fingerprint(&self.identity.keys().noise);
        let mut due = Vec::new();
        for known in self.groups.known.values().filter(|known| known.group.creator == me) {
            for member in known
                .group
                .members
                .iter()
                .filter(|member| member.fingerprint != me && self.people.contains_key(&member.peer()))
            {
                let told = self.groups.told.get(&(known.group.id, member.fingerprint));
                if told != Some(&known.group.epoch) {
                    due.push((
                        known.group.clone(),
                        member.fingerprint,
                        known.invited.contains(&member.fingerprint),
                    ));
                }
            }
        }
        self.groups.tried.retain(|_, at| now.saturating_sub(*at) < AGAIN);
        for (group, member, was_invited) in due {
            let peer = PeerId::of_fingerprint(&member);
            let Ok(body) = group.encode() else { continue };
            let inner = if was_invited { Inner::GroupUpdate(body) } else { Inner::GroupInvite(body) };
            if self.send_in_session(peer, &inner, now) {
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
