//! Delay-tolerant delivery by store, carry and forward: messages reach peers to which no path exists now.
//!
//! [`Carrier`] is a node that carries [`Bundle`]s (RFC 9171): it exchanges summaries with the peers it
//! meets and gives them the bundles that they are likelier to deliver. It is built on [`Table`], which
//! learns delivery likelihoods (PRoPHET version 2, RFC 6693), and [`Carried`], which stores bundles and
//! chooses those for a peer. [`Ratchet`] seals messages against the carriers. Time comes in as
//! milliseconds, bytes come in and go out; the crate does no I/O.

mod bundle;
mod carried;
mod meeting;
mod prophet;
mod ratchet;
mod wire;

pub use bundle::{Bundle, BundleError, MAX_BUNDLE, MAX_LIFE, MAX_PAYLOAD, lock_of};
pub use carried::{Accepted, Carried, Letter, Quotas};
pub use meeting::{Carrier, Effect, SendError};
pub use prophet::{Parameters, Table};
pub use ratchet::{MAX_PLAINTEXT, OpenError, Ratchet, RestoreError};

#[cfg(test)]
mod sim_tests;

#[cfg(test)]
mod carrier_sim_tests;
