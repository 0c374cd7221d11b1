//! Chat: switching on and off, and stored state.

use std::time::Duration;

use fog_api::settings::keys;
use fog_api::{EventBody, MessageState, PersonLink};
use fog_bitchat::{FilePacket, PeerId};
use fog_store::{ChatRow, StoreError, WipeStep};
use fog_types::UnixMillis;
use fog_types::text::clean_name;

use crate::chat::errors::ChatError;
use crate::chat::groups::group_id;
use crate::chat::saved_states::{BOARD, BUNDLES, GROUPS, LEFT, LETTERS, RATCHET, WORDS};
use crate::chat::{
    Body, Chat, ChatService, Contact, Moved, PinnedContact, SavedState, Secrets, ServiceCommand, Vault,
};
use crate::context::Context;
use crate::names::Names;

const CHORES: Duration = Duration::from_secs(600);
/// Milliseconds after which a message that was not delivered is given up at a start.
const OUTBOX_LIFE_MS: i64 = 24 * 3_600_000;
/// Milliseconds after which a message that is carried in a bundle is given up at a start.
const CARRIED_LIFE_MS: i64 = 7 * 24 * 3_600_000;

impl Chat {
    /// Switches chat on or off according to the settings and the daemon's options.
    pub(crate) fn apply_settings(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        if ctx.store.is_wiping_chat()? {
            self.finish_wipe(ctx)?;
        }
        let is_wanted = (ctx.settings.flag(keys::CHAT) || ctx.config.chat.bluetooth) && !ctx.is_stopping;
        if !is_wanted {
            if self.driver.take().is_some() {
                self.give_up_changes(ctx);
                self.clear_presence();
                self.announce_chat();
            }
            // Stored messages can be read, searched and exported while chat is off.
            return self.open_vault(ctx).map(|_| ());
        }
        if self.driver.is_none() {
            self.start_chat(ctx)?;
        }
        let nickname = self.nickname(ctx);
        let adapter = ctx
            .config
            .chat
            .adapter
            .clone()
            .or_else(|| Some(ctx.settings.text(keys::CHAT_ADAPTER).trim().to_owned()))
            .filter(|name| !name.is_empty());
        let radio = (ctx.settings.flag(keys::CHAT_BLUETOOTH) || ctx.config.chat.bluetooth).then_some(adapter);
        let wish = (nickname, radio);
        if let Some(driver) = &self.driver
            && self.told != wish
        {
            let is_named = self.told.0 == wish.0 || driver.order(ServiceCommand::Rename(wish.0.clone()));
            let is_tuned = self.told.1 == wish.1 || driver.order(ServiceCommand::Radio(wish.1.clone()));
            if is_named {
                if let Some(me) = self.me.map(|keys| keys.peer().to_string()) {
                    self.set_nickname(ctx, &me, &wish.0);
                }
                self.told.0 = wish.0;
            }
            if is_tuned {
                self.told.1 = wish.1;
            }
            self.announce_chat();
        }
        Ok(())
    }

    /// Opens the stored keys and the vault, if there are any and they open. Returns the secrets.
    fn open_vault(&mut self, ctx: &mut Context) -> Result<Option<Secrets>, StoreError> {
        let Some(device) = ctx.key.as_ref().map(Vault::of_device) else {
            self.problem = Some(ChatError::NoDeviceKey.into());
            return Ok(None);
        };
        let secrets = match ctx.store.chat_keys()? {
            Some(sealed) => match Secrets::open(&device, &sealed) {
                Some(secrets) => secrets,
                None => {
                    self.problem = Some(ChatError::KeysDoNotOpen.into());
                    return Ok(None);
                }
            },
            None => {
                let secrets = Secrets::fresh();
                ctx.store.put_chat_keys(&secrets.seal(&device))?;
                secrets
            }
        };
        self.problem = None;
        self.me = Some(secrets.identity().keys());
        if self.vault.is_none() {
            self.vault = Some(secrets.vault());
            self.remember_people(ctx)?;
            self.groups = fog_bitchat::groups_in(&self.written(ctx, GROUPS)?);
            self.board = fog_bitchat::notes_in(&self.written(ctx, BOARD)?);
            self.words = serde_json::from_slice(&self.written(ctx, WORDS)?).unwrap_or_default();
            self.move_vouches(ctx, self.moved);
            self.refresh_vouches(ctx, self.people.keys().cloned().collect());
            self.left = serde_json::from_slice(&self.written(ctx, LEFT)?).unwrap_or_default();
        }
        Ok(Some(secrets))
    }

    fn start_chat(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        let Some(secrets) = self.open_vault(ctx)? else { return Ok(()) };
        let identity = secrets.identity();
        let acquaintance = |known: &Contact| {
            let (is_favourite, is_verified) = (known.view.is_favourite, known.view.is_verified);
            Some(PinnedContact { keys: known.keys?, is_favourite, is_verified })
        };
        let known = self.people.values().filter_map(acquaintance).collect();
        let before = SavedState {
            known,
            letters: self.written(ctx, LETTERS)?,
            groups: self.written(ctx, GROUPS)?,
            board: self.written(ctx, BOARD)?,
            bundles: self.written(ctx, BUNDLES)?,
            ratchet: self.written(ctx, RATCHET)?,
            key: *secrets.ratchet_key(),
            moved: Moved { by: self.moved, gap: ctx.clock.gap() },
        };
        let nickname = self.nickname(ctx);
        self.told = (nickname.clone(), None);
        match ChatService::start(
            identity,
            nickname,
            before,
            ctx.config.chat.phone.clone(),
            ctx.clock.source(),
            ctx.to_self.clone(),
        ) {
            Ok(driver) => {
                self.moved = 0;
                self.driver = Some(driver);
                self.resend_waiting(ctx)?;
                self.chat_tick(ctx);
            }
            Err(error) => self.problem = Some(ChatError::CannotStart { why: error.to_string() }.into()),
        }
        self.announce_chat();
        Ok(())
    }

