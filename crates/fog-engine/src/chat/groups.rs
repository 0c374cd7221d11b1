//! Private groups: commands of the user and events of the mesh.

use fog_api::{
    ApiError, ChatMessage, EventBody, GroupChange, GroupView, MemberView, MessageState, Notice, Reply,
};
use fog_bitchat::{
    Group, GroupVerb, MAX_GROUP_TEXT, MAX_GROUPS, MAX_MEMBERS, MAX_NAME, Member, PeerId, pieces,
};
use fog_store::StoreError;
use fog_types::text::clean_name;
use rand::RngExt as _;

use crate::chat::commands::new_mid;
use crate::chat::errors::ChatError;
use crate::chat::incoming::Received;
use crate::chat::saved_states::NOBODY_WAITS;
use crate::chat::{Change, Chat, ServiceCommand};
use crate::context::Context;
use crate::query::to_api;

/// Most left groups whose names are remembered.
const MAX_LEFT: usize = 200;

/// Group id of a thread; `None` when the thread is not that of a group.
pub(crate) fn group_id(thread: &str) -> Option<[u8; 16]> {
    let number = u128::from_str_radix(thread, 16).ok()?;
    (thread.len() == 32 && !thread.starts_with('+')).then_some(number.to_be_bytes())
}

/// Thread id of a group.
pub(crate) fn thread_of(id: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}

impl Chat {
    /// Finds a group by its id or, with `by_name`, by its name, which may begin with `#`.
    pub(crate) fn group_named(&self, who: &str, by_name: bool) -> Result<Option<String>, ApiError> {
        // The messages of a left group remain readable.
        if self.groups.iter().any(|group| thread_of(group.id) == who) || self.left.contains_key(who) {
            return Ok(Some(who.to_owned()));
        }
        let name = who.strip_prefix('#').unwrap_or(who);
        let named: Vec<&Group> =
            self.groups.iter().filter(|group| by_name && clean_name(&group.name) == name).collect();
        match named[..] {
            [] if who.starts_with('#') => Err(ChatError::NotInGroup { name: name.to_owned() }.into()),
            [] => Ok(None),
            [one] => Ok(Some(thread_of(one.id))),
            _ => {
                let ids: Vec<String> = named.iter().map(|group| thread_of(group.id)).collect();
                Err(ChatError::SeveralGroups { name: name.to_owned(), ids: ids.join(", ") }.into())
            }
        }
    }

    fn group(&self, who: &str) -> Result<Group, ApiError> {
        let missing = || ChatError::NotInGroup { name: who.to_owned() };
        let id =
            self.group_named(who.trim(), true)?.and_then(|thread| group_id(&thread)).ok_or_else(missing)?;
        self.groups.iter().find(|group| group.id == id).cloned().ok_or_else(|| missing().into())
    }

    /// Finds a group that this device created and may change.
    fn my_group(&self, who: &str) -> Result<Group, ApiError> {
        let group = self.group(who)?;
        if self.is_mine(&group) {
            return Ok(group);
        }
        let creator = group
            .members
            .iter()
            .find(|member| member.fingerprint == group.creator)
            .map(|member| clean_name(&member.nickname))
            .unwrap_or_default();
        Err(ChatError::NotGroupCreator { creator, group: clean_name(&group.name) }.into())
    }

    fn is_mine(&self, group: &Group) -> bool {
        self.me.is_some_and(|me| group.creator.starts_with(&me.peer().0))
    }

    /// Finds a person who can become a member, because their keys are known.
    fn member(&self, who: &str) -> Result<Member, ApiError> {
        let id = self.resolve(who)?;
        if PeerId::parse(&id).is_none() {
            return Err(ChatError::GroupAsMember { name: who.to_owned() }.into());
        }
        if self.me.is_some_and(|me| me.peer().to_string() == id) {
            return Err(ChatError::SelfAsMember.into());
        }
        let known = self.people.get(&id);
        let keys = known.and_then(|known| known.keys).ok_or(ChatError::NotMet { id })?;
        Ok(Member::of(&keys, &known.map(|known| known.view.nickname.clone()).unwrap_or_default()))
    }

