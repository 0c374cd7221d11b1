//! Which device gets which task.
//!
//! A placement is weighed by five things that cannot be had at once: when it is done, what it costs, the
//! energy and wear it takes, the risk of doing it again, and how evenly the load lies. [`Nsga2`] finds the
//! placements of which none is better in everything, [`choose`] takes one by what the requester prefers.
//! All of it is arithmetic on values; random numbers come in as an argument.

mod availability;
mod nsga2;
mod placement;
mod service;

pub use availability::{Availability, HOURS};
pub use nsga2::{Evaluation, Individual, Nsga2, Problem, Settings, crowding_distance, non_dominated_sort};
pub use placement::{Estimate, Machine, Plan, Work, choose, plan, quick};
pub use service::{Kept, judge_service};
