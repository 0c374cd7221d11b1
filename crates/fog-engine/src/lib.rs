//! The engine owns the store, the rules, the sensors and the workers; one event loop turns the events of
//! each into work for the others.
//!
//! Front ends hold an [`EngineHandle`] and speak `fog-api`. No crate below this one knows that contract.

mod arrival;
mod assemble;
mod awake;
mod chat;
mod checkpoints;
mod clock;
mod collecting;
mod core;
mod data_folder;
mod doctor;
mod estimate;
mod examples;
mod grid;
mod handle;
mod histories;
mod keychain;
mod leftovers;
mod logging;
mod policy;
mod proving;
mod query;
mod results;
mod sensing;
mod sleep;
mod stored;
mod submit;
mod tasks;
mod views;

pub use fog_ble::{PhoneAnswer, PhoneNews, PhoneRadio, PhoneState};
pub use fog_eligibility::{Charger, Readings, ThermalPressure};
pub use fog_probes::DeviceReadings;
pub use fog_store::{StoreError, make_private_folder, private_file};

pub use chat::ChatSettings;
pub use checkpoints::artifact_path;
pub use clock::Clock;
pub use data_folder::{NoDataFolder, default_data_folder};
pub use examples::{examples_folder, list_examples};
pub use grid::NetSettings;
pub use handle::{EngineConfig, EngineHandle, EventSubscription, serve, start};
pub use keychain::checkpoint_key;
pub use logging::start_log;
pub use policy::policy_from;
pub use submit::{as_text, submission};
pub use views::verdict_view;

/// Name under which the attempts of this build are recorded.
pub const ENGINE_NAME: &str = concat!("wasmtime-48, fog ", env!("CARGO_PKG_VERSION"));