    pub(crate) fn chat_group(&mut self, ctx: &mut Context, change: GroupChange) -> Result<Reply, ApiError> {
        self.needs_chat()?;
        let id = match change {
            GroupChange::Create { name, members } => self.create_group(ctx, &name, &members)?,
            GroupChange::Add { group, who } => {
                let (group, member) = (self.my_group(&group)?, self.member(&who)?);
                if group.members.iter().any(|known| known.fingerprint == member.fingerprint) {
                    return Err(ChatError::AlreadyMember { name: clean_name(&member.nickname) }.into());
                }
                if group.members.len() >= MAX_MEMBERS {
                    return Err(ChatError::GroupFull { most: MAX_MEMBERS }.into());
                }
                self.remember(ctx, &member.peer().to_string(), true).map_err(to_api)?;
                self.order_change(Change::AddToGroup { group: group.id, member })?;
                group.id
            }
            GroupChange::Remove { group, who } => {
                let group = self.my_group(&group)?;
                let who = who.trim().trim_start_matches('@');
                let fits = |member: &&Member| {
                    member.peer().to_string() == who || clean_name(&member.nickname) == who
                };
                let mut found: Vec<PeerId> = group.members.iter().filter(fits).map(Member::peer).collect();
                found.retain(|peer| self.me.is_none_or(|me| me.peer() != *peer));
                let [peer] = found[..] else {
                    let name = who.to_owned();
                    let why = if found.is_empty() {
                        ChatError::NotMember { name }
                    } else {
                        ChatError::SeveralMembers { name }
                    };
                    return Err(why.into());
                };
                self.order_change(Change::RemoveFromGroup { group: group.id, peer })?;
                group.id
            }
            GroupChange::Leave { group } => {
                let group = self.group(&group)?;
                self.order_change(Change::LeaveGroup(group.id))?;
                group.id
            }
        };
        Ok(Reply::Text(thread_of(id)))
    }

