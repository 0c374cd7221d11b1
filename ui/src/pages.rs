//! One module a page.

pub mod history;
pub mod home;
pub mod job;
pub mod jobs;
pub mod settings;
