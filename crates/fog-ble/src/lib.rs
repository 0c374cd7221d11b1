//! BitChat packets over Bluetooth LE: one service, one characteristic, both roles at once.
//!
//! As central this device finds others and writes to them; as peripheral it is found, and notifies. Each is
//! a link of packets of its own, and neither names anybody: who is at the other end says so in its announce.
//! Central is built on `btleplug`, peripheral on `bluer` for Linux, on CoreBluetooth for macOS and on the Windows
//! Runtime. Phones have theirs in the plugin; what goes between it and here is [`PhoneRadio`].

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

/// How to use the radio.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The adapter's name, such as `hci0`; `None` takes the first.
    pub adapter: Option<String>,
    /// While this is true it looks for others seldom.
    pub saves_power: Arc<AtomicBool>,
    /// A phone's radio instead of what this crate reaches by itself.
    pub phone: Option<Arc<dyn PhoneRadio>>,
}

/// How far the radio is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// On its way.
    Starting,
    /// It finds others and is found.
    On,
    /// It finds others, but is not found.
    CentralOnly,
    /// It cannot be used now.
    Unavailable,
}

/// What the radio says.
#[derive(Debug)]
pub enum News {
    /// Somebody is linked.
    Link(PacketLink),
    /// Its state changed.
    State {
        /// How far it is.
        state: State,
        /// The adapter in use; empty when none is.
        adapter: String,
        /// One sentence: what is wrong, and what to do; empty when nothing is.
        problem: String,
    },
}

/// Longest packet over the radio: an attribute holds 512 bytes, but BlueZ 5.66 takes writes of 510 at most.
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
const MAX_PACKET: usize = 510;

/// Bytes of a packet for an ATT MTU: three are the operation and the handle.
#[cfg(any(target_os = "linux", target_os = "macos", windows))]
fn limit_of(mtu: u16) -> usize {
    usize::from(mtu.max(23) - 3).min(MAX_PACKET)
}

/// Uses the radio until `news` is closed or the future is dropped. What is missing or switched off is told,
/// and looked for again.
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
        // Said once, not each time it is looked at.
        if told.as_ref() != Some(&problem) {
            tracing::info!(problem, "no Bluetooth");
            let state = News::State { state: State::Unavailable, adapter: String::new(), problem: problem.clone() };
            if news.send(state).await.is_err() {
                return;
            }
            told = Some(problem);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Nothing here reaches a radio on this system.
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
async fn run_here(_config: Config, news: mpsc::Sender<News>) {
    let problem = "Bluetooth is used by the app only on this system".to_owned();
    // Nobody listening is fine.
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
