//! Chat: switching on and off, and stored state.

use std::time::{Duration, Instant};

use fog_api::{MessageState, PersonLink};
use fog_bitchat::{FilePacket, PeerId};
use fog_store::{ChatRow, StoreError, WipeStep};
use fog_types::UnixMillis;
use fog_types::text::clean_name;

use crate::chat::groups::group_id;
use crate::chat::{Body, ChatCommand, ChatService, Contact, Moved, Names, PinnedContact, SavedState, Secrets, Vault, state_from};
use crate::event_loop::Engine;

/// Name of the stored state of carried letters.
pub(crate) const LETTERS: &str = "letters";
/// Name of the stored state of bundles; `RATCHET` is that of the keys that seal messages in them.
pub(crate) const BUNDLES: &str = "bundles";
pub(crate) const RATCHET: &str = "ratchet";
/// Name of the stored state of groups; `LEFT` is that of the names of left groups.
pub(crate) const GROUPS: &str = "groups";
pub(crate) const LEFT: &str = "left groups";
/// Name of the stored state of the board; `WORDS` is that of statements about others.
pub(crate) const BOARD: &str = "board";
pub(crate) const WORDS: &str = "vouches";
const CHORES: Duration = Duration::from_secs(600);
/// Milliseconds after which a message that was not delivered is given up at a start.
const OUTBOX_LIFE_MS: i64 = 24 * 3_600_000;
/// Milliseconds after which a message that is carried in a bundle is given up at a start.
const CARRIED_LIFE_MS: i64 = 7 * 24 * 3_600_000;

impl Engine {
    /// Switches chat on or off according to the settings and the daemon's options.
    pub(crate) fn look_at_chat(&mut self) -> Result<(), StoreError> {
        if self.store.is_wiping_chat()? {
            self.finish_wipe()?;
        }
        let is_wanted = (self.settings.flag("chat") || self.config.chat.bluetooth) && !self.is_stopping;
        if !is_wanted {
            if self.chat.driver.take().is_some() {
                self.forget_who_is_there();
                self.announce_chat();
            }
            // Stored messages can be read, searched and exported while chat is off.
            return self.open_vault().map(|_| ());
        }
        if self.chat.driver.is_none() {
            self.start_chat()?;
        }
        let nickname = self.nickname();
        let adapter = self.config.chat.adapter.clone().or_else(|| Some(self.settings.text("chat_adapter").trim().to_owned())).filter(|name| !name.is_empty());
        let radio = (self.settings.flag("chat_bluetooth") || self.config.chat.bluetooth).then_some(adapter);
        let wish = (nickname, radio);
        if let Some(driver) = &self.chat.driver
            && self.chat.told != wish
        {
            let is_named = self.chat.told.0 == wish.0 || driver.order(ChatCommand::Rename(wish.0.clone()));
            let is_tuned = self.chat.told.1 == wish.1 || driver.order(ChatCommand::Radio(wish.1.clone()));
            if is_named {
                if let Some(me) = self.chat.me.map(|keys| keys.peer().to_string()) {
                    self.set_nickname(&me, &wish.0);
                }
                self.chat.told.0 = wish.0;
            }
            if is_tuned {
                self.chat.told.1 = wish.1;
            }
            self.announce_chat();
        }
        Ok(())
    }

    /// Opens the stored keys and the vault, if there are any and they open. Returns the secrets.
    fn open_vault(&mut self) -> Result<Option<Secrets>, StoreError> {
        let Some(device) = self.key.as_ref().map(Vault::of_device) else {
            "chat needs the key of this device, which cannot be had; `fog doctor` says why".clone_into(&mut self.chat.problem);
            return Ok(None);
        };
        let secrets = match self.store.chat_keys()? {
            Some(sealed) => match Secrets::open(&device, &sealed) {
                Some(secrets) => secrets,
                None => {
                    "the keys of chat do not open with this device's key; `fog chat wipe` begins anew".clone_into(&mut self.chat.problem);
                    return Ok(None);
                }
            },
            None => {
                let secrets = Secrets::fresh();
                self.store.put_chat_keys(&secrets.seal(&device))?;
                secrets
            }
        };
        self.chat.problem.clear();
        self.chat.me = Some(secrets.identity().keys());
        if self.chat.vault.is_none() {
            self.chat.vault = Some(secrets.vault());
            self.remember_people()?;
            self.chat.groups = fog_bitchat::groups_in(&self.written(GROUPS)?);
            self.chat.board = fog_bitchat::notes_in(&self.written(BOARD)?);
            self.chat.words = serde_json::from_slice(&self.written(WORDS)?).unwrap_or_default();
            self.move_words(self.chat.moved);
            self.look_at_words(self.chat.people.keys().cloned().collect());
            self.chat.left = serde_json::from_slice(&self.written(LEFT)?).unwrap_or_default();
        }
        Ok(Some(secrets))
    }

    fn start_chat(&mut self) -> Result<(), StoreError> {
        let Some(secrets) = self.open_vault()? else { return Ok(()) };
        let identity = secrets.identity();
        let acquaintance = |known: &Contact| {
            let (is_favourite, is_verified) = (known.view.is_favourite, known.view.is_verified);
            Some(PinnedContact { keys: known.keys?, is_favourite, is_verified })
        };
        let known = self.chat.people.values().filter_map(acquaintance).collect();
        let before = SavedState {
            known,
            letters: self.written(LETTERS)?,
            groups: self.written(GROUPS)?,
            board: self.written(BOARD)?,
            bundles: self.written(BUNDLES)?,
            ratchet: self.written(RATCHET)?,
            key: *secrets.ratchet_key(),
            moved: Moved { by: self.chat.moved, gap: self.clock.gap() },
        };
        let nickname = self.nickname();
        self.chat.told = (nickname.clone(), None);
        match ChatService::start(identity, nickname, before, self.config.chat.phone.clone(), self.clock.source(), self.to_self.clone()) {
            Ok(driver) => {
                self.chat.moved = 0;
                self.chat.driver = Some(driver);
                self.say_again_what_waits()?;
                self.chat_tick();
            }
            Err(error) => self.chat.problem = format!("chat cannot start: {error}"),
        }
        self.announce_chat();
        Ok(())
    }

