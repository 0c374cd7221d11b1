//! BitChat packets over Bluetooth LE: one service, one characteristic, both roles at once.
//!
//! As central, this device finds others and writes to them; as peripheral, it is found and notifies. Each
//! role has packet links of its own, which name no peer: the announce on a link tells who is at its other
//! end. The central is built on `btleplug`; the peripheral on `bluer` for Linux, on CoreBluetooth for macOS
//! and on the Windows Runtime. Phones have both roles in the plugin, behind [`PhoneRadio`].

#[cfg(any(target_os = "linux", target_os = "macos", windows))]
mod central;
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
mod cooldown;
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
mod peripheral;
mod phone;
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
mod shared;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fog_transport::PacketLink;
use tokio::sync::mpsc;

pub use phone::{PhoneAnswer, PhoneNews, PhoneRadio, PhoneState};

/// Settings of the radio.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Name of the adapter, such as `hci0`; `None` takes the first.
    pub adapter: Option<String>,
    /// Whether to save power; while true, the radio scans less often.
    pub saves_power: Arc<AtomicBool>,
    /// Radio of a phone, used instead of the adapters that this crate reaches itself.
    pub phone: Option<Arc<dyn PhoneRadio>>,
}

/// State of the radio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The radio is starting.
    Starting,
    /// The radio finds others and is found.
    On,
    /// The radio finds others, but is not found.
    CentralOnly,
    /// The radio cannot be used now.
    Unavailable,
}

/// Event of the radio.
#[derive(Debug)]
pub enum News {
    /// A link to another device is open.
    Link(PacketLink),
    /// The state of the radio changed.
    State {
        /// New state of the radio.
        state: State,
        /// Name of the adapter in use; empty when none is.
        adapter: String,
        /// One sentence that tells what is wrong and what to do; empty when nothing is.
        problem: String,
    },
}

/// Maximum size of a packet in bytes: an attribute holds 512, but BlueZ 5.66 accepts writes of at most 510.
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
const MAX_PACKET: usize = 510;

/// Maximum size of a packet for an ATT MTU: three bytes are the operation and the handle.
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
fn limit_of(mtu: u16) -> usize {
    usize::from(mtu.max(23) - 3).min(MAX_PACKET)
}

/// Uses the radio until `news` is closed or the future is dropped. A missing or disabled adapter is
/// reported, and looked for again every 5 s.
pub async fn run(config: Config, news: mpsc::Sender<News>) {
    match config.phone.clone() {
        Some(radio) => phone::run(radio, config, news).await,
        None => run_here(config, news).await,
    }
}

#[cfg(any(target_os = "linux", target_os = "macos", windows))]
async fn run_here(config: Config, news: mpsc::Sender<News>) {
    use std::time::Duration;
    const AGAIN: Duration = Duration::from_secs(5);
    let mut told = None;
    loop {
        let problem = match central::find(config.adapter.as_deref()).await {
            Ok((adapter, name)) => {
                told = None;
                central::both_roles(&adapter, &name, &config, &news).await
            }
            Err(problem) => problem,
        };
        if news.is_closed() {
            return;
        }
        // Reported once, not at each attempt.
        if told.as_ref() != Some(&problem) {
            tracing::info!(problem, "no Bluetooth");
            let state =
                News::State { state: State::Unavailable, adapter: String::new(), problem: problem.clone() };
            if news.send(state).await.is_err() {
                return;
            }
            told = Some(problem);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Reports that this crate reaches no radio on this system.
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
async fn run_here(_config: Config, news: mpsc::Sender<News>) {
    let problem = "Bluetooth is used by the app only on this system".to_owned();
    // A closed channel is fine.
    let _ = news.send(News::State { state: State::Unavailable, adapter: String::new(), problem }).await;
    news.closed().await;
}

#[cfg(all(test, any(target_os = "linux", target_os = "macos", windows)))]
mod tests {
    use super::*;

    #[test]
    fn packets_fit_into_what_was_agreed_on() {
        assert_eq!([23, 185, 517, 0].map(limit_of), [20, 182, 510, 20]);
    }
}
