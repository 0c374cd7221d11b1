//! Chat thread: reports to the event loop.

use std::time::{Duration, Instant};

use fog_bitchat::{Delivery, Event};

use crate::chat::ChatEvent;
use crate::chat::service::Running;
use crate::chat::store_and_forward::BundleEffect;

/// Shortest time between two writes of carried letters and bundles; bundles are written no faster than
/// `WRITTEN` bytes per second.
const MAIL_EVERY: Duration = Duration::from_secs(1);
const WRITTEN: f64 = 1_000_000.0;

impl Running {
    /// Reports what happened. Returns `false` when the loop is gone.
    pub(super) async fn tell(&mut self, now: u64) -> bool {
        loop {
            let news = if let Some(event) = self.node.poll_event() {
                self.handle_node_event(event, now)
            } else if let Some(todo) = self.relay.poll() {
                self.handle_relay_effect(todo, now)
            } else {
                break;
            };
            if let Some(news) = news
                && !self.to.say(news).await
            {
                return false;
            }
        }
        for (request, problem) in std::mem::take(&mut self.changed) {
            self.groups = self.node.groups_version();
            self.board = Some((self.node.board_version(), Instant::now()));
            let (groups, board) = (self.node.groups_state(), self.node.board_state());
            if !self.to.say(ChatEvent::Changed { request, problem, groups, board }).await {
                return false;
            }
        }
        // Groups are reported at once: a key that is lost is lost with the messages that need it.
        let version = self.node.groups_version();
        if version != self.groups {
            self.groups = version;
            if !self.to.say(ChatEvent::Groups(self.node.groups_state())).await {
                return false;
            }
        }
        let version = self.node.board_version();
        if self.board.is_none_or(|(told, at)| told != version && at.elapsed() >= MAIL_EVERY) {
            self.board = Some((version, Instant::now()));
            if !self.to.say(ChatEvent::Board(self.node.board_state())).await {
                return false;
            }
        }
        let version = self.relay.version();
        if self.bundles.is_none_or(|(told, next)| told != version && Instant::now() >= next) {
            let state = self.relay.bundles();
            let pause = MAIL_EVERY.max(Duration::from_secs_f64(state.len() as f64 / WRITTEN));
            self.bundles = Some((version, Instant::now() + pause));
            if !self.to.say(ChatEvent::Bundles { state, carried: self.relay.carried() as u32 }).await {
                return false;
            }
        }
        let version = self.node.mail_version();
        if self.mail.is_none_or(|(told, at)| told != version && at.elapsed() >= MAIL_EVERY) {
            self.mail = Some((version, Instant::now()));
            return self
                .to
                .say(ChatEvent::Mail { state: self.node.mail_state(), letters: self.node.letters() as u32 })
                .await;
        }
        true
    }

    fn handle_node_event(&mut self, event: Event, now: u64) -> Option<ChatEvent> {
        match event {
            Event::Person(person) => {
                let link = self.link_of(person.peer);
                return Some(ChatEvent::Person(person, link));
            }
            Event::FogPeer { peer, noise } => self.relay.met(peer, noise, now),
            Event::FogPeerGone(peer) => self.relay.parted(peer, now),
            Event::FogPeerMessage(peer, bytes) => self.relay.heard(peer, &bytes, now),
            // A bundle still carries the message.
            Event::Delivery { to, ref id, state: Delivery::Failed } if self.relay.has(to, id) => {}
            other => return Some(ChatEvent::Event(other)),
        }
        None
    }

    fn handle_relay_effect(&mut self, todo: BundleEffect, now: u64) -> Option<ChatEvent> {
        let delivery = |to, id, state| Some(ChatEvent::Event(Event::Delivery { to, id, state }));
        match todo {
            BundleEffect::Say(peer, bytes) => {
                self.node.send_to_fog_peer(peer, bytes, now);
                None
            }
            BundleEffect::Store(turn, state) => Some(ChatEvent::Ratchet { turn, state }),
            BundleEffect::CarriedMessage(carried) => Some(ChatEvent::CarriedMessage(carried)),
            BundleEffect::Carried(to, id) => {
                self.node.mark_carried(to, &id);
                delivery(to, id, Delivery::Carried)
            }
            BundleEffect::Delivered(to, id) => {
                self.node.arrived(to, id);
                None
            }
            BundleEffect::Expired(to, id) if self.node.is_waiting(to, &id) => None,
            BundleEffect::Expired(to, id) => delivery(to, id, Delivery::Failed),
        }
    }
}
