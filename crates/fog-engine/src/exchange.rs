//! Exchange of work between devices: offers and leases of own tasks, and jobs of other devices that run here.

pub(crate) mod backoff;
pub(crate) mod chunk_writer;
pub(crate) mod content;
pub(crate) mod crowded;
pub(crate) mod offer_slots;
#[cfg(test)]
mod offer_slots_tests;
pub(crate) mod placement;
pub(crate) mod remote_checkpoints;
#[cfg(test)]
mod remote_checkpoints_tests;
pub(crate) mod requester;
pub(crate) mod result_delivery;
pub(crate) mod results;
pub(crate) mod sealed_state;
pub(crate) mod segment_proofs;
pub(crate) mod segment_replay;
pub(crate) mod shipped_states;
pub(crate) mod spot_checks;
pub(crate) mod transfers;
pub(crate) mod unfetched_results;
#[cfg(test)]
mod unfetched_results_tests;
pub(crate) mod worker;
#[cfg(test)]
mod worker_tests;
