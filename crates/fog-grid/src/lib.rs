//! The job exchange between nodes.
//!
//! A requester offers a task to a worker; the worker leases it, fetches what it needs, runs it, says how
//! far it is, ships its checkpoints and hands in a signed result; the requester checks and receipts it.
//! Everything here is arithmetic on values: time, randomness and bytes come in as arguments, what is to
//! be done goes out as values. It does not know how messages travel, what a Wasm module is or where
//! anything is stored.

mod advert;
mod clock;
mod content;
mod identity;
mod invite;
mod lease;
mod message;
mod policy;
mod price;
mod requester;
mod trust;

pub use advert::{Advert, Pace};
pub use clock::{CLOCKS_AGREE_MS, clock_correction};
pub use content::{CHUNK, Content, ContentId, ContentKey, MAX_CONTENT, Manifest, SealError, Sealer};
pub use identity::{Identity, Purpose, Signed, SignedError};
pub use invite::{Group, GroupId, Invite, InviteError};
pub use lease::{Effect, GivenUp, Lease, LeaseState, Need};
pub use message::{
    Answer, Capacity, ContentReply, ContentRequest, Decline, Hello, LeaseId, MAX_HOLDERS, MAX_LIST, MAX_MESSAGE, MAX_NAMED, MAX_OUTPUTS, MAX_STRANGER_MESSAGE,
    Message, MessageError, Receipt, Standing, TaskOffer, TaskResult, VERSION, list_to_bytes,
};
pub use policy::{HostPolicy, Relation};
pub use price::Terms;
pub use requester::Requester;
pub use trust::{Choice, Evidence, Verdict, judge};
