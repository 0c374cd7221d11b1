//! The job exchange between nodes.
//!
//! The requester offers a task to a worker. The worker accepts the lease, fetches the files, runs the task,
//! reports its progress, ships checkpoints and hands in a signed result. The requester checks the result
//! and signs a receipt. This crate does no I/O: time, randomness and bytes are arguments, and actions are
//! returned as [`Effect`] values. Transport, the Wasm runtime and storage live in other crates.

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
pub use lease::{Effect, GivenUp, Lease, LeaseState, Replication};
pub use message::{
    Answer, Capacity, ContentReply, ContentRequest, Decline, Hello, LeaseId, MAX_HOLDERS, MAX_LIST,
    MAX_MESSAGE, MAX_NAMED, MAX_OUTPUTS, MAX_STRANGER_MESSAGE, Message, MessageError, Receipt, TaskOffer,
    TaskResult, VERSION, WorkerState, list_to_bytes,
};
pub use policy::{HostPolicy, Relation};
pub use price::Terms;
pub use requester::Requester;
pub use trust::{AcceptanceRule, Evidence, Verdict, judge};
