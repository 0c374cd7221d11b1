//! Store, carry, forward: how a message reaches somebody whom no path leads to now.
//!
//! [`Carrier`] is a node that carries [`Bundle`]s (RFC 9171): it says what it knows to those it meets and gives them
//! what they are likelier to bring. It stands on [`Table`], which learns who meets whom (PRoPHET version 2,
//! RFC 6693), and [`Carried`], which keeps what is carried and says what to give to whom. [`Ratchet`] seals what no
//! carrier may read. Time comes in as milliseconds, bytes come in and go out; nothing is sent or stored here.

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
