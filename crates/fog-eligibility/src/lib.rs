//! Decides whether this device may work now, and how hard. Readings, settings and time go in; a verdict
//! with every reason comes out.
//!
//! The crate does no I/O and reads no clock: `fog-probes` takes the readings, `fog-engine` feeds them in,
//! `fog-words` turns reasons into sentences.
//!
//! A reading passes the [`Filter`] (impossible and stale values); [`Eligibility`] then runs one gate per
//! rule, with a gap between its two thresholds and minimum times in each state.

mod filter;
mod gate;
mod machine;
pub mod plausible;
mod policy;
mod reading;
mod rules;
mod verdict;

pub use filter::Filter;
pub use machine::Eligibility;
pub use policy::{HOURS_IN_WEEK, OFF_CELL, Policy, Profile, Unknown};
pub use reading::{Charger, Moment, ReadingError, Readings, ThermalPressure, ZoneChange};
pub use rules::Rule;
pub use verdict::{Effect, Reason, Resume, Value, Verdict};
