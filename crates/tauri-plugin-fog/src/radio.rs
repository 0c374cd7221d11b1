//! Events of the phone's radio, in the format of the native code.

use base64::Engine as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Longest base64 text of a packet: an attribute holds 512 bytes.
const MAX_TEXT: usize = 512_usize.div_ceil(3) * 4;

/// Event of a phone's radio.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RadioEvent {
    /// A peer is linked and receives packets.
    Link {
        /// Id of the link; unique while the app runs.
        id: u64,
        /// Longest packet that the peer accepts, in bytes.
        limit: usize,
        /// Whether the peer opened the link: it writes and gets notifications.
        is_incoming: bool,
    },
    /// A packet was received.
    Packet {
        /// Id of the link.
        id: u64,
        /// The packet.
        #[serde(rename = "data", deserialize_with = "bytes")]
        packet: Vec<u8>,
    },
    /// A link was closed.
    Closed {
        /// Id of the link.
        id: u64,
    },
    /// The state of the radio changed.
    State {
        /// New state.
        state: RadioState,
    },
}

/// State of a phone's radio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RadioState {
    /// The radio finds others and is found.
    On,
    /// The radio finds others; this phone cannot advertise.
    CentralOnly,
    /// Bluetooth is switched off.
    Off,
    /// The app has no permission to use Bluetooth.
    Forbidden,
    /// There is no Bluetooth, or it does not work.
    Missing,
}

/// A packet for the native side.
#[derive(Debug, Serialize)]
pub(crate) struct Outgoing {
    id: u64,
    data: String,
}

impl Outgoing {
    pub(crate) fn new(id: u64, packet: &[u8]) -> Self {
        Self { id, data: base64::engine::general_purpose::STANDARD.encode(packet) }
    }
}

fn bytes<'de, D: Deserializer<'de>>(text: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(text)?;
    if text.len() > MAX_TEXT {
        return Err(serde::de::Error::custom("a packet has at most 512 bytes"));
    }
    base64::engine::general_purpose::STANDARD.decode(text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_phones_write_is_understood() {
        let read = |text: &str| serde_json::from_str::<RadioEvent>(text).unwrap();
        assert_eq!(
            read(r#"{"kind":"link","id":1,"limit":509,"isIncoming":true}"#),
            RadioEvent::Link { id: 1, limit: 509, is_incoming: true }
        );
        assert_eq!(
            read(r#"{"kind":"packet","id":2,"data":"AQL/"}"#),
            RadioEvent::Packet { id: 2, packet: vec![1, 2, 255] }
        );
        assert_eq!(read(r#"{"kind":"closed","id":3}"#), RadioEvent::Closed { id: 3 });
        for (word, state) in [
            ("on", RadioState::On),
            ("centralOnly", RadioState::CentralOnly),
            ("off", RadioState::Off),
            ("forbidden", RadioState::Forbidden),
            ("missing", RadioState::Missing),
        ] {
            assert_eq!(read(&format!(r#"{{"kind":"state","state":"{word}"}}"#)), RadioEvent::State { state });
        }
        assert_eq!(
            serde_json::to_string(&Outgoing::new(4, &[1, 2, 255])).unwrap(),
            r#"{"id":4,"data":"AQL/"}"#
        );
    }

    #[test]
    fn what_is_too_long_or_no_packet_is_refused() {
        let read = |data: &str| {
            serde_json::from_str::<RadioEvent>(&format!(r#"{{"kind":"packet","id":1,"data":"{data}"}}"#))
        };
        let longest = Outgoing::new(1, &[0; 512]).data;
        assert_eq!(read(&longest).unwrap(), RadioEvent::Packet { id: 1, packet: vec![0; 512] });
        assert!(read(&format!("{longest}AAAA")).is_err());
        assert!(read("?").is_err());
    }
}
