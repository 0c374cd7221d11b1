//! Chat: events of the mesh.

use std::time::Instant;

use fog_api::{ChatFileView, ChatMessage, EventBody, MessageState, Notice, PersonLink, PersonView};
use fog_bitchat::{Event, FilePacket, PeerId};
use fog_store::{CHAT_ROW_BYTES, ChatCaps, NewChat, StoreError};
use fog_types::text::{clean, clean_name};
use fog_types::{ByteCount, UnixMillis};

use crate::chat::errors::ChatError;
use crate::chat::groups::thread_of;
use crate::chat::saved_states::{BUNDLES, LETTERS, RATCHET};
use crate::chat::{Body, CarriedMessage, Chat, ChatEvent, Contact, ServiceCommand, state_of};
use crate::context::Context;

/// Most bytes of messages and files in one thread and in all threads. Each message counts as
/// [`fog_store::CHAT_ROW_BYTES`] more than its content, so these are some 25,000 and 200,000 short texts.
const CHAT_CAPS: ChatCaps = ChatCaps { of_thread: 128 << 20, of_all: 1 << 30 };
/// Chat takes at most one part in this many of the storage: anybody nearby can fill it, and jobs need the
/// rest.
const CHAT_PART: u64 = 4;
/// Bytes that are stored between two checks of the caps; each check reads every row.
const LOOK_AT_CAPS_BYTES: u64 = 32 << 20;
/// Most people whose credit is tracked at once; messages of further people are not stored.
const MAX_CREDITS: usize = 4_096;
/// Difference in milliseconds from which the time that an author states is shown beside the local one.
const STATED_OFF_MS: u64 = 60_000;
/// Messages of one person that are stored at once; `PER_SECOND` more are allowed each second, so that
/// missed messages can arrive together. All people together may store `EVERYBODY` times as much, and
/// `PRICED_BYTES` bytes count as one message.
const BURST: f64 = 600.0;
const PER_SECOND: f64 = 1.0;
const EVERYBODY: f64 = 5.0;
const PRICED_BYTES: f64 = 16_384.0;

/// Caps of chat for this storage setting, and the number of bytes between two checks of them.
fn chat_caps(storage: ByteCount) -> (ChatCaps, u64) {
    let of_all = CHAT_CAPS.of_all.min(storage.0 / CHAT_PART);
    // Several threads fit, so that one cannot evict all others.
    (ChatCaps { of_thread: CHAT_CAPS.of_thread.min(of_all / 4), of_all }, LOOK_AT_CAPS_BYTES.min(of_all / 4))
}

/// A message that was received.
pub(crate) struct Received<'a> {
    pub(crate) thread: &'a str,
    /// Peer id of the author.
    pub(crate) from: &'a str,
    pub(crate) text: String,
    /// Time that the author states, in milliseconds since 1970.
    pub(crate) at: u64,
    /// Id of the message, unique in its thread.
    pub(crate) mid: String,
    pub(crate) file: Option<FilePacket>,
}

impl Chat {
    pub(crate) fn handle_service_event(
        &mut self,
        ctx: &mut Context,
        driver: u64,
        news: ChatEvent,
    ) -> Result<(), StoreError> {
        // Late news of an earlier driver belong to another identity.
        if self.driver.as_ref().is_none_or(|running| running.number() != driver) {
            return Ok(());
        }
        match news {
            ChatEvent::Radio(view) => {
                if self.radio != view {
                    self.radio = view;
                    self.announce_chat();
                }
            }
            ChatEvent::Person(person, link) => self.handle_person(ctx, person, link)?,
            ChatEvent::Refused { to, mid, why } => {
                tracing::debug!(%to, %why, "not taken");
                self.set_message_state(ctx, &to.to_string(), &mid, MessageState::Failed)?;
            }
            ChatEvent::Mail { state, letters } => {
                self.store_state(ctx, LETTERS, state)?;
                if self.letters != letters {
                    self.letters = letters;
                    self.announce_chat();
                }
            }
            ChatEvent::Bundles { state, carried } => {
                self.store_state(ctx, BUNDLES, state)?;
                if self.bundles != carried {
                    self.bundles = carried;
                    self.announce_chat();
                }
            }
            ChatEvent::Groups(state) => self.store_groups(ctx, state)?,
            ChatEvent::Board(state) => self.store_board(ctx, state)?,
            ChatEvent::Changed { request, problem, groups, board } => {
                let stored = self.store_groups(ctx, groups).and(self.store_board(ctx, board));
                let result = match (problem, stored) {
                    (Some(why), _) => Err(ChatError::NotChanged { why }.into()),
                    (None, stored) => stored.map_err(|error| ctx.not_stored_yet(&error)),
                };
                self.answer_change(ctx, request, result);
            }
            ChatEvent::Ratchet { turn, state } => {
                self.ratchet_turn = turn;
                self.store_state(ctx, RATCHET, state)?;
            }
            ChatEvent::CarriedMessage(carried) => self.store_carried(ctx, *carried)?,
            ChatEvent::Event(event) => self.chat_event(ctx, event)?,
        }
        Ok(())
    }

