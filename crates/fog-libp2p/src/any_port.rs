//! TCP from any free port. For hole punching, libp2p dials from the port on which it listens, on all
//! addresses of the device; where another program has that port on one of them, dialling would always fail.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use fog_transport::Boxed;
use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent};

/// A transport that dials from a new port when the usual one is taken.
pub(crate) struct AnyPort<T>(pub(crate) T);

impl<T> Transport for AnyPort<T>
where
    T: Transport<Error = io::Error> + Unpin,
    T::Output: Send,
    T::Dial: Send + 'static,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = Boxed<io::Result<T::Output>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.0.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let usual = self.0.dial(address.clone(), options)?;
        // Futures do nothing before they are polled.
        let other = self.0.dial(address, DialOpts { port_use: PortUse::New, ..options })?;
        Ok(Box::pin(async move {
            match usual.await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => other.await,
                called => called,
            }
        }))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<T::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
}
