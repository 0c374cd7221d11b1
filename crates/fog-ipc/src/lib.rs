//! `fog-api` over a Unix socket or a named pipe: client and server.
//!
//! A frame is a length of four bytes, little-endian, followed by JSON. The socket has mode 0600 and the
//! server asks the system for the user at the other end: only the same user is served, and only after both
//! sides have proved that they know the token in the data folder. Commands are carried out by the
//! [`Service`] behind the server.

mod client;
mod frame;
mod listener;
mod server;
mod token;

pub use client::{Client, ClientError, Events};
pub use frame::{FrameError, MAX_FRAME_BYTES, decode, encode};
pub use listener::{Endpoint, endpoint};
pub use server::{EventStream, Service, serve};
