//! Network: joined networks, the peers in them, and the traffic with both.

pub(crate) mod adverts;
pub(crate) mod clocks;
pub(crate) mod commands;
pub(crate) mod control_link;
pub(crate) mod membership;
pub(crate) mod readers;
pub(crate) mod runtime;
pub(crate) mod traffic;
pub(crate) mod views;
