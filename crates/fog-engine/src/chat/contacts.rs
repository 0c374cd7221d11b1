//! Chat: the known people, and the statements of verified people about others.

use std::time::Duration;

use fog_api::{EventBody, PersonLink, PersonView};
use fog_bitchat::{PeerId, PeerKeys, Vouch};
use fog_store::StoreError;
use fog_types::UnixMillis;
use fog_types::text::clean_name;

use crate::chat::saved_states::WORDS;
use crate::chat::{Chat, Contact, ContactRecord, KnownVouch, ServiceCommand};
use crate::context::Context;
use crate::names::Names;

/// Shortest interval at which a remembered person is written when only the time has changed.
const REMEMBER_EVERY: Duration = Duration::from_secs(600);
/// Most people who are remembered. `PEOPLE_SLACK` more are held in memory before the oldest are removed,
/// because that scans all of them.
const MAX_PEOPLE: u32 = if cfg!(test) { 100 } else { 10_000 };
const PEOPLE_SLACK: usize = 50;
/// Most statements of one person that are kept, and most of all people together.
const MAX_VOUCHES_OF_ONE: usize = 64;
const MAX_WORDS: usize = 2_000;

impl Chat {
    pub(crate) fn remember_people(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        let Some(vault) = &self.vault else { return Ok(()) };
        self.people.clear();
        self.names = Names::default();
        if let Some(me) = self.me.map(|keys| keys.peer().to_string()) {
            self.names.set(&me, &self.nickname(ctx));
        }
        for (id, sealed, seen) in ctx.store.chat_people()? {
            let Some(person) = vault.open_value::<ContactRecord>(&id, &sealed) else { continue };
            let keys = PeerKeys { noise: person.noise, signing: person.signing };
            let view = PersonView {
                id: id.clone(),
                nickname: clean_name(&person.nickname),
                fingerprint: fog_bitchat::fingerprint_text(&person.noise),
                is_verified: person.is_verified,
                is_favourite: person.is_favourite,
                is_blocked: person.is_blocked,
                seen_ms: seen.0,
                ..PersonView::default()
            };
            self.names.set(&id, &view.nickname);
            self.people.insert(id, Contact { view, keys: Some(keys), stored: Some((person, ctx.now())) });
        }
        for (id, known) in &mut self.people {
            known.view.label = self.names.label(id, &known.view.nickname);
        }
        Ok(())
    }

    /// Sets the name of a person or of this device, and relabels people whose names look the same.
    pub(crate) fn set_nickname(&mut self, ctx: &mut Context, id: &str, nickname: &str) {
        let others = self.names.set(id, nickname);
        if let Some(known) = self.people.get_mut(id) {
            known.view.label = self.names.label(id, nickname);
        }
        self.tell_apart(ctx, others);
    }

    /// Updates the labels of people, and announces those that change.
    pub(crate) fn tell_apart(&mut self, ctx: &mut Context, ids: Vec<String>) {
        for id in ids {
            let Some(known) = self.people.get_mut(&id) else { continue };
            let label = self.names.label(&id, &known.view.nickname);
            if known.view.label != label {
                known.view.label = label;
                let view = known.view.clone();
                ctx.announce(EventBody::ChatPerson(Box::new(view)));
            }
        }
    }

    pub(crate) fn handle_person(
        &mut self,
        ctx: &mut Context,
        person: fog_bitchat::Person,
        link: PersonLink,
    ) -> Result<(), StoreError> {
        let id = person.peer.to_string();
        let now = ctx.clock.unix().0;
        let known = self.people.entry(id.clone()).or_default();
        let before = known.view.clone();
        known.keys = Some(person.keys);
        known.view = PersonView {
            id: id.clone(),
            nickname: clean_name(&person.nickname),
            fingerprint: fog_bitchat::fingerprint_text(&person.keys.noise),
            link,
            has_session: person.has_session,
            takes_files: person.capabilities.has(fog_bitchat::Capabilities::PRIVATE_MEDIA),
            clock_off_ms: (person.clock_off != 0).then_some(person.clock_off),
            seen_ms: now,
            ..before.clone()
        };
        let nickname = known.view.nickname.clone();
        self.set_nickname(ctx, &id, &nickname);
        if before.id.is_empty() {
            let vouched_by = self.vouched_by(ctx, &id);
            self.people.entry(id.clone()).or_default().view.vouched_by = vouched_by;
        }
        let known = self.people.entry(id.clone()).or_default();
        let view = known.view.clone();
        let is_kept = known.stored.is_some();
        let same_time = PersonView { seen_ms: before.seen_ms, ..view.clone() };
        if same_time != before {
            ctx.announce(EventBody::ChatPerson(Box::new(view)));
        }
        if is_kept {
            self.remember(ctx, &id, false)?;
        }
        Ok(())
    }

