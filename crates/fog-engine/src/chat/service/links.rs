//! Chat thread: links to other devices, and the radio that opens some of them.

use fog_api::PersonLink;
use fog_bitchat::{LinkId, PeerId};
use fog_transport::PacketLink;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::chat::ChatEvent;
use crate::chat::service::{Heard, Open, RADIO_ENDS, Radio, Running};

impl Running {
    pub(super) fn link_of(&self, peer: PeerId) -> PersonLink {
        let mut best = PersonLink::Relayed;
        for link in self.node.links_of(peer).filter_map(|id| self.links.get(&id)) {
            if link.is_radio {
                return PersonLink::Bluetooth;
            }
            best = PersonLink::Network;
        }
        best
    }

    pub(super) fn open(&mut self, link: PacketLink) {
        let PacketLink { limit, is_radio, is_sure, out, mut inbound } = link;
        let id = LinkId(self.next_link);
        self.next_link += 1;
        self.links.insert(id, Open { out, is_radio });
        let heard = self.heard.clone();
        tokio::spawn(async move {
            while let Some(packet) = inbound.recv().await {
                if heard.send(Heard::Packet(id, packet)).await.is_err() {
                    return;
                }
            }
            // When the thread has ended, everything is closed already.
            let _ = heard.send(Heard::Closed(id)).await;
        });
        let now = self.now();
        self.node.handle_link_up(id, limit, now);
        if is_sure {
            self.node.prefer(id);
        }
        self.count_links();
    }

    pub(super) fn hear(&mut self, heard: Heard) {
        let now = self.now();
        match heard {
            Heard::Packet(id, packet) => self.node.handle_bytes(id, &packet, now),
            Heard::Closed(id) => {
                self.links.remove(&id);
                self.node.handle_link_down(id, now);
                self.count_links();
            }
            Heard::Radio(fog_ble::News::Link(link)) => self.open(link),
            Heard::Radio(fog_ble::News::State { state, adapter, problem }) => {
                use fog_api::RadioState::{CentralOnly, On, Starting, Unavailable};
                self.radio_view.state = match state {
                    fog_ble::State::Starting => Starting,
                    fog_ble::State::On => On,
                    fog_ble::State::CentralOnly => CentralOnly,
                    fog_ble::State::Unavailable => Unavailable,
                };
                (self.radio_view.adapter, self.radio_view.problem) = (adapter, problem);
                self.tell_radio();
            }
        }
    }

    fn count_links(&mut self) {
        let links = self.links.values().filter(|link| link.is_radio).count() as u32;
        if links != self.radio_view.links {
            self.radio_view.links = links;
            self.tell_radio();
        }
    }

    fn tell_radio(&self) {
        let (to, view) = (self.to.clone(), self.radio_view.clone());
        tokio::spawn(async move { to.say(ChatEvent::Radio(view)).await });
    }

    pub(super) fn switch_radio(&mut self, wish: Option<Option<String>>) {
        // The links of the previous radio are ended first.
        let before = self.radio.take().map(|running| running.task);
        self.radio_view =
            fog_api::RadioView { links: self.radio_view.links, ..fog_api::RadioView::default() };
        if let Some(adapter) = wish {
            self.radio_view.state = fog_api::RadioState::Starting;
            let (heard, config) =
                (self.heard.clone(), fog_ble::Config { adapter, ..self.radio_config.clone() });
            let (stop, stopped) = oneshot::channel();
            let task = tokio::spawn(use_radio(config, heard, stopped, before));
            self.radio = Some(Radio { stop, task });
        }
        self.tell_radio();
    }
}

/// Runs the radio until `stopped` closes, then ends its links. The previous radio in `before` ends first.
async fn use_radio(
    config: fog_ble::Config,
    heard: mpsc::Sender<Heard>,
    mut stopped: oneshot::Receiver<()>,
    before: Option<JoinHandle<()>>,
) {
    if let Some(before) = before {
        // The task fails only by being dropped.
        let _ = tokio::time::timeout(RADIO_ENDS, before).await;
    }
    let (news, mut told) = mpsc::channel(16);
    let pass_on = async move {
        // The radio ends once its news are no longer received.
        loop {
            let one = tokio::select! {
                one = told.recv() => one,
                _ = &mut stopped => return,
            };
            let Some(one) = one else { return };
            tokio::select! {
                sent = heard.send(Heard::Radio(one)) => if sent.is_err() { return },
                _ = &mut stopped => return,
            }
        }
    };
    let mut radio = std::pin::pin!(fog_ble::run(config, news));
    tokio::select! {
        () = &mut radio => return,
        () = pass_on => {}
    }
    // A radio that does not end its links in time is dropped.
    let _ = tokio::time::timeout(RADIO_ENDS, radio).await;
}