    fn chat_event(&mut self, ctx: &mut Context, event: Event) -> Result<(), StoreError> {
        match event {
            // The driver itself reports people and their links, and handles messages of Fog nodes.
            Event::Person(_) | Event::FogPeer { .. } | Event::FogPeerGone(_) | Event::FogPeerMessage(..) => {}
            Event::Gone(peer) => {
                let id = peer.to_string();
                if let Some(known) = self.people.get_mut(&id) {
                    known.view.link = PersonLink::Gone;
                    known.view.has_session = false;
                    known.view.seen_ms = ctx.clock.unix().0;
                    let view = known.view.clone();
                    // A person who was only passing by is not kept.
                    if known.stored.is_none() {
                        self.people.remove(&id);
                        let others = self.names.remove(&id);
                        self.tell_apart(ctx, others);
                    }
                    ctx.announce(EventBody::ChatPerson(Box::new(view)));
                }
            }
            Event::Room { from, text, at, id } => {
                let from = from.to_string();
                if !self.try_spend_quota(ctx.now(), &from, text.len()) {
                    return Ok(());
                }
                let mid = blake3::Hash::from_bytes([id, [0; 16]].concat().try_into().unwrap_or_default())
                    .to_hex()[..32]
                    .to_owned();
                let is_for_me = text.contains(&format!("@{}", self.nickname(ctx)));
                if let Some(message) =
                    self.store_received(ctx, Received { thread: "", from: &from, text, at, mid, file: None })?
                    && is_for_me
                {
                    ctx.announce(EventBody::Notice(Notice::ChatMessage {
                        with: String::new(),
                        name: message.name,
                        text: message.text,
                    }));
                }
            }
            Event::Private { from, id, text, at } => {
                // A message of a person who has not announced their keys is not confirmed; its author sends
                // it again.
                let is_known = self.people.contains_key(&from.to_string());
                if is_known
                    && self.handle_private_text(ctx, from, text, at, id.clone())?
                    && let Some(driver) = &self.driver
                {
                    driver.order(ServiceCommand::ConfirmStored { from, mid: id });
                }
            }
            Event::File { from, id, file, at } => {
                let author = from.to_string();
                if !self.people.contains_key(&author)
                    || !self.try_spend_quota(ctx.now(), &author, file.content.len())
                {
                    return Ok(());
                }
                let thread = if id.is_some() { author.clone() } else { String::new() };
                // The protocol derives its id from the file name only, but two pictures may share a name.
                let hash = blake3::hash(&file.content).to_hex();
                let mid = format!("{}#{}", id.clone().unwrap_or_else(|| file.safe_name()), &hash[..16]);
                let message = self.store_received(
                    ctx,
                    Received {
                        thread: &thread,
                        from: &author,
                        text: file_name(&file),
                        at,
                        mid,
                        file: Some(file),
                    },
                )?;
                if let (Some(driver), Some(mid)) = (&self.driver, id) {
                    driver.order(ServiceCommand::ConfirmStored { from, mid });
                }
                if let Some(message) = message.filter(|_| !thread.is_empty()) {
                    ctx.announce(EventBody::Notice(Notice::ChatMessage {
                        with: thread,
                        name: message.name,
                        text: message.text,
                    }));
                }
            }
            Event::GroupText { group, from, nickname, text, at, id } => {
                let (thread, from) = (thread_of(group), from.to_string());
                self.handle_group_text(
                    ctx,
                    &nickname,
                    Received { thread: &thread, from: &from, text, at, mid: id, file: None },
                )?;
            }
            Event::Invited { group, name, from } => self.invited(ctx, group, &name, from),
            Event::Delivery { to, id, state } => {
                self.set_message_state(ctx, &to.to_string(), &id, state_of(state))?
            }
            Event::Pong { from, hops, millis, way } => self.pinged(ctx, from, Some((hops, millis, way))),
            Event::NoPong(whom) => self.pinged(ctx, whom, None),
            Event::Verified(peer) => {
                self.change_person(ctx, &peer.to_string(), |person| person.is_verified = true)?
            }
            Event::Vouched { by, whom } => self.vouched(ctx, by, &whom)?,
            Event::Note(note) => self.noticed(ctx, &note),
            Event::ClockOff { millis, peers } => {
                self.clock_off = (millis != 0).then_some((millis, peers));
                self.announce_chat();
            }
        }
        Ok(())
    }

