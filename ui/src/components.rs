//! Components that more than one page shows.

pub mod ask;
pub mod palette;
pub mod pill;
pub mod reasons;
pub mod ring;
pub mod shell;
pub mod week;
pub mod welcome;
pub mod wish;
