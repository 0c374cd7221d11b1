//! Chat: commands of the user.

use fog_api::{
    ApiError, ChatCommand, ChatMessage, EventBody, MessageState, PersonChange, PersonLink, PersonView, Reply,
};
use fog_bitchat::{Card, FilePacket, PeerId, cut_text, pieces};
use fog_store::{NewChat, WipeStep};
use fog_types::text::clean_name;
use fog_types::{ByteCount, ErrorKind};

use crate::chat::errors::ChatError;
use crate::chat::groups::group_id;
use crate::chat::incoming::file_name;
use crate::chat::ping::is_ping;
use crate::chat::{Body, Chat, ServiceCommand};
use crate::context::Context;
use crate::effects::Answer;
use crate::query::to_api;

/// Longest private text in bytes: its length field is one byte.
const MAX_PRIVATE: usize = 255;
/// Longest text in bytes that is accepted at once.
const MAX_TEXT: usize = 16 << 10;

impl Chat {
    /// Carries out a command of a front end.
    pub(crate) fn command(&mut self, ctx: &mut Context, command: ChatCommand, answer: Answer) {
        let reply = match command {
            ChatCommand::Show => Ok(Reply::Chat(Box::new(self.chat_view(ctx)))),
            ChatCommand::Thread { with, before, limit, search } => {
                self.chat_thread(ctx, &with, before, limit, &search)
            }
            ChatCommand::Say { text, .. } if is_ping(&text) => return self.chat_ping(ctx, &text, answer),
            ChatCommand::Say { to, text } => self.chat_say(ctx, &to, &text),
            ChatCommand::Give { to, name, base64 } => self.chat_give(ctx, &to, name, &base64),
            ChatCommand::File { row } => self.chat_file(ctx, row),
            ChatCommand::Save { row, folder } => self.chat_save(ctx, row, folder.as_ref()),
            ChatCommand::Seen { with } => self.chat_seen(ctx, &with),
            ChatCommand::Again { row } => self.chat_again(ctx, row),
            ChatCommand::Person { who, change } => self.chat_person(ctx, &who, change),
            ChatCommand::Group(change) => self.chat_group(ctx, change),
            ChatCommand::Post { text, is_urgent, hours } => self.chat_post(ctx, &text, is_urgent, hours),
            ChatCommand::TakeDown { id } => self.chat_take_down(&id),
            ChatCommand::MoveOut { path, passphrase } => {
                return self.chat_move_out(ctx, path.into(), passphrase, answer);
            }
            ChatCommand::MoveIn { path, passphrase } => {
                return self.chat_move_in(ctx, path.into(), passphrase, answer);
            }
            ChatCommand::Card => self.chat_card(ctx),
            ChatCommand::Scan { card } => self.chat_scan(ctx, &card),
            ChatCommand::Export { with, path } => self.chat_export(ctx, &with, path.as_ref()),
            ChatCommand::Clear { with } => self.chat_clear(ctx, &with),
            ChatCommand::Wipe => self.chat_wipe(ctx),
        };
        self.answer(ctx, reply, answer);
    }

    /// Resolves a name to a thread. A person is named by an id, a nickname, or `nickname#` and the first
    /// digits of the id; a group by its id, by `#` and its name, or by its name if no person has that
    /// nickname.
    pub(crate) fn resolve(&self, who: &str) -> Result<String, ApiError> {
        let who = who.trim();
        if let Some(group) = self.group_named(who, who.starts_with('#'))? {
            return Ok(group);
        }
        let who = who.strip_prefix('@').unwrap_or(who);
        if let Some(peer) = PeerId::parse(who) {
            return Ok(peer.to_string());
        }
        let (name, digits) = who.rsplit_once('#').map_or((who, ""), |(name, digits)| (name, digits));
        let fits = |person: &&PersonView| {
            person.nickname == who
                || person.label == who
                || (!digits.is_empty()
                    && person.nickname == name
                    && person.id.starts_with(&digits.to_lowercase()))
        };
        let mut found: Vec<&PersonView> =
            self.people.values().map(|known| &known.view).filter(fits).collect();
        // Among people of one name the only verified one is meant. Presence does not count, since anybody
        // may take a name.
        if found.len() > 1 && found.iter().filter(|person| person.is_verified).count() == 1 {
            found.retain(|person| person.is_verified);
        }
        match found[..] {
            [one] => Ok(one.id.clone()),
            [] => match self.group_named(who, true)? {
                Some(group) => Ok(group),
                None => Err(ChatError::UnknownPerson { name: who.to_owned() }.into()),
            },
            _ => {
                let names: Vec<&str> = found.iter().map(|person| person.label.as_str()).collect();
                Err(ChatError::SeveralPeople { name: who.to_owned(), found: names.join(", ") }.into())
            }
        }
    }