    /// Stores a person; one who is not stored yet only if `is_new_too`.
    pub(crate) fn remember(
        &mut self,
        ctx: &mut Context,
        id: &str,
        is_new_too: bool,
    ) -> Result<(), StoreError> {
        let (Some(vault), Some(known)) = (&self.vault, self.people.get_mut(id)) else { return Ok(()) };
        let Some(keys) = known.keys else { return Ok(()) };
        let person = ContactRecord {
            nickname: known.view.nickname.clone(),
            noise: keys.noise,
            signing: keys.signing,
            is_verified: known.view.is_verified,
            is_favourite: known.view.is_favourite,
            is_blocked: known.view.is_blocked,
        };
        let is_due = match &known.stored {
            None => is_new_too,
            Some((stored, at)) => *stored != person || ctx.since(*at) > REMEMBER_EVERY,
        };
        if !is_due {
            return Ok(());
        }
        let is_other = known
            .stored
            .as_ref()
            .is_none_or(|(stored, _)| (stored.noise, stored.signing) != (person.noise, person.signing));
        known.stored = Some((person.clone(), ctx.now()));
        let (sealed, seen) = (vault.seal_value(id, &person), UnixMillis(known.view.seen_ms));
        let is_marked = person.is_verified || person.is_favourite || person.is_blocked;
        ctx.store.put_chat_person(id, &sealed, seen, is_marked, MAX_PEOPLE)?;
        self.forget_people(ctx, id);
        if is_other && let Some(driver) = &self.driver {
            driver.order(ServiceCommand::Pin(keys));
            driver.order(ServiceCommand::SetVerified(keys, person.is_verified));
        }
        Ok(())
    }

    /// Forgets the people of whom nothing was heard for longest, as the store does, because anybody may
    /// invent people who write. People who are present, marked or `except` stay.
    fn forget_people(&mut self, ctx: &mut Context, except: &str) {
        let too_many = self.people.len().saturating_sub(MAX_PEOPLE as usize);
        if too_many < PEOPLE_SLACK {
            return;
        }
        let may_go = |view: &PersonView| {
            view.link == PersonLink::Gone
                && !(view.is_verified || view.is_favourite || view.is_blocked)
                && view.id != except
        };
        let mut old: Vec<(i64, String)> = self
            .people
            .values()
            .filter(|known| may_go(&known.view))
            .map(|known| (known.view.seen_ms, known.view.id.clone()))
            .collect();
        old.sort_unstable();
        for (_, id) in old.into_iter().take(too_many) {
            self.people.remove(&id);
            let others = self.names.remove(&id);
            self.tell_apart(ctx, others);
        }
    }

    pub(crate) fn change_person(
        &mut self,
        ctx: &mut Context,
        id: &str,
        change: impl FnOnce(&mut PersonView),
    ) -> Result<(), StoreError> {
        let Some(known) = self.people.get_mut(id) else { return Ok(()) };
        let (was_verified, was_blocked) = (known.view.is_verified, known.view.is_blocked);
        change(&mut known.view);
        let (view, keys) = (known.view.clone(), known.keys);
        self.remember(ctx, id, true)?;
        ctx.announce(EventBody::ChatPerson(Box::new(view.clone())));
        if was_verified != view.is_verified
            && let (Some(driver), Some(keys)) = (&self.driver, keys)
        {
            driver.order(ServiceCommand::SetVerified(keys, view.is_verified));
        }
        if (was_verified, was_blocked) != (view.is_verified, view.is_blocked) {
            // The person's statements about others count now, or do not any more.
            self.refresh_vouches(ctx, self.words_of(id));
        }
        Ok(())
    }

    /// Handles statements of a verified person about the people whom they verified.
    pub(crate) fn vouched(
        &mut self,
        ctx: &mut Context,
        by: PeerId,
        whom: &[Vouch],
    ) -> Result<(), StoreError> {
        let about: Vec<String> = whom.iter().map(|vouch| vouch.peer().to_string()).collect();
        let words = self.words.entry(by.to_string()).or_default();
        for vouch in whom {
            let word = KnownVouch {
                fingerprint: vouch.fingerprint_text(),
                signing: vouch.signing,
                until: vouch.until(),
            };
            words.retain(|known| known.fingerprint != word.fingerprint);
            words.push(word);
        }
        let too_many = words.len().saturating_sub(MAX_VOUCHES_OF_ONE);
        words.drain(..too_many);
        while self.words.values().map(Vec::len).sum::<usize>() > MAX_WORDS {
            let ends_first = |words: &Vec<KnownVouch>| words.iter().map(|word| word.until).min();
            let Some(by) =
                self.words.iter().min_by_key(|(_, words)| ends_first(words)).map(|(by, _)| by.clone())
            else {
                break;
            };
            self.words.remove(&by);
        }
        self.write_words(ctx)?;
        self.refresh_vouches(ctx, about);
        Ok(())
    }

    /// Ids of the people about whom a person made statements.
    fn words_of(&self, by: &str) -> Vec<String> {
        let id_of = |word: &KnownVouch| word.fingerprint.get(..16).unwrap_or_default().to_owned();
        self.words.get(by).into_iter().flatten().map(id_of).collect()
    }

    fn write_words(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        let state = serde_json::to_vec(&self.words).unwrap_or_default();
        self.store_state(ctx, WORDS, state)
    }

