//! The pages, one module each.

pub mod chat;
pub mod elsewhere;
pub mod history;
pub mod home;
pub mod job;
pub mod jobs;
pub mod network;
pub mod settings;
