//! Rewritten modules do what the originals do, stopped and continued or not.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod charges;
mod machine;
mod smith;
mod spec;
mod stops;
