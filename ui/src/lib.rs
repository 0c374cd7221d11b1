//! The window: Leptos, rendered on the client. Uses the API types (`fog-api`) and its texts (`fog-words`),
//! and nothing of the engine.
//!
//! `bridge` is the only module that touches JavaScript values; `state` holds the one snapshot that every
//! page reads; pages and components own no state of the engine.

mod bridge;
mod components;
mod pages;
mod state;

use wasm_bindgen::prelude::wasm_bindgen;

/// Starts the window; called once by the page.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
    // Mounting starts the executor that the first calls need.
    leptos::mount::mount_to_body(|| {
        state::install();
        components::shell::Shell()
    });
}