    /// Thread that a name means; the room if the name is empty.
    pub(crate) fn thread_of(&self, with: &str) -> Result<String, ApiError> {
        if with.trim().is_empty() { Ok(String::new()) } else { self.resolve(with) }
    }

    pub(crate) fn needs_chat(&self) -> Result<(), ApiError> {
        if self.driver.is_some() {
            return Ok(());
        }
        Err(self.problem.clone().unwrap_or_else(|| ChatError::Off.into()))
    }

    pub(crate) fn order(&self, order: ServiceCommand) -> Result<(), ApiError> {
        match &self.driver {
            Some(driver) if driver.order(order) => Ok(()),
            _ => Err(ChatError::Busy.into()),
        }
    }

    /// Like [`Self::order`], for a stored message: the message fails if the order is not accepted.
    pub(crate) fn order_or_fail(
        &mut self,
        ctx: &mut Context,
        thread: &str,
        mid: &str,
        order: ServiceCommand,
    ) -> Result<(), ApiError> {
        let ordered = self.order(order);
        if ordered.is_err() {
            self.set_message_state(ctx, thread, mid, MessageState::Failed).map_err(to_api)?;
        }
        ordered
    }

    pub(crate) fn chat_say(&mut self, ctx: &mut Context, to: &str, text: &str) -> Result<Reply, ApiError> {
        self.needs_chat()?;
        let text = text.trim();
        if text.is_empty() {
            return Err(ChatError::NothingToSend.into());
        }
        if text.len() > MAX_TEXT {
            return Err(ChatError::TextTooLong { most: ByteCount(MAX_TEXT as u64) }.into());
        }
        match fog_bitchat::Command::parse(text) {
            Some(Ok(command)) => self.slash(ctx, to, command),
            Some(Err(error)) => Err(ApiError::new(ErrorKind::BadInput, error)),
            None => {
                let thread = self.thread_of(to)?;
                // Two slashes begin a text whose first character is a slash.
                let text = if text.starts_with("//") { &text[1..] } else { text };
                Ok(Reply::ChatSaid { messages: self.say_in(ctx, &thread, text)?, note: String::new() })
            }
        }
    }

    /// Stores a text of this device and sends it.
    pub(crate) fn say_in(
        &mut self,
        ctx: &mut Context,
        thread: &str,
        text: &str,
    ) -> Result<Vec<ChatMessage>, ApiError> {
        if let Some(group) = group_id(thread) {
            return self.say_in_group(ctx, group, thread, text);
        }
        let Some(to) = PeerId::parse(thread) else {
            let mid = new_mid();
            let message = self.store_mine(ctx, "", text.to_owned(), None, MessageState::Sent, &mid)?;
            self.order_or_fail(ctx, "", &mid, ServiceCommand::SendToAll(text.to_owned()))?;
            return Ok(message.into_iter().collect());
        };
        self.remember(ctx, thread, true).map_err(to_api)?;
        let mut messages = Vec::new();
        for piece in pieces(text, MAX_PRIVATE) {
            let mid = new_mid();
            messages.extend(self.store_mine(
                ctx,
                thread,
                piece.to_owned(),
                None,
                MessageState::Queued,
                &mid,
            )?);
            self.order_or_fail(
                ctx,
                thread,
                &mid.clone(),
                ServiceCommand::SendText { to, mid, text: piece.to_owned() },
            )?;
        }
        Ok(messages)
    }

    pub(crate) fn store_mine(
        &mut self,
        ctx: &mut Context,
        thread: &str,
        text: String,
        file: Option<&FilePacket>,
        state: MessageState,
        mid: &str,
    ) -> Result<Option<ChatMessage>, ApiError> {
        let name = self.nickname(ctx);
        let Some(vault) = &self.vault else { return Ok(None) };
        let about = file.map(|file| fog_api::ChatFileView {
            name: file_name(file),
            mime: file.mime.clone(),
            size: file.content.len() as u64,
        });
        let new = NewChat {
            thread: thread.to_owned(),
            is_mine: true,
            is_seen: true,
            state,
            at: ctx.clock.unix(),
            mid: mid.to_owned(),
            sealed: vault.seal_value(thread, &Body { name, text, file: about, ..Body::default() }),
            file: file.map(|file| vault.seal(mid.as_bytes(), &file.content)),
        };
        self.add_message(ctx, &new).map_err(to_api)
    }

