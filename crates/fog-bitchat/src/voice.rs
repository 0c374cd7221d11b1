//! Live voice: bursts of AAC frames.

use crate::bytes::{Reader, WireError};

const START: u8 = 0x01;
const END: u8 = 0x02;
const CANCELLED: u8 = 0x04;
/// Maximum payload of a packet, in bytes.
const MAX_PAYLOAD: usize = 210;
const MAX_AUDIO_FRAMES: usize = 8;

/// A packet of a burst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoiceFrame {
    /// Random id, the same for all packets of a burst.
    pub burst: [u8; 8],
    /// Sequence number of the packet, from 0.
    pub sequence: u16,
    /// Contents of the packet.
    pub kind: VoiceKind,
}

/// Contents of a packet of a burst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoiceKind {
    /// Start of the burst.
    Start {
        /// Codec; 1 is AAC-LC, 16 kHz, one channel.
        codec: u8,
    },
    /// Encoded audio frames, at most 8.
    Audio(Vec<Vec<u8>>),
    /// End of the burst.
    End {
        /// Number of packets with audio.
        packets: u16,
        /// Duration in milliseconds.
        millis: u32,
    },
    /// The sender cancelled the burst.
    Cancelled,
}

impl VoiceFrame {
    /// Encodes the packet.
    ///
    /// # Errors
    /// [`WireError::TooLong`] above 210 bytes or 8 frames.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut out = self.burst.to_vec();
        out.extend(self.sequence.to_be_bytes());
        match &self.kind {
            VoiceKind::Start { codec } => out.extend([START, *codec]),
            VoiceKind::End { packets, millis } => {
                out.push(END);
                out.extend(packets.to_be_bytes());
                out.extend(millis.to_be_bytes());
            }
            VoiceKind::Cancelled => out.push(CANCELLED),
            VoiceKind::Audio(frames) => {
                out.push(0);
                for frame in frames {
                    out.extend(u16::try_from(frame.len()).map_err(|_| WireError::TooLong)?.to_be_bytes());
                    out.extend_from_slice(frame);
                }
                if frames.len() > MAX_AUDIO_FRAMES {
                    return Err(WireError::TooLong);
                }
            }
        }
        if out.len() > MAX_PAYLOAD { Err(WireError::TooLong) } else { Ok(out) }
    }

    /// Decodes a packet.
    ///
    /// # Errors
    /// [`WireError`] when the packet is malformed or too long.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(WireError::TooLong);
        }
        let mut reader = Reader(payload);
        let (burst, sequence, flags) = (reader.array()?, reader.u16()?, reader.u8()?);
        let kind = match flags {
            START => VoiceKind::Start { codec: reader.u8()? },
            END => VoiceKind::End { packets: reader.u16()?, millis: reader.u32()? },
            CANCELLED => VoiceKind::Cancelled,
            0 => {
                let mut frames = Vec::new();
                while !reader.is_empty() && frames.len() < MAX_AUDIO_FRAMES {
                    let length = reader.u16()?;
                    frames.push(reader.take(usize::from(length))?.to_vec());
                }
                VoiceKind::Audio(frames)
            }
            other => return Err(WireError::Invalid(other)),
        };
        if reader.is_empty() { Ok(Self { burst, sequence, kind }) } else { Err(WireError::TooLong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors() {
        let burst = [1, 2, 3, 4, 5, 6, 7, 8];
        let cases = [
            (0, VoiceKind::Start { codec: 1 }, "010203040506070800000101"),
            (42, VoiceKind::End { packets: 41, millis: 2688 }, "0102030405060708002a02002900000a80"),
            (3, VoiceKind::Cancelled, "0102030405060708000304"),
            (1, VoiceKind::Audio(vec![vec![9, 8], vec![7]]), "0102030405060708000100000209080001"),
        ];
        for (sequence, kind, hex) in cases {
            let frame = VoiceFrame { burst, sequence, kind };
            let hex = if sequence == 1 { format!("{hex}07") } else { hex.to_owned() };
            assert_eq!(data_encoding::HEXLOWER.encode(&frame.encode().unwrap()), hex);
            assert_eq!(VoiceFrame::decode(&frame.encode().unwrap()), Ok(frame));
        }
        assert!(
            VoiceFrame { burst, sequence: 0, kind: VoiceKind::Audio(vec![vec![0; 300]]) }.encode().is_err()
        );
        assert!(VoiceFrame::decode(&[0; 211]).is_err());
    }
}
