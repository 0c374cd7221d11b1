//! Tasks that run on this device: from the submission of their job to their results.

pub(crate) mod assemble;
pub(crate) mod checkpoint_import;
pub(crate) mod checkpoints;
pub(crate) mod cleanup;
pub(crate) mod commands;
#[cfg(test)]
mod damaged_file_tests;
pub(crate) mod estimate;
pub(crate) mod estimates;
#[cfg(test)]
mod estimates_tests;
pub(crate) mod histories;
pub(crate) mod launching;
pub(crate) mod memory_budget;
pub(crate) mod output_collector;
pub(crate) mod recording;
pub(crate) mod results;
pub(crate) mod run_now;
pub(crate) mod runner;
pub(crate) mod save_requests;
pub(crate) mod scheduler;
pub(crate) mod stored_files;
pub(crate) mod submit;
