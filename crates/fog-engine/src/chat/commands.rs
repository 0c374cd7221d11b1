//! Chat: commands of the user.

use std::path::Path;

use base64::Engine as _;
use fog_api::settings::keys;
use fog_api::{
    ApiError, ChatCommand, ChatMessage, EventBody, MessageState, PersonChange, PersonLink, PersonView, Reply,
};
use fog_bitchat::{COMMANDS, Card, FilePacket, PeerId, cut_text, pieces};
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
/// Largest file in bytes: Android accepts 256 fragments.
const MAX_FILE: usize = 100 << 10;
/// Messages that a search looks through at once.
const SEARCHED: u32 = 500;

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
    fn thread_of(&self, with: &str) -> Result<String, ApiError> {
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
            self.got_further(ctx, thread, mid, MessageState::Failed).map_err(to_api)?;
        }
        ordered
    }

    pub(crate) fn chat_thread(
        &self,
        ctx: &Context,
        with: &str,
        before: Option<i64>,
        limit: u32,
        search: &str,
    ) -> Result<Reply, ApiError> {
        let (thread, limit) = (self.thread_of(with)?, limit.clamp(1, 500));
        let wanted = search.trim().to_lowercase();
        let mut found: Vec<ChatMessage> = Vec::new();
        let mut before = before;
        loop {
            let rows = ctx
                .store
                .chat_thread(&thread, before, if wanted.is_empty() { limit } else { SEARCHED })
                .map_err(to_api)?;
            let is_end = wanted.is_empty() || rows.len() < SEARCHED as usize;
            before = rows.last().map(|row| row.id);
            // Stored messages are sealed, so each is opened for the search.
            let views = rows.iter().map(|row| self.message_view(row));
            found.extend(
                views.filter(|message| wanted.is_empty() || message.text.to_lowercase().contains(&wanted)),
            );
            if is_end || found.len() >= limit as usize {
                found.truncate(limit as usize);
                return Ok(Reply::ChatMessages(found));
            }
        }
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
    fn say_in(&mut self, ctx: &mut Context, thread: &str, text: &str) -> Result<Vec<ChatMessage>, ApiError> {
        if let Some(group) = group_id(thread) {
            return self.say_in_group(ctx, group, thread, text);
        }
        let Some(to) = PeerId::parse(thread) else {
            let mid = new_mid();
            let message = self.store_mine(ctx, "", text.to_owned(), None, MessageState::Sent, &mid)?;
            self.order_or_fail(ctx, "", &mid, ServiceCommand::Say(text.to_owned()))?;
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
                ServiceCommand::Tell { to, mid, text: piece.to_owned() },
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

    pub(crate) fn chat_give(
        &mut self,
        ctx: &mut Context,
        to: &str,
        name: String,
        base64: &str,
    ) -> Result<Reply, ApiError> {
        self.needs_chat()?;
        let thread = self.thread_of(to)?;
        let to = PeerId::parse(&thread);
        if to.is_none() && !thread.is_empty() {
            return Err(ChatError::FileToGroup.into());
        }
        if base64.len() > MAX_FILE * 4 / 3 + 8 {
            return Err(ChatError::FileTooLarge { most: ByteCount(MAX_FILE as u64) }.into());
        }
        let content = base64::engine::general_purpose::STANDARD
            .decode(base64)
            .map_err(|error| ApiError::new(ErrorKind::BadInput, error))?;
        if content.is_empty() || content.len() > MAX_FILE {
            return Err(ChatError::BadFileSize { most: ByteCount(MAX_FILE as u64) }.into());
        }
        if self
            .people
            .get(&thread)
            .is_some_and(|known| known.view.link != PersonLink::Gone && !known.view.takes_files)
        {
            return Err(ChatError::NoPrivateFiles.into());
        }
        let mime = mime_of(&name, &content).to_owned();
        let file = FilePacket { name, mime, content };
        if to.is_some() {
            self.remember(ctx, &thread, true).map_err(to_api)?;
        }
        // Receipts name a file by an id that the protocol derives from its name.
        let id = self.me.zip(to).map(|(me, to)| file.media_id(me.peer(), to)).unwrap_or_default();
        let mid = format!("{id}#{}", new_mid());
        let state = if to.is_some() { MessageState::Queued } else { MessageState::Sent };
        let message = self.store_mine(ctx, &thread, file_name(&file), Some(&file), state, &mid)?;
        self.order_or_fail(ctx, &thread, &mid.clone(), ServiceCommand::Give { to, mid, file })?;
        Ok(Reply::ChatSaid { messages: message.into_iter().collect(), note: String::new() })
    }

    /// The opened file of a message, and its description.
    fn attachment(&self, ctx: &Context, row: i64) -> Result<(fog_api::ChatFileView, Vec<u8>), ApiError> {
        let gone = || ChatError::NoFile { row: row.to_string() };
        let found = ctx.store.chat_message(row).map_err(to_api)?.ok_or_else(gone)?;
        let sealed = ctx.store.chat_file(row).map_err(to_api)?.ok_or_else(gone)?;
        let content = self
            .vault
            .as_ref()
            .and_then(|vault| vault.open(found.mid.as_bytes(), &sealed))
            .ok_or_else(gone)?;
        Ok((self.message_view(&found).file.unwrap_or_default(), content))
    }

    pub(crate) fn chat_file(&self, ctx: &Context, row: i64) -> Result<Reply, ApiError> {
        let (file, content) = self.attachment(ctx, row)?;
        Ok(Reply::Bytes {
            mime: file.mime,
            base64: base64::engine::general_purpose::STANDARD.encode(content),
        })
    }

    pub(crate) fn chat_save(&self, ctx: &Context, row: i64, folder: &Path) -> Result<Reply, ApiError> {
        let (file, content) = self.attachment(ctx, row)?;
        for name in free_names(&file.name) {
            let path = folder.join(name);
            let written = std::fs::File::options()
                .write(true)
                .create_new(true)
                .open(&path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, &content));
            match written {
                Ok(()) => return Ok(Reply::exported(vec![path.display().to_string()])),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(ChatError::CannotWrite { path, why: error.to_string() }.into()),
            }
        }
        Err(ChatError::NoFreeName { name: file.name }.into())
    }

    pub(crate) fn chat_seen(&mut self, ctx: &mut Context, with: &str) -> Result<Reply, ApiError> {
        let thread = self.thread_of(with)?;
        let seen = ctx.store.see_chat(&thread).map_err(to_api)?;
        if seen.is_empty() {
            return Ok(Reply::Done);
        }
        if let Some(from) = PeerId::parse(&thread).filter(|_| ctx.settings.flag(keys::CHAT_RECEIPTS)) {
            for row in seen.iter().filter(|row| !row.is_mine) {
                // A lost read receipt does no harm.
                let _ = self.order(ServiceCommand::Saw {
                    from,
                    mid: row.mid.split('#').next().unwrap_or_default().to_owned(),
                });
            }
        }
        self.announce_chat();
        Ok(Reply::Done)
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
            self.got_further(ctx, &found.thread, &found.mid, MessageState::Failed).map_err(to_api)?;
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
            driver.order(ServiceCommand::Favour(peer, on));
            // The apps tell each other about favourites this way. It is not a message, so its loss does no
            // harm.
            let sign = if on { "[FAVORITED]:" } else { "[UNFAVORITED]:" };
            driver.order(ServiceCommand::Tell { to: peer, mid: new_mid(), text: sign.to_owned() });
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
                self.got_further(ctx, &id, &row.mid, MessageState::Failed).map_err(to_api)?;
            }
            if let Some(driver) = &self.driver {
                driver.order(ServiceCommand::Forget(peer));
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

    pub(crate) fn chat_export(&self, ctx: &Context, with: &str, path: &Path) -> Result<Reply, ApiError> {
        let thread = self.thread_of(with)?;
        let mut rows = ctx.store.chat_thread(&thread, None, u32::MAX >> 1).map_err(to_api)?;
        rows.reverse();
        let messages: Vec<ChatMessage> = rows.iter().map(|row| self.message_view(row)).collect();
        let text = if path.extension().is_some_and(|ending| ending == "json") {
            serde_json::to_string_pretty(&messages).unwrap_or_default()
        } else {
            messages.iter().map(export_line).collect()
        };
        // A pipe would block the engine until something reads from it.
        let written = fog_runtime::replace_file(path, text.as_bytes());
        written
            .map_err(|error| ChatError::CannotWrite { path: path.to_path_buf(), why: error.to_string() })?;
        Ok(Reply::exported(vec![path.display().to_string()]))
    }

    pub(crate) fn chat_clear(&mut self, ctx: &mut Context, with: &str) -> Result<Reply, ApiError> {
        let thread = self.thread_of(with)?;
        ctx.store.clear_chat(&thread).map_err(to_api)?;
        if let (Some(peer), Some(driver)) = (PeerId::parse(&thread), &self.driver) {
            driver.order(ServiceCommand::Forget(peer));
        }
        self.announce_chat();
        Ok(Reply::Done)
    }

    pub(crate) fn chat_wipe(&mut self, ctx: &mut Context) -> Result<Reply, ApiError> {
        // The old nickname must not pass to the next identity, even if the wipe is interrupted.
        ctx.keep_settings(&[(keys::CHAT_NICKNAME.key().to_owned(), None)]);
        // The keys are deleted first: from then on the remaining data is unreadable, whatever happens.
        ctx.store.wipe_chat(WipeStep::Keys).map_err(to_api)?;
        self.forget_chat(ctx);
        self.finish_wipe(ctx).map_err(to_api)?;
        self.look_at_chat(ctx).map_err(to_api)?;
        ctx.announce(EventBody::Settings(ctx.settings.values().clone()));
        self.announce_chat();
        Ok(Reply::Done)
    }

    fn slash(
        &mut self,
        ctx: &mut Context,
        to: &str,
        command: fog_bitchat::Command,
    ) -> Result<Reply, ApiError> {
        use fog_bitchat::Command as C;
        let note = |note: String| Ok(Reply::ChatSaid { messages: Vec::new(), note });
        match command {
            C::Message { to, text } => {
                let thread = self.resolve(&to)?;
                match text {
                    Some(text) => Ok(Reply::ChatSaid {
                        messages: self.say_in(ctx, &thread, &text)?,
                        note: String::new(),
                    }),
                    None => note(format!("open the chat with {to} to write to them")),
                }
            }
            C::Who => {
                let here = self
                    .people
                    .values()
                    .map(|known| &known.view)
                    .filter(|person| person.link != PersonLink::Gone);
                let names: Vec<&str> = here.map(|person| person.label.as_str()).collect();
                note(if names.is_empty() {
                    "nobody else is here".to_owned()
                } else {
                    format!("here: {}", names.join(", "))
                })
            }
            C::Clear => {
                self.chat_clear(ctx, to)?;
                note("the messages of this view are deleted on this device".to_owned())
            }
            C::Hug(whom) => self.gesture(ctx, to, &whom, fog_bitchat::hug),
            C::Slap(whom) => self.gesture(ctx, to, &whom, fog_bitchat::slap),
            C::Block(None) => {
                let names: Vec<&str> = self
                    .people
                    .values()
                    .filter(|known| known.view.is_blocked)
                    .map(|known| known.view.label.as_str())
                    .collect();
                note(if names.is_empty() {
                    "nobody is blocked".to_owned()
                } else {
                    format!("blocked: {}", names.join(", "))
                })
            }
            C::Block(Some(who)) => {
                self.mark(ctx, &who, PersonChange::Blocked(true), "is blocked; what they say is not shown")
            }
            C::Unblock(who) => self.mark(ctx, &who, PersonChange::Blocked(false), "is not blocked any more"),
            C::Favourite(who) => self.mark(ctx, &who, PersonChange::Favourite(true), "is a favourite"),
            C::NoFavourite(who) => {
                self.mark(ctx, &who, PersonChange::Favourite(false), "is no favourite any more")
            }
            C::Help => note(COMMANDS.map(|(usage, what)| format!("{usage}: {what}")).join("\n")),
            C::Group(verb) => self.group_command(ctx, to, verb),
            C::Ping(_) | C::Trace(_) => Err(ApiError::new(ErrorKind::Bug, "this is answered elsewhere")),
        }
    }

    fn gesture(
        &mut self,
        ctx: &mut Context,
        to: &str,
        whom: &str,
        words: fn(&str, &str) -> String,
    ) -> Result<Reply, ApiError> {
        let thread = self.thread_of(to)?;
        let text = words(&self.nickname(ctx), whom);
        Ok(Reply::ChatSaid { messages: self.say_in(ctx, &thread, &text)?, note: String::new() })
    }

    fn mark(
        &mut self,
        ctx: &mut Context,
        who: &str,
        change: PersonChange,
        what: &str,
    ) -> Result<Reply, ApiError> {
        self.chat_person(ctx, who, change)?;
        Ok(Reply::ChatSaid { messages: Vec::new(), note: format!("{who} {what}") })
    }
}

/// Candidate names for a file: its own name, then `map 2.png`, `map 3.png` and so on.
fn free_names(name: &str) -> impl Iterator<Item = String> {
    let (stem, ending) = name
        .rsplit_once('.')
        .map_or((name.to_owned(), String::new()), |(stem, ending)| (stem.to_owned(), format!(".{ending}")));
    let others = (2..1000).map(move |n| format!("{stem} {n}{ending}"));
    std::iter::once(name.to_owned()).chain(others)
}

/// Creates an id for a private message, in the form that the apps use.
pub(crate) fn new_mid() -> String {
    let hex = blake3::Hash::from_bytes(rand::random()).to_hex();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]).to_uppercase()
}

