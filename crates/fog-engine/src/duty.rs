//! Duty: how much this device works, by its sensors and by the wishes of its owner.

pub(crate) mod commands;
pub(crate) mod keep_awake;
pub(crate) mod owner_requests;
#[cfg(test)]
mod owner_requests_tests;
pub(crate) mod policy;
pub(crate) mod sensors;
pub(crate) mod sleep;