    /// Nickname of this device in the mesh.
    pub(crate) fn nickname(&self, ctx: &Context) -> String {
        let set = clean_name(ctx.settings.text(keys::CHAT_NICKNAME));
        if !set.is_empty() {
            return fog_bitchat::cut_text(&set, 24).to_owned();
        }
        let id = self.me.map(|keys| keys.peer().0).unwrap_or_default();
        format!("anon{:04}", u16::from_be_bytes([id[0], id[1]]) % 10_000)
    }

    /// Queues stored messages that are not known to have arrived, or gives them up.
    fn resend_waiting(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        let now = ctx.clock.lived().0;
        for (stored, row) in ctx.store.chat_waiting()? {
            let life = if row.state == MessageState::Carried { CARRIED_LIFE_MS } else { OUTBOX_LIFE_MS };
            let is_late = now.saturating_sub(stored.0) > life || self.is_blocked(&row.thread);
            if is_late || !self.order_again(ctx, &row)? {
                ctx.store.set_chat_state(&row.thread, &row.mid, MessageState::Failed)?;
            }
        }
        Ok(())
    }

    /// Hands a stored message to the mesh again.
    pub(crate) fn order_again(&mut self, ctx: &mut Context, row: &ChatRow) -> Result<bool, StoreError> {
        let (Some(vault), Some(driver)) = (&self.vault, &self.driver) else { return Ok(false) };
        let Some(body) = vault.open_value::<Body>(&row.thread, &row.sealed) else { return Ok(false) };
        let mid = row.mid.clone();
        let to = PeerId::parse(&row.thread);
        Ok(match body.file {
            None => driver.order(match (to, group_id(&row.thread)) {
                (Some(to), _) => ServiceCommand::SendText { to, mid, text: body.text },
                (None, Some(group)) => ServiceCommand::SendToGroup { group, mid, text: body.text },
                (None, None) => ServiceCommand::SendToAll(body.text),
            }),
            Some(file) => {
                match ctx.store.chat_file(row.id)?.and_then(|sealed| vault.open(row.mid.as_bytes(), &sealed))
                {
                    Some(content) => driver.order(ServiceCommand::SendFile {
                        to,
                        mid,
                        file: FilePacket { name: file.name, mime: file.mime, content },
                    }),
                    None => false,
                }
            }
        })
    }

    fn clear_presence(&mut self) {
        for known in self.people.values_mut() {
            known.view.link = PersonLink::Gone;
            known.view.has_session = false;
            known.view.clock_off_ms = None;
        }
        self.linked.clear();
        self.pings.clear();
        self.radio = fog_api::RadioView::default();
        (self.letters, self.bundles) = (0, 0);
        self.clock_off = None;
        self.told = (String::new(), None);
    }

    /// Carries out all steps of a wipe, also of one that a crash interrupted.
    pub(crate) fn finish_wipe(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        // The old nickname must not pass to the next identity, even if the wipe is interrupted.
        ctx.keep_settings(&[(keys::CHAT_NICKNAME.key().to_owned(), None)]);
        for step in WipeStep::ALL {
            ctx.store.wipe_chat(step)?;
        }
        Ok(())
    }

    pub(crate) fn forget_chat(&mut self, ctx: &mut Context) {
        self.driver = None;
        self.give_up_changes(ctx);
        self.states_lost();
        self.clear_presence();
        self.people.clear();
        self.names = Names::default();
        self.groups.clear();
        self.left.clear();
        self.board.clear();
        self.words.clear();
        self.vault = None;
        self.me = None;
        self.credit.clear();
    }

    /// Goes on with the stored identity, as the change to another one could not be stored.
    pub(crate) fn reload(&mut self, ctx: &mut Context) {
        self.forget_chat(ctx);
        ctx.withdraw_setting(keys::CHAT_NICKNAME.key());
        if let Err(error) = self.apply_settings(ctx) {
            tracing::error!(%error, "the stored identity of chat cannot be read");
        }
        // If this cannot be stored either, it is not tried again.
        self.is_identity_changed = false;
        ctx.announce(EventBody::Settings(ctx.settings.values().clone()));
        self.announce_chat();
    }

    /// Does the periodic work of chat: removes old messages, links devices of joined networks and saves
    /// power.
    pub(crate) fn chat_tick(&mut self, ctx: &mut Context) {
        if self.driver.is_none() {
            return;
        }
        let is_on_battery = ctx.rules.readings().charging == Some(false);
        if let Some(driver) = &self.driver {
            driver.save_power(is_on_battery);
        }
        self.link_chat(ctx);
        self.forget_old_vouches(ctx);
        if self.last_chores.is_some_and(|last| ctx.since(last) <= CHORES) {
            return;
        }
        // Messages that were stored before this start count as well.
        let is_first = self.last_chores.replace(ctx.now()).is_none();
        if is_first && let Err(error) = self.cut_chats(ctx) {
            tracing::error!(%error, "messages beyond what chat may keep cannot be removed");
        }
        let days = ctx.settings.number(keys::CHAT_KEEP_DAYS);
        if days > 0.0 {
            let before = UnixMillis(ctx.clock.lived().0 - (days * 86_400_000.0) as i64);
            match ctx.store.expire_chat(before) {
                Ok(0) => {}
                Ok(_) => self.announce_chat(),
                Err(error) => tracing::error!(%error, "old messages cannot be removed"),
            }
        }
    }
}