fn export_line(message: &ChatMessage) -> String {
    let at = jiff::Timestamp::from_millisecond(message.at_ms)
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default();
    let file = message
        .file
        .as_ref()
        .map(|file| format!(" [file {}, {} bytes]", file.mime, file.size))
        .unwrap_or_default();
    // Further lines of a text are indented, so that none looks like another person's message.
    format!("{at} {}: {}{file}\n", message.name, message.text.replace(['\r', '\n'], "\n    "))
}

/// Media type of a file, by its first bytes and then by its extension.
fn mime_of(name: &str, content: &[u8]) -> &'static str {
    let ending = name.rsplit('.').next().unwrap_or_default().to_lowercase();
    match content {
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "audio/wav",
        [b'O', b'g', b'g', b'S', ..] => "audio/ogg",
        [b'%', b'P', b'D', b'F', ..] => "application/pdf",
        _ => match ending.as_str() {
            "m4a" | "mp4" | "aac" => "audio/mp4",
            "txt" | "md" | "log" => "text/plain",
            _ => "application/octet-stream",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_they_begin_with() {
        assert_eq!(mime_of("a.txt", b"\x89PNG\r\n\x1a\n"), "image/png");
        assert_eq!(mime_of("note.M4A", b"....ftyp"), "audio/mp4");
        assert_eq!(mime_of("x", b"hello"), "application/octet-stream");
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        assert_eq!(
            free_names("map.v2.png").take(3).collect::<Vec<_>>(),
            ["map.v2.png", "map.v2 2.png", "map.v2 3.png"]
        );
        assert_eq!(free_names("file").nth(1).as_deref(), Some("file 2"));
    }

    #[test]
    fn a_line_of_an_export_says_when_who_and_what() {
        let file =
            Some(fog_api::ChatFileView { name: "a.png".to_owned(), mime: "image/png".to_owned(), size: 9 });
        let message = ChatMessage {
            at_ms: 0,
            name: "anna".to_owned(),
            text: "a.png".to_owned(),
            file,
            ..ChatMessage::default()
        };
        assert_eq!(export_line(&message), "1970-01-01 00:00:00 anna: a.png [file image/png, 9 bytes]\n");
        let ids = [new_mid(), new_mid()];
        assert!(ids[0] != ids[1] && ids[0].len() == 36);
    }
}