    /// Reads the stored state with this name.
    pub(crate) fn written(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let sealed = self.store.chat_state(name)?;
        Ok(self.chat.vault.as_ref().zip(sealed).and_then(|(vault, sealed)| vault.open(name.as_bytes(), &sealed)).unwrap_or_default())
    }

    /// Stores the state under this name. Returns `false` when there is no vault for it.
    pub(crate) fn write_down(&mut self, name: &str, state: &[u8]) -> Result<bool, StoreError> {
        let Some(vault) = &self.chat.vault else { return Ok(false) };
        self.store.put_chat_state(name, &vault.seal(name.as_bytes(), state))?;
        Ok(true)
    }

    /// Nickname of this device in the mesh.
    pub(crate) fn nickname(&self) -> String {
        let set = clean_name(self.settings.text("chat_nickname"));
        if !set.is_empty() {
            return fog_bitchat::cut_text(&set, 24).to_owned();
        }
        let id = self.chat.me.map(|keys| keys.peer().0).unwrap_or_default();
        format!("anon{:04}", u16::from_be_bytes([id[0], id[1]]) % 10_000)
    }

    /// Queues stored messages that are not known to have arrived, or gives them up.
    fn say_again_what_waits(&mut self) -> Result<(), StoreError> {
        let now = self.clock.lived().0;
        for (stored, row) in self.store.chat_waiting()? {
            let life = if state_from(&row.state) == MessageState::Carried { CARRIED_LIFE_MS } else { OUTBOX_LIFE_MS };
            let is_late = now.saturating_sub(stored.0) > life || self.is_blocked(&row.thread);
            if is_late || !self.order_again(&row)? {
                self.store.set_chat_state(&row.thread, &row.mid, MessageState::Failed.word())?;
            }
        }
        Ok(())
    }

    /// Hands a stored message to the mesh again.
    pub(crate) fn order_again(&mut self, row: &ChatRow) -> Result<bool, StoreError> {
        let (Some(vault), Some(driver)) = (&self.chat.vault, &self.chat.driver) else { return Ok(false) };
        let Some(body) = vault.open_value::<Body>(&row.thread, &row.sealed) else { return Ok(false) };
        let mid = row.mid.clone();
        let to = PeerId::parse(&row.thread);
        Ok(match body.file {
            None => driver.order(match (to, group_id(&row.thread)) {
                (Some(to), _) => ChatCommand::Tell { to, mid, text: body.text },
                (None, Some(group)) => ChatCommand::SayInGroup { group, mid, text: body.text },
                (None, None) => ChatCommand::Say(body.text),
            }),
            Some(file) => match self.store.chat_file(row.id)?.and_then(|sealed| vault.open(row.mid.as_bytes(), &sealed)) {
                Some(content) => driver.order(ChatCommand::Give { to, mid, file: FilePacket { name: file.name, mime: file.mime, content } }),
                None => false,
            },
        })
    }

    fn forget_who_is_there(&mut self) {
        for known in self.chat.people.values_mut() {
            known.view.link = PersonLink::Gone;
            known.view.has_session = false;
            known.view.clock_off_ms = None;
        }
        self.chat.linked.clear();
        self.chat.pings.clear();
        self.chat.radio = fog_api::RadioView::default();
        (self.chat.letters, self.chat.bundles) = (0, 0);
        self.chat.clock_off = None;
        self.chat.told = (String::new(), None);
    }

    /// Carries out all steps of a wipe, also of one that a crash interrupted.
    pub(crate) fn finish_wipe(&mut self) -> Result<(), StoreError> {
        for step in WipeStep::ALL {
            self.store.wipe_chat(step)?;
        }
        Ok(())
    }

    pub(crate) fn forget_chat(&mut self) {
        self.chat.driver = None;
        self.forget_who_is_there();
        self.chat.people.clear();
        self.chat.names = Names::default();
        self.chat.groups.clear();
        self.chat.left.clear();
        self.chat.board.clear();
        self.chat.words.clear();
        self.chat.vault = None;
        self.chat.me = None;
        self.chat.credit.clear();
    }

    /// Does the periodic work of chat: removes old messages, links devices of joined networks and saves
    /// power.
    pub(crate) fn chat_tick(&mut self) {
        if self.chat.driver.is_none() {
            return;
        }
        let is_on_battery = self.rules.readings().charging == Some(false);
        if let Some(driver) = &self.chat.driver {
            driver.save_power(is_on_battery);
        }
        self.link_chat();
        self.forget_old_words();
        if self.chat.last_chores.is_some_and(|last| last.elapsed() <= CHORES) {
            return;
        }
        // Messages that were stored before this start count as well.
        let is_first = self.chat.last_chores.replace(Instant::now()).is_none();
        if is_first && let Err(error) = self.cut_chats() {
            tracing::error!(%error, "messages beyond what chat may keep cannot be removed");
        }
        let days = self.settings.number("chat_keep_days");
        if days > 0.0 {
            let before = UnixMillis(self.clock.lived().0 - (days * 86_400_000.0) as i64);
            match self.store.expire_chat(before) {
                Ok(0) => {}
                Ok(_) => self.announce_chat(),
                Err(error) => tracing::error!(%error, "old messages cannot be removed"),
            }
        }
    }
}
