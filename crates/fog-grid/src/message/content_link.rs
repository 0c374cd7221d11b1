//! Requests on a content link, and the replies to them.

use serde::{Deserialize, Serialize};

use super::{MessageError, whole};
use crate::content::ContentId;

/// Maximum number of chunks of one request: 64 MiB.
pub(crate) const MAX_RUN: u32 = 256;

/// Request on a content link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRequest {
    /// Id of the content.
    pub id: ContentId,
    /// Number of the first chunk; `None` asks for the manifest alone.
    pub from: Option<u32>,
    /// Number of chunks, at most 256.
    pub count: u32,
}

/// Reply to a [`ContentRequest`]; the manifest or the chunks follow, one frame each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentReply {
    /// The node has the content.
    Here {
        /// Number of bytes before sealing.
        size: u64,
    },
    /// The node does not have the content.
    Unknown,
    /// The node is busy; the request may be repeated in some seconds.
    Busy,
}

impl ContentRequest {
    /// Decodes a request from the bytes of a frame.
    ///
    /// # Errors
    /// [`MessageError`] if the bytes cannot be decoded or ask for too many chunks.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let request: Self = whole(bytes)?;
        if request.count > MAX_RUN {
            Err(MessageError::Bounds { what: "a number of pieces" })
        } else {
            Ok(request)
        }
    }

    /// Encodes the request as the bytes of a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }
}

impl ContentReply {
    /// Decodes a reply from the bytes of a frame.
    ///
    /// # Errors
    /// [`MessageError::Malformed`] if the bytes cannot be decoded.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        whole(bytes)
    }

    /// Encodes the reply as the bytes of a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }
}
