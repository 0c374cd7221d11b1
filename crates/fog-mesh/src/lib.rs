//! Store, carry, forward: how a message reaches somebody whom no path leads to now.
//!
//! [`Table`] learns who meets whom (PRoPHET version 2, RFC 6693), [`Carried`] keeps what is carried within quotas
//! and says what to give to whom. Arithmetic on values: time comes in as milliseconds, names are of any type that
//! can be ordered.

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
