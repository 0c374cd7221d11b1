//! Chat: switched on and off, and what is heard.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fog_api::{ChatFileView, ChatMessage, ChatView, EventBody, MessageState, Notice, PersonLink, PersonView, ThreadView};
use fog_bitchat::{Event, FilePacket, PeerId, PeerKeys};
use fog_grid::Relation;
use fog_store::{ChatRow, NewChat, StoreError, WipeStep};
use fog_transport::{Channel, Link, packet_link, packets_over};
use fog_types::{NodeId, UnixMillis};
use tokio::sync::Notify;

use super::Core;
use super::grouping::group_id;
use crate::chat::{Body, ChatNews, Driver, Known, Linked, Order, Parcel, Remembered, Restored, Secrets, Vault, state_from, state_of};

/// Longest packet over a network: files go whole there.
const NETWORK_PACKET: usize = 64 << 10;
/// Under which letters that are carried are written down.
const LETTERS: &str = "letters";
/// The same for bundles, and for the keys that seal messages in them.
const BUNDLES: &str = "bundles";
const RATCHET: &str = "ratchet";
const GROUPS: &str = "groups";
const LEFT: &str = "left groups";
/// Links to one device.
const MAX_LINKS: usize = 3;
/// Links to a device that did not take one are tried again after this.
const LINK_AGAIN: Duration = Duration::from_secs(5);
/// How long one may take to be opened.
const OPENING: Duration = Duration::from_secs(5);
/// What is remembered of somebody is written down at most so often when only the time has changed.
const REMEMBER_EVERY: Duration = Duration::from_secs(600);
const CHORES: Duration = Duration::from_secs(600);
/// Messages kept of one thread.
const MAX_THREAD: u32 = 20_000;
/// People who are remembered.
const MAX_PEOPLE: u32 = 10_000;
/// Messages of all threads.
const MAX_MESSAGES: u32 = 200_000;
/// Messages of one person that are stored at once, and for each second: what was missed comes at once. Everybody
/// together may so many times as much. So many bytes of a file count as one.
const BURST: f64 = 600.0;
const PER_SECOND: f64 = 1.0;
const EVERYBODY: f64 = 5.0;
const PRICED_BYTES: f64 = 16_384.0;
/// Messages that were not taken in this time are given up at a start.
const OUTBOX_LIFE_MS: i64 = 24 * 3_600_000;
/// The same for those that somebody carries.
const CARRIED_LIFE_MS: i64 = 7 * 24 * 3_600_000;

impl Core {
    /// Switches chat on or off, as the settings and the daemon's options have it.
    pub(super) fn look_at_chat(&mut self) -> Result<(), StoreError> {
        if self.store.is_wiping_chat()? {
            self.finish_wipe()?;
        }
        let is_wanted = (self.settings.flag("chat") || self.config.chat.bluetooth) && !self.is_stopping;
        if !is_wanted {
            if self.chat.driver.take().is_some() {
                self.forget_who_is_there();
                self.announce_chat();
            }
            // What was said can be read, searched and exported all the same.
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
            let is_named = self.chat.told.0 == wish.0 || driver.order(Order::Rename(wish.0.clone()));
            let is_tuned = self.chat.told.1 == wish.1 || driver.order(Order::Radio(wish.1.clone()));
            if is_named {
                self.chat.told.0 = wish.0;
            }
            if is_tuned {
                self.chat.told.1 = wish.1;
            }
            self.announce_chat();
        }
        Ok(())
    }