    /// Handles a private text. Returns whether it is stored, now or before.
    fn handle_private_text(
        &mut self,
        ctx: &mut Context,
        from: PeerId,
        text: String,
        at: u64,
        mid: String,
    ) -> Result<bool, StoreError> {
        let may = self.try_spend_quota(ctx.now(), &from.to_string(), text.len());
        if may {
            self.store_alone(ctx, from, text, at, mid)?;
        }
        Ok(may)
    }

    fn store_alone(
        &mut self,
        ctx: &mut Context,
        from: PeerId,
        text: String,
        at: u64,
        mid: String,
    ) -> Result<(), StoreError> {
        let thread = from.to_string();
        let is_sign = text.starts_with("[FAVORITED]") || text.starts_with("[UNFAVORITED]");
        let message = if is_sign {
            None
        } else {
            self.store_received(ctx, Received { thread: &thread, from: &thread, text, at, mid, file: None })?
        };
        if let Some(message) = message {
            ctx.announce(EventBody::Notice(Notice::ChatMessage {
                with: thread,
                name: message.name,
                text: message.text,
            }));
        }
        Ok(())
    }

    /// Handles a message from a bundle. Its author was present once and may not be remembered.
    pub(crate) fn store_carried(
        &mut self,
        ctx: &mut Context,
        carried: CarriedMessage,
    ) -> Result<(), StoreError> {
        let CarriedMessage { keys, name, mid, text, at, bundle } = carried;
        let from = keys.peer();
        let id = from.to_string();
        // An author whose message may not be stored is not remembered either.
        let is_stored = self.try_spend_quota(ctx.now(), &id, text.len()) && {
            if !self.people.contains_key(&id) {
                let (nickname, fingerprint) = (clean_name(&name), fog_bitchat::fingerprint_text(&keys.noise));
                let view = PersonView {
                    id: id.clone(),
                    nickname,
                    fingerprint,
                    seen_ms: ctx.clock.unix().0,
                    ..PersonView::default()
                };
                let nickname = view.nickname.clone();
                self.people.insert(id.clone(), Contact { view, keys: Some(keys), stored: None });
                self.set_nickname(ctx, &id, &nickname);
                self.remember(ctx, &id, true)?;
            }
            self.store_alone(ctx, from, text, at, mid)?;
            true
        };
        if let Some(driver) = &self.driver {
            driver.order(ServiceCommand::CarriedAnswered { bundle, is_stored });
        }
        Ok(())
    }

    pub(crate) fn is_blocked(&self, id: &str) -> bool {
        self.people.get(id).is_some_and(|known| known.view.is_blocked)
    }

    /// Takes the credit for a message of this size. Returns whether it may be stored: the limit keeps one
    /// person, or many invented ones, from filling the disk.
    pub(crate) fn try_spend_quota(&mut self, now: Instant, from: &str, bytes: usize) -> bool {
        let price = 1.0 + bytes as f64 / PRICED_BYTES;
        // Credit that all have used up is not charged to one person, and that of one person is not charged
        // to all.
        if self.is_blocked(from) || !self.take_credit(now, "", price, EVERYBODY) {
            return false;
        }
        let may = self.take_credit(now, from, price, 1.0);
        if !may && let Some((credit, _)) = self.credit.get_mut("") {
            *credit += price;
        }
        may
    }

    fn take_credit(&mut self, now: Instant, from: &str, price: f64, times: f64) -> bool {
        if self.credit.len() >= MAX_CREDITS && !self.credit.contains_key(from) {
            // People whose credit is full again need not be tracked.
            self.credit.retain(|_, (credit, last)| {
                *credit + now.saturating_duration_since(*last).as_secs_f64() * PER_SECOND < BURST
            });
            if self.credit.len() >= MAX_CREDITS {
                return false;
            }
        }
        let (credit, last) = self.credit.entry(from.to_owned()).or_insert((BURST * times, now));
        *credit = (*credit + now.saturating_duration_since(*last).as_secs_f64() * PER_SECOND * times)
            .min(BURST * times);
        *last = now;
        let may = *credit >= price;
        if may {
            *credit -= price;
        }
        may
    }

