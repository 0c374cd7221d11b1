//! Rewrites a Wasm module once, before it is compiled, so that it counts its work, can stop at any
//! safe point with everything it holds in plain memory, and can continue from there: on another
//! engine, system or processor.
//!
//! Pure: bytes in, bytes out. `docs/checkpoint.md` has the whole method and its format.
//!
//! - **Counting.** Each stretch of straight-line code takes its cost (see [`COST_VERSION`]) off a
//!   count; loop heads and the entries of functions that close a cycle of calls look whether it is used up, and ask
//!   the host then.
//! - **Stopping.** The host's answer may be to stop. The function that asked saves its frame and
//!   returns; behind each call that can stop, the caller looks at the count, which says so, and does
//!   the same.
//! - **Stack.** Functions that recurse take the size of their frame, by the original's own locals and
//!   operands, off another count and give it back, so that recursion ends at the same depth on every
//!   engine and processor, continued or not.
//! - **Continuing.** A second copy of each function restores its frame and jumps to where it was.
//!   Whatever it calls from then on is the first copy, which knows nothing of this.

mod calls;
mod cost;
mod function;
mod liveness;
mod module;
mod nans;
mod plan;

pub use cost::{COST_VERSION, SPAN_BYTES_PER_UNIT};
pub use module::{Error, instrument};
use wasmparser::WasmFeatures;

/// The proposals a job may use: version 2 of the standard, tail calls, extended constant expressions.
#[must_use]
pub fn accepted() -> WasmFeatures {
    WasmFeatures::WASM1
        | WasmFeatures::GC_TYPES
        | WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXTENDED_CONST
}

/// Version of what is written: modules that were rewritten and compiled by another are made anew.
/// Where the frames change too, so does the version of the state in checkpoints.
pub const REWRITING_VERSION: u32 = 8;

/// Most bytes of the saved frames of a program whose stack may take `stack_bytes`: a value takes twice its place on the
/// counted stack at most, and each function counts for more than the two numbers that are saved with it. This is twice that.
#[must_use]
pub fn frame_bytes(stack_bytes: u64) -> u64 {
    stack_bytes.saturating_add(names::CHAIN_BYTES).saturating_mul(4).min(names::FRAME_PAGES << 16)
}

/// What a rewritten module is to be able to do, beside counting its work. Everything by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Stop with everything it holds in plain memory, and continue.
    pub stop: bool,
    /// Show the same NaNs on every processor.
    pub canonical_nans: bool,
    /// Save the frames of every function in one place for all its sites, not only where that is much
    /// smaller.
    pub share_saving: bool,
}

impl Default for Abilities {
    fn default() -> Self {
        Self { stop: true, canonical_nans: true, share_saving: false }
    }
}

/// Names between a rewritten module and its host.
pub mod names {
    /// No module may export a name that begins so, or import from a module whose name does.
    pub const PREFIX: &str = "fog:";
    /// Module of the one import that is added.
    pub const MODULE: &str = "fog:host";
    /// `(i64) -> i64`: the count, at most zero, in; more units, or [`STOP`], out.
    pub const CHECK: &str = "check";
    /// The answer that stops: the program returns to the host with its frames saved; one that cannot
    /// do that traps.
    pub const STOP: i64 = i64::MIN;
    /// `() -> ()`: the whole program, start function included.
    pub const MAIN: &str = "fog:main";
    /// `() -> ()`: the same, continued from the saved frames.
    pub const RESUME: &str = "fog:resume";
    /// Global, `i64`: units left.
    pub const LEFT: &str = "fog:left";
    /// Global, `i32`: bytes of stack left, as they are counted; below zero when they were used up, at
    /// the trap that follows. The host sets it before each call of [`MAIN`] and [`RESUME`] to what the
    /// program may use, less what it begins with below [`STACK_START`].
    pub const STACK: &str = "fog:stack";
    /// What [`STACK`] begins with, less what the functions that do not recurse may take at most of the
    /// stack beyond [`CHAIN_BYTES`].
    pub const STACK_START: i32 = 1 << 30;
    /// Bytes of stack that functions which do not recurse may take without being counted.
    pub const CHAIN_BYTES: u64 = 256 << 10;
    /// Global, `i32`: bytes of saved frames.
    pub const TOP: &str = "fog:top";
    /// Memory: the saved frames. It is empty at first; a host that knows how large the stack can be makes room for as many
    /// frames ([`frame_bytes`](super::frame_bytes)) before the program runs, and saves a reservation of all pages.
    pub const FRAMES: &str = "fog:frames";
    /// Most pages of saved frames: 128 MiB, more than the largest stack can hold.
    pub const FRAME_PAGES: u64 = 2048;
    /// Table that is added: its size is the number of functions.
    pub const BY_NUMBER: &str = "fog:by-number";
    /// Import of modules that hold references where they may stop: `(funcref) -> i32`, its place in
    /// [`FUNCTIONS`].
    pub const REFERENCE: &str = "reference";
    /// Table: every function that a reference can lead to, behind one null. Modules that move
    /// references about have it.
    pub const FUNCTIONS: &str = "fog:functions";
    /// Tables of the original, followed by their number, when they are part of the state.
    pub const TABLE: &str = "fog:table:";
    /// `() -> ()`: to be called when the globals have been restored. Modules that drop segments have it.
    pub const RESTORED: &str = "fog:restored";
    /// Mutable globals of the original, followed by their number.
    pub const GLOBAL: &str = "fog:global:";
    /// Memories of the original, followed by their number.
    pub const MEMORY: &str = "fog:memory:";
}