    /// Opens what is stored, if there is anything and it opens; gives the secrets.
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
            self.chat.left = serde_json::from_slice(&self.written(LEFT)?).unwrap_or_default();
        }
        Ok(Some(secrets))
    }

    fn start_chat(&mut self) -> Result<(), StoreError> {
        let Some(secrets) = self.open_vault()? else { return Ok(()) };
        let identity = secrets.identity();
        let known = self.chat.people.values().filter_map(|known| Some((known.keys?, known.view.is_favourite))).collect();
        let before = Restored {
            known,
            letters: self.written(LETTERS)?,
            groups: self.written(GROUPS)?,
            bundles: self.written(BUNDLES)?,
            ratchet: self.written(RATCHET)?,
            key: *secrets.ratchet_key(),
        };
        let nickname = self.nickname();
        self.chat.told = (nickname.clone(), None);
        match Driver::start(identity, nickname, before, self.config.chat.phone.clone(), self.to_self.clone()) {
            Ok(driver) => {
                self.chat.driver = Some(driver);
                self.say_again_what_waits()?;
                self.chat_tick();
            }
            Err(error) => self.chat.problem = format!("chat cannot start: {error}"),
        }
        self.announce_chat();
        Ok(())
    }

    /// Something of the mesh that was written down.
    fn written(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let sealed = self.store.chat_state(name)?;
        Ok(self.chat.vault.as_ref().zip(sealed).and_then(|(vault, sealed)| vault.open(name.as_bytes(), &sealed)).unwrap_or_default())
    }

    /// Writes it down; `false` when there is no place for it.
    fn write_down(&mut self, name: &str, state: &[u8]) -> Result<bool, StoreError> {
        let Some(vault) = &self.chat.vault else { return Ok(false) };
        self.store.put_chat_state(name, &vault.seal(name.as_bytes(), state))?;
        Ok(true)
    }

    /// What this device is called in the mesh.
    pub(super) fn nickname(&self) -> String {
        let set: String = self.settings.text("chat_nickname").trim().chars().filter(|c| !c.is_control()).collect();
        if !set.is_empty() {
            return set[..set.floor_char_boundary(24)].to_owned();
        }
        let id = self.chat.me.map(|keys| keys.peer().0).unwrap_or_default();
        format!("anon{:04}", u16::from_be_bytes([id[0], id[1]]) % 10_000)
    }

    fn remember_people(&mut self) -> Result<(), StoreError> {
        let Some(vault) = &self.chat.vault else { return Ok(()) };
        self.chat.people.clear();
        for (id, sealed, seen) in self.store.chat_people()? {
            let Some(person) = vault.open_value::<Remembered>(&id, &sealed) else { continue };
            let keys = PeerKeys { noise: person.noise, signing: person.signing };
            let view = PersonView {
                id: id.clone(),
                nickname: person.nickname.clone(),
                fingerprint: fog_bitchat::fingerprint_text(&person.noise),
                is_verified: person.is_verified,
                is_favourite: person.is_favourite,
                is_blocked: person.is_blocked,
                seen_ms: seen.0,
                ..PersonView::default()
            };
            self.chat.people.insert(id, Known { view, keys: Some(keys), stored: Some((person, Instant::now())) });
        }
        Ok(())
    }

    /// Messages of before that are not known to have arrived wait again, or are given up.
    fn say_again_what_waits(&mut self) -> Result<(), StoreError> {
        let now = self.clock.unix().0;
        for row in self.store.chat_waiting()? {
            let life = if state_from(&row.state) == MessageState::Carried { CARRIED_LIFE_MS } else { OUTBOX_LIFE_MS };
            let is_late = now - row.at.0 > life || self.is_blocked(&row.thread);
            if is_late || !self.order_again(&row)? {
                self.store.set_chat_state(&row.thread, &row.mid, MessageState::Failed.word())?;
            }
        }
        Ok(())
    }

    /// Hands a stored message to the mesh once more.
    pub(super) fn order_again(&mut self, row: &ChatRow) -> Result<bool, StoreError> {
        let (Some(vault), Some(driver)) = (&self.chat.vault, &self.chat.driver) else { return Ok(false) };
        let Some(body) = vault.open_value::<Body>(&row.thread, &row.sealed) else { return Ok(false) };
        let mid = row.mid.clone();
        let to = PeerId::parse(&row.thread);
        Ok(match body.file {
            None => driver.order(match (to, group_id(&row.thread)) {
                (Some(to), _) => Order::Tell { to, mid, text: body.text },
                (None, Some(group)) => Order::SayInGroup { group, mid, text: body.text },
                (None, None) => Order::Say(body.text),
            }),
            Some(file) => match self.store.chat_file(row.id)?.and_then(|sealed| vault.open(row.mid.as_bytes(), &sealed)) {
                Some(content) => driver.order(Order::Give { to, mid, file: FilePacket { name: file.name, mime: file.mime, content } }),
                None => false,
            },
        })
    }

    fn forget_who_is_there(&mut self) {
        for known in self.chat.people.values_mut() {
            known.view.link = PersonLink::Gone;
            known.view.has_session = false;
        }
        self.chat.linked.clear();
        self.chat.pings.clear();
        self.chat.radio = fog_api::RadioView::default();
        (self.chat.letters, self.chat.bundles) = (0, 0);
        self.chat.clock_off = None;
        self.chat.told = (String::new(), None);
    }

    /// Deletes what is left of a wipe, also of one that a crash cut short.
    pub(super) fn finish_wipe(&mut self) -> Result<(), StoreError> {
        for step in WipeStep::ALL {
            self.store.wipe_chat(step)?;
        }
        Ok(())
    }

    pub(super) fn forget_chat(&mut self) {
        self.chat.driver = None;
        self.forget_who_is_there();
        self.chat.people.clear();
        self.chat.groups.clear();
        self.chat.left.clear();
        self.chat.vault = None;
        self.chat.me = None;
        self.chat.credit.clear();
    }

    pub(super) fn chat_view(&self) -> ChatView {
        let keys = self.chat.me.filter(|_| self.chat.driver.is_some());
        let threads = self.store.chat_threads().unwrap_or_default();
        let radio = match self.chat.problem.as_str() {
            "" => self.chat.radio.clone(),
            problem => fog_api::RadioView { problem: problem.to_owned(), ..self.chat.radio.clone() },
        };
        ChatView {
            is_on: self.chat.driver.is_some(),
            me: keys.map(|keys| keys.peer().to_string()).unwrap_or_default(),
            fingerprint: keys.map(|keys| fog_bitchat::fingerprint_text(&keys.noise)).unwrap_or_default(),
            nickname: self.nickname(),
            radio,
            clock_off_ms: self.chat.clock_off,
            people: self.chat.people.values().map(|known| self.person_view(&known.view)).collect(),
            groups: self.group_views(),
            carried: self.chat.letters + self.chat.bundles,
            threads: threads.into_iter().map(|(unread, row)| ThreadView { with: row.thread.clone(), unread, last: Some(self.message_view(&row)) }).collect(),
        }
    }

    /// Who is here is heard all the time; that is not written down each time.
    fn person_view(&self, person: &PersonView) -> PersonView {
        let seen_ms = if person.link == PersonLink::Gone { person.seen_ms } else { self.clock.unix().0 };
        PersonView { seen_ms, ..person.clone() }
    }

    pub(super) fn announce_chat(&mut self) {
        let view = self.chat_view();
        self.announce(EventBody::Chat(Box::new(view)));
    }

    pub(super) fn message_view(&self, row: &ChatRow) -> ChatMessage {
        let body: Body = self.chat.vault.as_ref().and_then(|vault| vault.open_value(&row.thread, &row.sealed)).unwrap_or_default();
        ChatMessage {
            row: row.id,
            with: row.thread.clone(),
            from: body.from,
            name: body.name,
            text: body.text,
            at_ms: row.at.0,
            file: body.file,
            state: state_from(&row.state),
        }
    }

    fn announce_message(&mut self, row: &ChatRow) -> ChatMessage {
        let message = self.message_view(row);
        self.announce(EventBody::ChatMessage(Box::new(message.clone())));
        message
    }

    pub(super) fn chat_news(&mut self, driver: u64, news: ChatNews) -> Result<(), StoreError> {
        // One of before may have said it late: it was somebody else's to hear.
        if self.chat.driver.as_ref().is_none_or(|running| running.number() != driver) {
            return Ok(());
        }
        match news {
            ChatNews::Radio(view) => {
                if self.chat.radio != view {
                    self.chat.radio = view;
                    self.announce_chat();
                }
            }
            ChatNews::Person(person, link) => self.person_is_there(person, link)?,
            ChatNews::Refused { to, mid, why } => {
                tracing::debug!(%to, %why, "not taken");
                self.got_further(&to.to_string(), &mid, MessageState::Failed)?;
            }
            ChatNews::Mail { state, letters } => {
                self.write_down(LETTERS, &state)?;
                if self.chat.letters != letters {
                    self.chat.letters = letters;
                    self.announce_chat();
                }
            }
            ChatNews::Bundles { state, carried } => {
                self.write_down(BUNDLES, &state)?;
                if self.chat.bundles != carried {
                    self.chat.bundles = carried;
                    self.announce_chat();
                }
            }
            ChatNews::Groups(state) => {
                self.write_down(GROUPS, &state)?;
                let now = fog_bitchat::groups_in(&state);
                if self.groups_left(&now) {
                    let names = serde_json::to_vec(&self.chat.left).unwrap_or_default();
                    self.write_down(LEFT, &names)?;
                }
                self.chat.groups = now;
                self.announce_chat();
            }
            ChatNews::Ratchet { turn, state } => {
                if self.write_down(RATCHET, &state)?
                    && let Some(driver) = &self.chat.driver
                {
                    driver.order(Order::Stored(turn));
                }
            }
            ChatNews::Parcel(parcel) => self.parcel_came(*parcel)?,
            ChatNews::Event(event) => self.chat_event(event)?,
        }
        Ok(())
    }

    fn chat_event(&mut self, event: Event) -> Result<(), StoreError> {
        match event {
            // The thread that speaks says who is reached how, and what Fog nodes say is its own.
            Event::Person(_) | Event::Fellow { .. } | Event::FellowGone(_) | Event::FellowSaid(..) => {}
            Event::Gone(peer) => {
                let id = peer.to_string();
                if let Some(known) = self.chat.people.get_mut(&id) {
                    known.view.link = PersonLink::Gone;
                    known.view.has_session = false;
                    known.view.seen_ms = self.clock.unix().0;
                    let view = known.view.clone();
                    // Who was only passing by is not kept.
                    if known.stored.is_none() {
                        self.chat.people.remove(&id);
                    }
                    self.announce(EventBody::ChatPerson(Box::new(view)));
                }
            }
            Event::Room { from, text, at, id } => {
                let from = from.to_string();
                if !self.may_store(&from, text.len()) {
                    return Ok(());
                }
                let mid = blake3::Hash::from_bytes([id, [0; 16]].concat().try_into().unwrap_or_default()).to_hex()[..32].to_owned();
                let is_for_me = text.contains(&format!("@{}", self.nickname()));
                if let Some(message) = self.heard_text("", &from, text, at, mid, None)?
                    && is_for_me
                {
                    self.announce(EventBody::Notice(Notice::ChatMessage { with: String::new(), name: message.name, text: message.text }));
                }
            }
            Event::Private { from, id, text, at } => {
                // Nor who did not say who they are yet: they say it again when they have.
                let is_known = self.chat.people.contains_key(&from.to_string());
                if is_known
                    && self.heard_alone(from, text, at, id.clone())?
                    && let Some(driver) = &self.chat.driver
                {
                    driver.order(Order::Took { from, mid: id });
                }
            }
            Event::File { from, id, file, at } => {
                let author = from.to_string();
                if !self.chat.people.contains_key(&author) || !self.may_store(&author, file.content.len()) {
                    return Ok(());
                }
                let thread = if id.is_some() { author.clone() } else { String::new() };
                // The protocol's id is made of the name alone; two pictures of one name are two.
                let hash = blake3::hash(&file.content).to_hex();
                let mid = format!("{}#{}", id.clone().unwrap_or_else(|| file.safe_name()), &hash[..16]);
                let message = self.heard_text(&thread, &author, file.safe_name(), at, mid, Some(file))?;
                if let (Some(driver), Some(mid)) = (&self.chat.driver, id) {
                    driver.order(Order::Took { from, mid });
                }
                if let Some(message) = message.filter(|_| !thread.is_empty()) {
                    self.announce(EventBody::Notice(Notice::ChatMessage { with: thread, name: message.name, text: message.text }));
                }
            }
            Event::GroupText { group, from, nickname, text, at, id } => self.heard_in_group(group, from, &nickname, text, at, id)?,
            Event::Invited { group, name, from } => self.invited(group, &name, from),
            Event::Delivery { to, id, state } => self.got_further(&to.to_string(), &id, state_of(state))?,
            Event::Pong { from, hops, millis, way } => self.pinged(from, Some((hops, millis, way))),
            Event::NoPong(whom) => self.pinged(whom, None),
            Event::Verified(peer) => self.change_person(&peer.to_string(), |person| person.is_verified = true)?,
            Event::ClockOff(millis) => {
                self.chat.clock_off = (millis != 0).then_some(millis);
                self.announce_chat();
            }
        }
        Ok(())
    }

    /// A text to this device alone; whether it is stored, now or before.
    fn heard_alone(&mut self, from: PeerId, text: String, at: u64, mid: String) -> Result<bool, StoreError> {
        let thread = from.to_string();
        if !self.may_store(&thread, text.len()) {
            return Ok(false);
        }
        let is_sign = text.starts_with("[FAVORITED]") || text.starts_with("[UNFAVORITED]");
        let message = if is_sign { None } else { self.heard_text(&thread, &thread, text, at, mid, None)? };
        if let Some(message) = message {
            self.announce(EventBody::Notice(Notice::ChatMessage { with: thread, name: message.name, text: message.text }));
        }
        Ok(true)
    }

    /// A message that others carried. Its author was here once, and may not have been remembered.
    fn parcel_came(&mut self, parcel: Parcel) -> Result<(), StoreError> {
        let Parcel { keys, name, mid, text, at, bundle } = parcel;
        let from = keys.peer();
        self.chat.people.entry(from.to_string()).or_insert_with(|| Known {
            view: PersonView {
                id: from.to_string(),
                nickname: clean(&name),
                fingerprint: fog_bitchat::fingerprint_text(&keys.noise),
                seen_ms: self.clock.unix().0,
                ..PersonView::default()
            },
            keys: Some(keys),
            stored: None,
        });
        let is_stored = self.heard_alone(from, text, at, mid)?;
        if let Some(driver) = &self.chat.driver {
            driver.order(Order::Answered { bundle, is_stored });
        }
        Ok(())
    }

    pub(super) fn is_blocked(&self, id: &str) -> bool {
        self.chat.people.get(id).is_some_and(|known| known.view.is_blocked)
    }

    /// Whether what somebody said is stored: nobody fills the disk, nor do many who are one.
    pub(super) fn may_store(&mut self, from: &str, bytes: usize) -> bool {
        let price = 1.0 + bytes as f64 / PRICED_BYTES;
        !self.is_blocked(from) && self.take_credit(from, price, 1.0) && self.take_credit("", price, EVERYBODY)
    }

    fn take_credit(&mut self, from: &str, price: f64, times: f64) -> bool {
        if self.chat.credit.len() > 1_000 {
            // Those who are owed everything again anyway.
            self.chat.credit.retain(|_, (credit, last)| *credit + last.elapsed().as_secs_f64() * PER_SECOND < BURST);
        }
        let (credit, last) = self.chat.credit.entry(from.to_owned()).or_insert((BURST * times, Instant::now()));
        *credit = (*credit + last.elapsed().as_secs_f64() * PER_SECOND * times).min(BURST * times);
        *last = Instant::now();
        let may = *credit >= price;
        if may {
            *credit -= price;
        }
        may
    }

    /// Stores what somebody said; `None` when it is known.
    pub(super) fn heard_text(
        &mut self,
        thread: &str,
        from: &str,
        text: String,
        at: u64,
        mid: String,
        file: Option<FilePacket>,
    ) -> Result<Option<ChatMessage>, StoreError> {
        let Some(vault) = &self.chat.vault else { return Ok(None) };
        let name = self.chat.people.get(from).map(|known| known.view.nickname.clone()).or_else(|| self.name_in_group(thread, from)).unwrap_or_default();
        let about = file.as_ref().map(|file| ChatFileView { name: file.safe_name(), mime: clean(&file.mime), size: file.content.len() as u64 });
        let body = Body { from: from.to_owned(), name, text, file: about };
        let new = NewChat {
            thread: thread.to_owned(),
            is_mine: false,
            is_seen: false,
            state: MessageState::Received.word().to_owned(),
            at: UnixMillis(at.cast_signed()),
            sealed: vault.seal_value(thread, &body),
            file: file.map(|file| vault.seal(mid.as_bytes(), &file.content)),
            mid,
        };
        // Whoever writes to this device alone is remembered, to be answered later.
        if thread == from {
            self.remember(from, true)?;
        }
        self.add_message(&new)
    }

    /// Stores a message and says so.
    pub(super) fn add_message(&mut self, new: &NewChat) -> Result<Option<ChatMessage>, StoreError> {
        let Some(id) = self.store.add_chat(new, self.clock.unix())? else { return Ok(None) };
        self.chat.stored += 1;
        if self.chat.stored >= 500 {
            self.chat.stored = 0;
            self.store.cut_chats(MAX_THREAD, MAX_MESSAGES)?;
        }
        Ok(self.store.chat_message(id)?.map(|row| self.announce_message(&row)))
    }

    pub(super) fn got_further(&mut self, thread: &str, mid: &str, state: MessageState) -> Result<(), StoreError> {
        if let Some(row) = self.store.set_chat_state(thread, mid, state.word())? {
            self.announce_message(&row);
        }
        Ok(())
    }

    fn person_is_there(&mut self, person: fog_bitchat::Person, link: PersonLink) -> Result<(), StoreError> {
        let id = person.peer.to_string();
        let now = self.clock.unix().0;
        let known = self.chat.people.entry(id.clone()).or_default();
        let before = known.view.clone();
        known.keys = Some(person.keys);
        known.view = PersonView {
            id: id.clone(),
            nickname: clean(&person.nickname),
            fingerprint: fog_bitchat::fingerprint_text(&person.keys.noise),
            link,
            has_session: person.has_session,
            takes_files: person.capabilities.has(fog_bitchat::Capabilities::PRIVATE_MEDIA),
            seen_ms: now,
            ..before.clone()
        };
        let view = known.view.clone();
        let is_kept = known.stored.is_some();
        let same_time = PersonView { seen_ms: before.seen_ms, ..view.clone() };
        if same_time != before {
            self.announce(EventBody::ChatPerson(Box::new(view)));
        }
        if is_kept {
            self.remember(&id, false)?;
        }
        Ok(())
    }

    /// Writes down who somebody is; when they are not written down yet only if `is_new_too`.
    pub(super) fn remember(&mut self, id: &str, is_new_too: bool) -> Result<(), StoreError> {
        let (Some(vault), Some(known)) = (&self.chat.vault, self.chat.people.get_mut(id)) else { return Ok(()) };
        let Some(keys) = known.keys else { return Ok(()) };
        let person = Remembered {
            nickname: known.view.nickname.clone(),
            noise: keys.noise,
            signing: keys.signing,
            is_verified: known.view.is_verified,
            is_favourite: known.view.is_favourite,
            is_blocked: known.view.is_blocked,
        };
        let is_due = match &known.stored {
            None => is_new_too,
            Some((stored, at)) => *stored != person || at.elapsed() > REMEMBER_EVERY,
        };
        if !is_due {
            return Ok(());
        }
        let is_other = known.stored.as_ref().is_none_or(|(stored, _)| (stored.noise, stored.signing) != (person.noise, person.signing));
        known.stored = Some((person.clone(), Instant::now()));
        let (sealed, seen) = (vault.seal_value(id, &person), UnixMillis(known.view.seen_ms));
        let is_marked = person.is_verified || person.is_favourite || person.is_blocked;
        self.store.put_chat_person(id, &sealed, seen, is_marked, MAX_PEOPLE)?;
        if is_other && let Some(driver) = &self.chat.driver {
            driver.order(Order::Pin(keys));
        }
        Ok(())
    }

    pub(super) fn change_person(&mut self, id: &str, change: impl FnOnce(&mut PersonView)) -> Result<(), StoreError> {
        let Some(known) = self.chat.people.get_mut(id) else { return Ok(()) };
        change(&mut known.view);
        let view = known.view.clone();
        self.remember(id, true)?;
        self.announce(EventBody::ChatPerson(Box::new(view)));
        Ok(())
    }

    /// Old messages go, links to devices of joined networks come, power is saved.
    pub(super) fn chat_tick(&mut self) {
        if self.chat.driver.is_none() {
            return;
        }
        let is_on_battery = self.rules.readings().charging == Some(false);
        if let Some(driver) = &self.chat.driver {
            driver.save_power(is_on_battery);
        }
        self.link_chat();
        let days = self.settings.number("chat_keep_days");
        if days > 0.0 && self.chat.last_chores.is_none_or(|last| last.elapsed() > CHORES) {
            self.chat.last_chores = Some(Instant::now());
            let before = UnixMillis(self.clock.unix().0 - (days * 86_400_000.0) as i64);
            match self.store.expire_chat(before) {
                Ok(0) => {}
                Ok(_) => self.announce_chat(),
                Err(error) => tracing::error!(%error, "old messages cannot be removed"),
            }
        }
    }

    fn may_link_chat(&self, node: NodeId) -> bool {
        self.chat.driver.is_some() && matches!(self.related(node), Relation::Group(_) | Relation::Lan)
    }

    /// Opens a link of the mesh to each device of a group or this local network. Of two devices the one with the
    /// lower id does so at once, the other one only if that brings nothing: its connection may be one of before.
    fn link_chat(&mut self) {
        let Some(me) = self.grid.me() else { return };
        let peers: Vec<NodeId> = self.grid.peers.iter().filter(|(_, peer)| peer.route.is_some()).map(|(node, _)| *node).collect();
        for node in peers {
            let waits = match self.chat.linked.get(&node) {
                Some(known) => known.at.elapsed() < LINK_AGAIN || known.links.iter().any(|link| link.strong_count() > 0),
                None if me > node => {
                    self.chat.linked.insert(node, Linked { at: Instant::now(), links: VecDeque::new() });
                    true
                }
                None => false,
            };
            if waits || !self.may_link_chat(node) {
                continue;
            }
            let alive = self.alive(node);
            let (Some(net), Some(driver)) = (&self.grid.net, &self.chat.driver) else { return };
            let (transport, orders) = (net.as_transport(), driver.orders());
            net.spawn(async move {
                match tokio::time::timeout(OPENING, transport.open(node, Channel::Chat)).await {
                    Ok(Ok(link)) => carry(link, orders, alive).await,
                    Ok(Err(error)) => tracing::debug!(%node, %error, "no chat link"),
                    Err(_) => tracing::debug!(%node, "no chat link in time"),
                }
            });
        }
    }

    /// What lives as long as a link to a device does, and ends it when told.
    fn alive(&mut self, node: NodeId) -> Arc<Notify> {
        let alive = Arc::new(Notify::new());
        let known = self.chat.linked.entry(node).or_insert_with(|| Linked { at: Instant::now(), links: VecDeque::new() });
        known.at = Instant::now();
        known.links.retain(|link| link.strong_count() > 0);
        known.links.push_back(Arc::downgrade(&alive));
        // Both sides may open one at once, and one of before may not have been seen to end. More is no use to anybody.
        while known.links.len() > MAX_LINKS {
            if let Some(oldest) = known.links.pop_front().and_then(|oldest| oldest.upgrade()) {
                oldest.notify_one();
            }
        }
        alive
    }

    /// A device opened a link of the mesh.
    pub(super) fn chat_link_came(&mut self, link: Link) {
        if !self.may_link_chat(link.node) {
            return;
        }
        let alive = self.alive(link.node);
        if let (Some(net), Some(driver)) = (&self.grid.net, &self.chat.driver) {
            let orders = driver.orders();
            net.spawn(carry(link, orders, alive));
        }
    }
}

/// Without what moves a terminal's cursor or turns the reading direction: it comes from anybody.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')).collect()
}

/// Carries packets of the mesh over a link until it ends, until the thread that speaks does, or until it is told to.
async fn carry(link: Link, orders: tokio::sync::mpsc::WeakSender<Order>, alive: Arc<Notify>) {
    let (packets, end) = packet_link(NETWORK_PACKET, false, true);
    // Chat was switched off meanwhile; and nothing here keeps it on.
    let Some(now) = orders.upgrade() else { return };
    if now.send(Order::Link(packets)).await.is_err() {
        return;
    }
    drop(now);
    tokio::select! {
        () = packets_over(link.pipe, NETWORK_PACKET as u32, end) => {}
        () = alive.notified() => {}
    }
}
