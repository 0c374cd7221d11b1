//! The engine owns the store, the rules, the sensors and the workers; one event loop turns the events of
//! each into work for the others.
//!
//! Front ends hold an [`EngineHandle`] and speak `fog-api`. No crate below this one knows that contract.

mod chat;
mod chores;
mod cleanup;
mod clock;
mod commands;
mod context;
mod data_folder;
mod directory;
mod disk_room;
mod doctor;
mod duty;
mod effects;
mod errors;
mod event_loop;
mod examples;
mod exchange;
mod folder_check;
mod handle;
mod keychain;
mod logging;
mod message;
mod metrics;
mod names;
mod network;
mod owner_requests;
#[cfg(test)]
mod owner_requests_tests;
mod payments;
mod query;
#[cfg(test)]
mod scenario;
mod status;
mod tasks;
#[cfg(test)]
mod test_engine;
mod traffic;
mod views;

pub use fog_ble::{PhoneAnswer, PhoneNews, PhoneRadio, PhoneState};
pub use fog_eligibility::{Charger, Readings, ThermalPressure};
pub use fog_probes::DeviceReadings;
pub use fog_store::{StoreError, make_private_folder, private_file};

pub use chat::ChatSettings;
pub use clock::Clock;
pub use data_folder::{NoDataFolder, default_data_folder};
pub use duty::policy::policy_from;
pub use examples::{examples_folder, list_examples};
pub use handle::{EngineConfig, EngineHandle, EventSubscription, serve, start};
pub use keychain::checkpoint_key;
pub use logging::start_log;
pub use network::runtime::NetSettings;
pub use tasks::checkpoints::artifact_path;
pub use tasks::submit::{as_text, submission};
pub use views::verdict_view;

/// Name under which the attempts of this build are recorded.
pub const ENGINE_NAME: &str = concat!("wasmtime-48, fog ", env!("CARGO_PKG_VERSION"));