    /// Labels of the people who verified this person and whom the user verified.
    pub(crate) fn vouched_by(&self, ctx: &Context, id: &str) -> Vec<String> {
        let now = ctx.clock.unix().0.max(0) as u64;
        let Some((person, keys)) = self.people.get(id).and_then(|known| Some((&known.view, known.keys?)))
        else {
            return Vec::new();
        };
        let says_so = |word: &KnownVouch| {
            word.until > now && word.fingerprint == person.fingerprint && word.signing == keys.signing
        };
        let givers = self.words.iter().filter(|(_, words)| words.iter().any(says_so));
        let trusted = |by: &str| {
            self.people
                .get(by)
                .map(|known| &known.view)
                .filter(|giver| giver.is_verified && !giver.is_blocked)
        };
        givers.filter_map(|(by, _)| trusted(by)).map(|giver| giver.label.clone()).collect()
    }

    /// Updates the vouching people of these people.
    pub(crate) fn refresh_vouches(&mut self, ctx: &mut Context, about: Vec<String>) {
        for id in about {
            let vouched_by = self.vouched_by(ctx, &id);
            let Some(known) = self.people.get_mut(&id).filter(|known| known.view.vouched_by != vouched_by)
            else {
                continue;
            };
            known.view.vouched_by = vouched_by;
            let view = known.view.clone();
            ctx.announce(EventBody::ChatPerson(Box::new(view)));
        }
    }

    /// Moves the end of all statements by the milliseconds by which the calendar was set.
    pub(crate) fn move_vouches(&mut self, ctx: &mut Context, by: i64) {
        if by == 0 || self.words.is_empty() {
            return;
        }
        self.words.values_mut().flatten().for_each(|word| word.until = word.until.saturating_add_signed(by));
        if let Err(error) = self.write_words(ctx) {
            tracing::error!(%error, "what people say of others cannot be written down");
        }
    }

    /// Removes statements whose time has ended.
    pub(crate) fn forget_old_vouches(&mut self, ctx: &mut Context) {
        let now = ctx.clock.lived().0.max(0) as u64;
        let late = self.words.values().flatten().filter(|word| word.until <= now);
        let about: Vec<String> =
            late.filter_map(|word| word.fingerprint.get(..16).map(str::to_owned)).collect();
        if about.is_empty() {
            return;
        }
        self.words.values_mut().for_each(|words| words.retain(|word| word.until > now));
        self.words.retain(|_, words| !words.is_empty());
        if let Err(error) = self.write_words(ctx) {
            tracing::error!(%error, "what people say of others cannot be written down");
        }
        self.refresh_vouches(ctx, about);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use super::*;
    use crate::chat::{CarriedMessage, Secrets};
    use crate::test_engine::{TestEngine, test_engine};

    /// A message from a bundle, by a person who was never met.
    fn stranger(n: u32) -> CarriedMessage {
        let mut noise = [0; 32];
        noise[..4].copy_from_slice(&n.to_le_bytes());
        CarriedMessage {
            keys: PeerKeys { noise, signing: [1; 32] },
            name: format!("anybody {n}"),
            mid: n.to_string(),
            text: "hello".to_owned(),
            at: 1,
            bundle: [0; 16],
        }
    }

    fn with_chat() -> TestEngine {
        let mut device = test_engine();
        device.engine.chat.vault = Some(Secrets::fresh().vault());
        device
    }

    #[test]
    fn made_up_authors_of_carried_messages_fill_no_memory() {
        let mut device = with_chat();
        let engine = &mut device.engine;
        engine.chat.store_carried(&mut engine.ctx, stranger(0)).unwrap();
        let marked = engine.chat.people.keys().next().unwrap().clone();
        engine.chat.change_person(&mut engine.ctx, &marked, |person| person.is_favourite = true).unwrap();
        for n in 1..600 {
            engine.chat.store_carried(&mut engine.ctx, stranger(n)).unwrap();
            let newest = stranger(n).keys.peer().to_string();
            assert!(engine.chat.people.contains_key(&newest));
        }
        let most = MAX_PEOPLE as usize + PEOPLE_SLACK;
        assert!(engine.chat.people.len() <= most, "{} people are held", engine.chat.people.len());
        assert!(engine.chat.people.contains_key(&marked), "whom the user marked stays");
        assert!(engine.ctx.store.chat_people().unwrap().len() <= MAX_PEOPLE as usize);
    }

    #[test]
    fn nobody_is_remembered_whose_message_is_not_stored() {
        let mut device = with_chat();
        let engine = &mut device.engine;
        while engine.chat.try_spend_quota(engine.ctx.now(), "somebody", 1 << 20) {}
        while engine.chat.try_spend_quota(engine.ctx.now(), "somebody else", 0) {}
        engine.chat.credit.insert(String::new(), (-1e9, engine.ctx.now()));
        for n in 0..100 {
            engine.chat.store_carried(&mut engine.ctx, stranger(n)).unwrap();
        }
        assert_eq!((engine.chat.people.len(), engine.ctx.store.chat_people().unwrap().len()), (0, 0));
        assert!(engine.chat.credit.len() <= 3, "nor is their credit, once all have used up theirs");
    }
}
