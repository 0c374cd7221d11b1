//! The running network with its own threads, so that it never holds up the loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fog_grid::Message;
use fog_libp2p::{Config, LibP2p};
use fog_transport::{Channel, NetEvent, Transport};
use fog_types::NodeId;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::message;
use crate::network::NetworkEvent;
use crate::network::control_link::Links;
use crate::network::readers::{Counters, Readers, Relations};

/// Use of the network as given at the daemon's start, in addition to the settings.
#[derive(Debug, Clone, Default)]
pub struct NetSettings {
    /// Whether only loopback addresses are used, for networks within one machine.
    pub loopback: bool,
    /// Whether this node relays for others.
    pub relay: bool,
    /// UDP and TCP port, which overrides the setting.
    pub port: Option<u16>,
    /// Nodes to dial at the start: addresses with a peer id.
    pub known: Vec<String>,
}

/// Number of networks started since the program began.
static STARTED: AtomicU64 = AtomicU64::new(0);

pub(crate) struct Net {
    /// Number of this network; late events of a network that was left are told apart by it.
    pub(crate) number: u64,
    pub(crate) transport: Arc<dyn Transport>,
    links: Links,
    /// Relations of nodes, for the readers of their messages.
    pub(crate) relations: Relations,
    pub(crate) counters: Arc<Counters>,
    runtime: Option<Runtime>,
}

impl Net {
    pub(crate) fn start(
        secret: &[u8; 32],
        config: &Config,
        to: mpsc::Sender<message::EngineMessage>,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(8)
            .thread_name("network")
            .enable_all()
            .build()?;
        let (transport, events) = {
            let _inside = runtime.enter();
            LibP2p::start(secret, config)?
        };
        Ok(Self::over(runtime, Arc::new(transport), events, to))
    }

    /// Runs over a network in memory.
    #[cfg(test)]
    pub(crate) fn in_memory(
        network: &fog_transport::memory::MemoryNetwork,
        node: NodeId,
        to: mpsc::Sender<message::EngineMessage>,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("no runtime");
        let (transport, events) = network.join(node);
        Self::over(runtime, Arc::new(transport), events, to)
    }

    fn over(
        runtime: Runtime,
        transport: Arc<dyn Transport>,
        mut events: mpsc::Receiver<NetEvent>,
        to: mpsc::Sender<message::EngineMessage>,
    ) -> Self {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let (relations, counters) = (Relations::default(), Arc::<Counters>::default());
        let readers = Readers::new(relations.clone(), counters.clone(), transport.clone(), to.clone());
        runtime.spawn(async move {
            while let Some(event) = events.recv().await {
                let news = match event {
                    NetEvent::Incoming(link) => match link.channel {
                        Channel::Control => {
                            readers.read(link);
                            continue;
                        }
                        Channel::Content => {
                            readers.question(link);
                            continue;
                        }
                        Channel::Chat => NetworkEvent::ChatLink(Box::new(link)),
                    },
                    event => {
                        if let NetEvent::Disconnected { node } = &event {
                            readers.end(*node);
                        }
                        NetworkEvent::Event(number, event)
                    }
                };
                if to.send(message::EngineMessage::Net(Box::new(news))).await.is_err() {
                    return;
                }
            }
        });
        let links = Links::new(transport.clone(), runtime.handle().clone());
        Self { number, transport, links, relations, counters, runtime: Some(runtime) }
    }

    pub(crate) fn say(&self, node: NodeId, message: Message) {
        self.links.say(node, message);
    }

    pub(crate) fn forget(&self, node: NodeId) {
        self.links.forget(node);
    }

    /// Runs a future on the network's thread, beside the loop. The returned handle aborts it.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        self.runtime.as_ref().map(|runtime| runtime.spawn(future).abort_handle())
    }

    pub(crate) fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn_blocking(work);
        }
    }

    pub(crate) fn as_transport(&self) -> Arc<dyn Transport> {
        self.transport.clone()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        self.links.close();
        // A runtime must not be waited for inside another one. The goodbye takes about a second at most.
        let leaving = std::thread::Builder::new().name("leaving".to_owned()).spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        if let Err(error) = leaving {
            tracing::warn!(%error, "the network was left without a goodbye");
        }
    }
}