    pub(crate) fn chat_again(&mut self, ctx: &mut Context, row: i64) -> Result<Reply, ApiError> {
        self.needs_chat()?;
        let found = ctx.store.chat_message(row).map_err(to_api)?.filter(|row| row.is_mine);
        let found = found.ok_or_else(|| ChatError::UnknownMessage { row: row.to_string() })?;
        if found.state != MessageState::Failed {
            return Err(ChatError::NotGivenUp.into());
        }
        let begins =
            if PeerId::parse(&found.thread).is_some() { MessageState::Queued } else { MessageState::Sent };
        ctx.store.set_chat_state(&found.thread, &found.mid, begins).map_err(to_api)?;
        if !self.order_again(ctx, &found).map_err(to_api)? {
            self.set_message_state(ctx, &found.thread, &found.mid, MessageState::Failed).map_err(to_api)?;
            return Err(ChatError::MessageUnreadable.into());
        }
        Ok(Reply::Done)
    }

    pub(crate) fn chat_person(
        &mut self,
        ctx: &mut Context,
        who: &str,
        change: PersonChange,
    ) -> Result<Reply, ApiError> {
        let id = self.resolve(who)?;
        if !self.people.contains_key(&id) {
            return Err(ChatError::NotMet { id }.into());
        }
        self.change_person(ctx, &id, |person| match change {
            PersonChange::Favourite(on) => person.is_favourite = on,
            PersonChange::Blocked(on) => person.is_blocked = on,
            PersonChange::Verified(on) => person.is_verified = on,
        })
        .map_err(to_api)?;
        if let (Some(peer), PersonChange::Favourite(on), Some(driver)) =
            (PeerId::parse(&id), change, &self.driver)
        {
            driver.order(ServiceCommand::SetFavourite(peer, on));
            // The apps tell each other about favourites this way. It is not a message, so its loss does no
            // harm.
            let sign = if on { "[FAVORITED]:" } else { "[UNFAVORITED]:" };
            driver.order(ServiceCommand::SendText { to: peer, mid: new_mid(), text: sign.to_owned() });
        }
        if let (Some(peer), PersonChange::Blocked(true)) = (PeerId::parse(&id), change) {
            // Messages that wait for a blocked person are not sent, neither now nor after a restart.
            for row in ctx
                .store
                .chat_waiting()
                .map_err(to_api)?
                .into_iter()
                .map(|(_, row)| row)
                .filter(|row| row.thread == id)
            {
                self.set_message_state(ctx, &id, &row.mid, MessageState::Failed).map_err(to_api)?;
            }
            if let Some(driver) = &self.driver {
                driver.order(ServiceCommand::DropOutbox(peer));
            }
        }
        Ok(Reply::Done)
    }

    pub(crate) fn chat_card(&self, ctx: &Context) -> Result<Reply, ApiError> {
        self.needs_chat()?;
        let device = ctx.key.as_ref().map(crate::chat::Vault::of_device);
        let sealed = ctx.store.chat_keys().map_err(to_api)?;
        let secrets =
            device.zip(sealed).and_then(|(device, sealed)| crate::chat::Secrets::open(&device, &sealed));
        let secrets = secrets.ok_or(ChatError::KeysUnreadable)?;
        let seconds = ctx.clock.unix().0.max(0) as u64 / 1_000;
        Ok(Reply::Text(fog_bitchat::card(&secrets.identity(), &self.nickname(ctx), seconds, rand::random())))
    }

    pub(crate) fn chat_scan(&mut self, ctx: &mut Context, card: &str) -> Result<Reply, ApiError> {
        self.needs_chat()?;
        let seconds = ctx.clock.unix().0.max(0) as u64 / 1_000;
        let card = Card::read(card, seconds).map_err(|error| ApiError::new(ErrorKind::BadInput, error))?;
        let (peer, noise) = (card.keys.peer(), card.keys.noise);
        if Some(card.keys) == self.me {
            return Err(ChatError::OwnCode.into());
        }
        let id = peer.to_string();
        if !self.people.get(&id).is_some_and(|known| known.view.link != PersonLink::Gone) {
            let name = clean_name(cut_text(&card.nickname, 48));
            return Err(ChatError::NotHere { name }.into());
        }
        self.order(ServiceCommand::Verify { peer, noise })?;
        Ok(Reply::Text(id))
    }

    pub(crate) fn chat_wipe(&mut self, ctx: &mut Context) -> Result<Reply, ApiError> {
        // The keys are deleted first: from then on the remaining data is unreadable, whatever happens.
        ctx.store.wipe_chat(WipeStep::Keys).map_err(to_api)?;
        self.forget_chat(ctx);
        self.finish_wipe(ctx).map_err(to_api)?;
        self.apply_settings(ctx).map_err(to_api)?;
        ctx.announce(EventBody::Settings(ctx.settings.values().clone()));
        self.announce_chat();
        Ok(Reply::Done)
    }
}

/// Creates an id for a private message, in the form that the apps use.
pub(crate) fn new_mid() -> String {
    let hex = blake3::Hash::from_bytes(rand::random()).to_hex();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]).to_uppercase()
}
