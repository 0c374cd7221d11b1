//! Placement of tasks on devices.
//!
//! A placement is judged by five conflicting objectives: completion time, cost, energy and wear, the risk
//! of repeated work, and the balance of the load. [`Nsga2`] finds the placements that no other one
//! dominates, and [`choose`] takes one of them by the preference of the requester. The crate does no I/O;
//! random numbers come in as an argument.

mod availability;
mod nsga2;
mod placement;
mod service;

pub use availability::{Availability, HOURS};
pub use nsga2::{Evaluation, Individual, Nsga2, Problem, Settings, crowding_distance, non_dominated_sort};
pub use placement::{Estimate, Machine, Plan, Work, choose, plan, quick};
pub use service::{Kept, judge_service};
