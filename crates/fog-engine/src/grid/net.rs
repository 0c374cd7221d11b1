//! The running network: its own thread, so that the loop is never held up by it.

use std::sync::Arc;
use std::time::Duration;

use fog_grid::Message;
use fog_libp2p::{Config, LibP2p};
use fog_transport::{Channel, NetEvent, Transport};
use fog_types::NodeId;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::NetNews;
use super::content::Fetches;
use super::link::{self, Links};
use crate::core;

/// How the daemon was told to take part, beside what its settings say.
#[derive(Debug, Clone, Default)]
pub struct NetSettings {
    /// Loopback only: for networks of one machine.
    pub loopback: bool,
    /// Relay for others.
    pub relay: bool,
    /// UDP and TCP port instead of the setting.
    pub port: Option<u16>,
    /// Nodes to begin with: addresses with a peer id.
    pub known: Vec<String>,
}

pub(crate) struct Net {
    pub(crate) transport: Arc<LibP2p>,
    links: Links,
    fetches: Fetches,
    runtime: Option<Runtime>,
}

impl Net {
    pub(crate) fn start(secret: &[u8; 32], config: &Config, to: mpsc::Sender<core::Message>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(8).thread_name("network").enable_all().build()?;
        let (transport, mut events) = {
            let _inside = runtime.enter();
            LibP2p::start(secret, config)?
        };
        let transport = Arc::new(transport);
        runtime.spawn(async move {
            let readers = link::Readers::default();
            while let Some(event) = events.recv().await {
                match event {
                    NetEvent::Incoming(link) if link.channel == Channel::Control => readers.read(link, to.clone()),
                    NetEvent::Incoming(link) if link.channel == Channel::Chat => {
                        if to.send(core::Message::Net(Box::new(NetNews::ChatLink(Box::new(link))))).await.is_err() {
                            return;
                        }
                    }
                    NetEvent::Incoming(link) => readers.question(link, to.clone()),
                    event => {
                        if to.send(core::Message::Net(Box::new(NetNews::Event(event)))).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        let links = Links::new(transport.clone(), runtime.handle().clone());
        Ok(Self { transport, links, fetches: Fetches::default(), runtime: Some(runtime) })
    }

    pub(crate) fn say(&self, node: NodeId, message: Message) {
        self.links.say(node, message);
    }

    pub(crate) fn forget(&self, node: NodeId) {
        self.links.forget(node);
    }

    /// Runs something beside the loop, on the network's thread.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(future);
        }
    }

    pub(crate) fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn_blocking(work);
        }
    }

    pub(crate) fn fetches(&self) -> Fetches {
        self.fetches.clone()
    }

    pub(crate) fn as_transport(&self) -> Arc<dyn Transport> {
        self.transport.clone()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        self.links.close();
        // A runtime must not be waited for inside another one; the goodbye takes half a second at most.
        let leaving = std::thread::Builder::new().name("leaving".to_owned()).spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        if let Err(error) = leaving {
            tracing::warn!(%error, "the network was left without a goodbye");
        }
    }
}
