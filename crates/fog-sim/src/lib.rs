//! Thousands of devices in virtual time.
//!
//! The requester's machine, the weighing of results and the placement are those of the product; the
//! devices, their owners and the network between them are made up here: when a device works, how fast it
//! is, who lies. It is a tool for tests and for numbers, and no part of the program that people run.

mod device;
mod radios;
mod report;
mod wire;
mod world;

pub use device::{Kind, Liars, Strategy};
pub use radios::{RadioReport, Radios, Way, radios};
pub use report::Report;
pub use world::{Scenario, run};
