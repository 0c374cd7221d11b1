//! Chat: transfer of an identity to another device.

use std::path::PathBuf;

use fog_api::settings::keys;
use fog_api::{ApiError, EventBody, Reply, Secret};
use fog_bitchat::Identity;
use fog_types::UnixMillis;

use crate::chat::errors::ChatError;
use crate::chat::saved_states::{BUNDLES, GROUPS, LEFT, LETTERS, RATCHET};
use crate::chat::{Chat, Contact, ContactRecord, IdentityBackup, MIN_PASSPHRASE, Secrets, Vault};
use crate::context::Context;
use crate::effects::Answer;
use crate::message::EngineMessage;
use crate::query::to_api;

impl Chat {
    /// Saves the chat identity of this device on another thread, since deriving the key takes a moment.
    pub(crate) fn chat_move_out(&self, ctx: &Context, path: PathBuf, passphrase: Secret, answer: Answer) {
        let backup = match self.pack(ctx, &passphrase) {
            Ok(backup) => backup,
            // The front end may be gone.
            Err(error) => return drop(answer.send(Err(error))),
        };
        tokio::task::spawn_blocking(move || {
            let written = backup
                .write(&path, &passphrase.0)
                .map(|()| Reply::exported(vec![path.display().to_string()]));
            let _ = answer.send(written);
        });
    }

    fn secrets_of_chat(&self, ctx: &Context) -> Result<(Vault, Secrets), ApiError> {
        let device = ctx.key.as_ref().map(Vault::of_device);
        let sealed = ctx.store.chat_keys().map_err(to_api)?;
        let opened = device
            .zip(sealed)
            .and_then(|(device, sealed)| Secrets::open(&device, &sealed).map(|secrets| (device, secrets)));
        opened.ok_or_else(|| ChatError::KeysUnreadable.into())
    }

    fn pack(&self, ctx: &Context, passphrase: &Secret) -> Result<IdentityBackup, ApiError> {
        if passphrase.0.chars().count() < MIN_PASSPHRASE {
            return Err(ChatError::PassphraseTooShort { least: MIN_PASSPHRASE }.into());
        }
        let (_, secrets) = self.secrets_of_chat(ctx)?;
        let remembered = |known: &Contact| known.stored.as_ref().map(|(person, _)| person.clone());
        let people = self.people.values().filter_map(remembered).collect();
        Ok(IdentityBackup::pack(
            &secrets.identity(),
            self.nickname(ctx),
            people,
            &self.written(ctx, GROUPS).map_err(to_api)?,
        ))
    }

    /// Reads an identity from a file on another thread, to take it over.
    pub(crate) fn chat_move_in(&self, ctx: &Context, path: PathBuf, passphrase: Secret, answer: Answer) {
        let to = ctx.to_self.clone();
        tokio::task::spawn_blocking(move || {
            let read = IdentityBackup::read(&path, &passphrase.0);
            // A send fails only when the loop is gone.
            let _ = to.blocking_send(EngineMessage::MovedIn(Box::new(read), answer));
        });
    }

    /// Takes over the identity in one step. Messages of this device stay.
    pub(crate) fn moved_in(
        &mut self,
        ctx: &mut Context,
        backup: Result<IdentityBackup, ApiError>,
    ) -> Result<Reply, ApiError> {
        let backup = backup?;
        let secrets = backup.secrets().ok_or(ChatError::NoKeysInFile)?;
        let (mut noise, mut signing) = ([0; 32], [0; 32]);
        noise.copy_from_slice(&secrets[..32]);
        signing.copy_from_slice(&secrets[32..]);
        let me = Identity::new(noise, signing).peer();
        let (device, own) = self.secrets_of_chat(ctx)?;
        if own.identity().peer() == me {
            return Err(ChatError::SameIdentity.into());
        }
        let vault = own.vault();
        let now = ctx.clock.unix();
        let person = |person: &ContactRecord| {
            let id =
                fog_bitchat::PeerKeys { noise: person.noise, signing: person.signing }.peer().to_string();
            let sealed = vault.seal_value(&id, person);
            (id, sealed, UnixMillis(now.0), person.is_verified || person.is_favourite || person.is_blocked)
        };
        let people: Vec<_> = backup.people.iter().map(person).collect();
        // Letters and bundles for the previous identity are useless to the new one.
        let empty = |name: &'static str| (name, vault.seal(name.as_bytes(), &[]));
        let states = [
            empty(LETTERS),
            empty(BUNDLES),
            empty(RATCHET),
            empty(LEFT),
            (GROUPS, vault.seal(GROUPS.as_bytes(), &backup.groups())),
        ];
        let keys = own.with_identity(&secrets).seal(&device);
        ctx.store.replace_chat_identity(&keys, &people, &states).map_err(to_api)?;
        // The previous identity says goodbye.
        self.forget_chat(ctx);
        self.is_identity_changed = true;
        ctx.keep_settings(&[(keys::CHAT_NICKNAME.key().to_owned(), Some(backup.nickname.into()))]);
        self.apply_settings(ctx).map_err(to_api)?;
        ctx.announce(EventBody::Settings(ctx.settings.values().clone()));
        self.announce_chat();
        Ok(Reply::Text(me.to_string()))
    }
}
