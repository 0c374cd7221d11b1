//! `fog-api` over a Unix socket or a named pipe: both ends.
//!
//! A frame is a length of four bytes, little-endian, and JSON. The socket is 0600 and the server
//! asks the system who is at the other end: only the same user is served, and only after both sides
//! have proved that they know the token in the data folder. What a command means is the business of
//! the [`Service`] behind it.

mod client;
mod frame;
mod listener;
mod server;
mod token;

pub use client::{Client, ClientError, Events};
pub use frame::{FrameError, MAX_FRAME_BYTES, decode, encode};
pub use listener::{Endpoint, endpoint};
pub use server::{EventStream, Service, serve};
