//! Simulation of thousands of devices in virtual time.
//!
//! The requester, the judging of results and the placement are the code of the product. Devices, their
//! owners and the network are models: when a device works, how fast it is, and which devices lie. The crate
//! is a tool for tests and measurements and not part of the product.

mod device;
mod radios;
mod report;
mod wire;
mod world;

pub use device::{Kind, Liars, Strategy};
pub use radios::{RadioReport, Radios, Way, radios};
pub use report::Report;
pub use world::{Scenario, run};