    /// Stores a message that was received; `None` when it is known already.
    pub(crate) fn store_received(
        &mut self,
        ctx: &mut Context,
        received: Received<'_>,
    ) -> Result<Option<ChatMessage>, StoreError> {
        let Received { thread, from, text, at, mid, file } = received;
        let (at, stated_ms) = self.when(ctx, from, at);
        let Some(vault) = &self.vault else { return Ok(None) };
        let name = self
            .people
            .get(from)
            .map(|known| known.view.nickname.clone())
            .or_else(|| self.name_in_group(thread, from))
            .unwrap_or_default();
        let about = file.as_ref().map(|file| ChatFileView {
            name: file_name(file),
            mime: clean(&file.mime),
            size: file.content.len() as u64,
        });
        let body = Body { from: from.to_owned(), name, text, file: about, stated_ms };
        let new = NewChat {
            thread: thread.to_owned(),
            is_mine: false,
            is_seen: false,
            state: MessageState::Received,
            at: UnixMillis(at),
            sealed: vault.seal_value(thread, &body),
            file: file.map(|file| vault.seal(mid.as_bytes(), &file.content)),
            mid,
        };
        // The author of a private message is remembered, so that it can be answered later.
        if thread == from {
            self.remember(ctx, from, true)?;
        }
        self.add_message(ctx, &new)
    }

    /// Time of a message by the local clock: the time its author states, corrected by the known deviation
    /// of the author's clock and never later than now. The second value is the stated time, if it differs
    /// notably.
    fn when(&self, ctx: &Context, from: &str, at: u64) -> (i64, Option<i64>) {
        let stated = i64::try_from(at).unwrap_or(i64::MAX);
        let offset = self.people.get(from).and_then(|known| known.view.clock_off_ms).unwrap_or(0);
        let at = stated.saturating_sub(offset).min(ctx.clock.unix().0);
        (at, (at.abs_diff(stated) > STATED_OFF_MS).then_some(stated))
    }

    /// Stores a message and announces it.
    pub(crate) fn add_message(
        &mut self,
        ctx: &mut Context,
        new: &NewChat,
    ) -> Result<Option<ChatMessage>, StoreError> {
        let Some(id) = ctx.store.add_chat(new, ctx.clock.unix())? else { return Ok(None) };
        self.stored += CHAT_ROW_BYTES + (new.sealed.len() + new.file.as_ref().map_or(0, Vec::len)) as u64;
        if self.stored >= chat_caps(ctx.settings.storage_cap()).1 {
            self.cut_chats(ctx)?;
        }
        Ok(ctx.store.chat_message(id)?.map(|row| self.announce_message(ctx, &row)))
    }

    /// Trims chat to its caps: messages of strangers go first, those of people whom the user marked last.
    pub(crate) fn cut_chats(&mut self, ctx: &mut Context) -> Result<usize, StoreError> {
        self.stored = 0;
        let is_marked =
            |known: &&Contact| (known.view.is_verified || known.view.is_favourite) && !known.view.is_blocked;
        let marked = self.people.values().filter(is_marked).map(|known| known.view.id.clone()).collect();
        let gone = ctx.store.cut_chats(chat_caps(ctx.settings.storage_cap()).0, &marked)?;
        if gone > 0 {
            tracing::info!(
                gone,
                "the oldest messages were removed: chat takes no more than its share of the disk"
            );
        }
        Ok(gone)
    }

    pub(crate) fn set_message_state(
        &mut self,
        ctx: &mut Context,
        thread: &str,
        mid: &str,
        state: MessageState,
    ) -> Result<(), StoreError> {
        if let Some(row) = ctx.store.set_chat_state(thread, mid, state)? {
            self.announce_message(ctx, &row);
        }
        Ok(())
    }
}

/// Name of a file, for the disk and for display.
pub(crate) fn file_name(file: &FilePacket) -> String {
    let name = clean_name(&file.safe_name());
    if name.is_empty() { "file".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use fog_store::DiskUse;

    use super::*;

    /// Messages of strangers must leave room for jobs, however small the storage setting is.
    #[test]
    fn chat_at_its_caps_does_not_make_a_host_full() {
        for storage in [ByteCount(100_000_000), ByteCount(1 << 30), ByteCount(10 << 30), ByteCount(1 << 40)] {
            let (caps, unseen) = chat_caps(storage);
            let used = DiskUse { chat: caps.of_all + unseen, ..DiskUse::default() };
            assert!(
                used.room(storage.0) >= storage.0 / 3 * 2,
                "{storage}: room for {}",
                used.room(storage.0)
            );
            assert!(
                caps.of_thread <= caps.of_all / 2
                    && caps.of_all <= CHAT_CAPS.of_all
                    && unseen <= LOOK_AT_CAPS_BYTES
            );
        }
        assert_eq!(chat_caps(ByteCount(10 << 30)).0, CHAT_CAPS);
    }
}