    fn create_group(
        &mut self,
        ctx: &mut Context,
        name: &str,
        members: &[String],
    ) -> Result<[u8; 16], ApiError> {
        let name = clean_name(name.trim().trim_start_matches('#'));
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(ChatError::BadGroupName { most: MAX_NAME }.into());
        }
        if self.groups.len() >= MAX_GROUPS {
            return Err(ChatError::TooManyGroups { most: MAX_GROUPS }.into());
        }
        let mut others: Vec<Member> = Vec::new();
        for who in members {
            let member = self.member(who)?;
            if others.iter().all(|known| known.fingerprint != member.fingerprint) {
                others.push(member);
            }
        }
        if others.len() >= MAX_MEMBERS {
            return Err(ChatError::TooManyMembers { most: MAX_MEMBERS }.into());
        }
        for member in &others {
            self.remember(ctx, &member.peer().to_string(), true).map_err(to_api)?;
        }
        let id = ctx.rng().random();
        self.order_change(Change::MakeGroup { id, name, others })?;
        Ok(id)
    }

    /// Carries out a `/group …` command that was typed in the thread `to`.
    pub(crate) fn group_command(
        &mut self,
        ctx: &mut Context,
        to: &str,
        verb: GroupVerb,
    ) -> Result<Reply, ApiError> {
        let here = || match self.resolve(to) {
            Ok(thread) if group_id(&thread).is_some() => Ok(thread),
            _ => Err(ChatError::OutsideGroup),
        };
        let (change, note) = match verb {
            GroupVerb::List => {
                let names: Vec<String> = self
                    .groups
                    .iter()
                    .map(|group| format!("#{} ({})", clean_name(&group.name), group.members.len()))
                    .collect();
                let note = if names.is_empty() {
                    "this device is in no group; /group create hikers makes one".to_owned()
                } else {
                    names.join("\n")
                };
                return Ok(Reply::ChatSaid { messages: Vec::new(), note });
            }
            GroupVerb::Create(name) => {
                let note = format!("the group #{name} is made; /group invite @name there takes people in");
                (GroupChange::Create { name, members: Vec::new() }, note)
            }
            GroupVerb::Invite(who) => {
                let note = format!("{who} is taken in, and told when they are here");
                (GroupChange::Add { group: here()?, who }, note)
            }
            GroupVerb::Remove(who) => {
                let note = format!("{who} is taken out and reads nothing from now on");
                (GroupChange::Remove { group: here()?, who }, note)
            }
            GroupVerb::Leave => {
                (GroupChange::Leave { group: here()? }, "this device is not in the group any more".to_owned())
            }
        };
        self.chat_group(ctx, change)?;
        Ok(Reply::ChatSaid { messages: Vec::new(), note })
    }

    /// Stores a text of this device and sends it to a group.
    pub(crate) fn say_in_group(
        &mut self,
        ctx: &mut Context,
        group: [u8; 16],
        thread: &str,
        text: &str,
    ) -> Result<Vec<ChatMessage>, ApiError> {
        if !self.groups.iter().any(|known| known.id == group) {
            return Err(ChatError::LeftGroup.into());
        }
        let mut messages = Vec::new();
        for piece in pieces(text, MAX_GROUP_TEXT) {
            let mid = new_mid();
            messages.extend(self.store_mine(
                ctx,
                thread,
                piece.to_owned(),
                None,
                MessageState::Sent,
                &mid,
            )?);
            self.order_or_fail(
                ctx,
                thread,
                &mid.clone(),
                ServiceCommand::SendToGroup { group, mid, text: piece.to_owned() },
            )?;
        }
        Ok(messages)
    }

    /// Nickname of a member at the time when they joined the group.
    pub(crate) fn name_in_group(&self, thread: &str, from: &str) -> Option<String> {
        let group = self.groups.iter().find(|group| thread_of(group.id) == thread)?;
        group
            .members
            .iter()
            .find(|member| member.peer().to_string() == from)
            .map(|member| clean_name(&member.nickname))
    }

    /// Stores a message of a group; `nickname` is the name that its author uses.
    pub(crate) fn handle_group_text(
        &mut self,
        ctx: &mut Context,
        nickname: &str,
        received: Received<'_>,
    ) -> Result<(), StoreError> {
        let thread = received.thread.to_owned();
        if !self.try_spend_quota(ctx.now(), received.from, received.text.len()) {
            return Ok(());
        }
        if let Some(message) = self.store_received(ctx, received)? {
            let name = if message.name.is_empty() { clean_name(nickname) } else { message.name };
            let group = self
                .groups
                .iter()
                .find(|known| thread_of(known.id) == thread)
                .map(|group| clean_name(&group.name))
                .unwrap_or_default();
            ctx.announce(EventBody::Notice(Notice::ChatMessage {
                with: thread,
                name: format!("{name} · {group}"),
                text: message.text,
            }));
        }
        Ok(())
    }

    pub(crate) fn invited(&mut self, ctx: &mut Context, group: [u8; 16], name: &str, from: PeerId) {
        let from = from.to_string();
        if self.is_blocked(&from) {
            if let Some(driver) = &self.driver {
                driver.order(ServiceCommand::Change(NOBODY_WAITS, Change::LeaveGroup(group)));
            }
            return;
        }
        let inviter = self.people.get(&from).map(|known| known.view.label.clone()).unwrap_or_default();
        ctx.announce(EventBody::Notice(Notice::ChatInvited {
            with: thread_of(group),
            group: clean_name(name),
            name: inviter,
        }));
    }

    /// Keeps the names of groups that this device is no longer in. Returns whether the stored names change.
    pub(crate) fn groups_left(&mut self, now: &[Group]) -> bool {
        let before = self.left.clone();
        for group in self.groups.iter().filter(|group| now.iter().all(|known| known.id != group.id)) {
            self.left.insert(thread_of(group.id), clean_name(&group.name));
        }
        self.left.retain(|thread, _| now.iter().all(|known| thread_of(known.id) != *thread));
        while self.left.len() > MAX_LEFT {
            self.left.pop_first();
        }
        self.left != before
    }

    pub(crate) fn group_views(&self) -> Vec<GroupView> {
        let me = self.me.map(|me| me.peer());
        let view = |group: &Group| {
            let member = |member: &Member| MemberView {
                id: member.peer().to_string(),
                nickname: self.names.label(&member.peer().to_string(), &member.nickname),
                is_creator: member.fingerprint == group.creator,
                is_me: Some(member.peer()) == me,
            };
            let mut members: Vec<MemberView> = group.members.iter().map(member).collect();
            members.sort_by_key(|member| !member.is_creator);
            GroupView {
                id: thread_of(group.id),
                name: clean_name(&group.name),
                members,
                is_mine: self.is_mine(group),
            }
        };
        let mut views: Vec<GroupView> = self.groups.iter().map(view).collect();
        views.sort_by(|a, b| (a.name.to_lowercase(), &a.id).cmp(&(b.name.to_lowercase(), &b.id)));
        views.extend(self.left.iter().map(|(id, name)| GroupView {
            id: id.clone(),
            name: name.clone(),
            ..GroupView::default()
        }));
        views
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_of_a_group_is_its_id_and_nothing_else_is() {
        let id = [0x0f; 16];
        assert_eq!(group_id(&thread_of(id)), Some(id));
        assert_eq!(group_id(&thread_of([0; 16])), Some([0; 16]));
        for other in ["", "0123456789abcdef", "+0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0", &"x".repeat(32)] {
            assert_eq!(group_id(other), None, "{other}");
        }
    }
}
