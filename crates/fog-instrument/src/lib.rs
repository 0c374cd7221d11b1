//! Rewrites a Wasm module once, before it is compiled, so that it counts its work, can stop at any safe
//! point with its whole state in plain memory, and can continue from there on another engine, system or
//! processor.
//!
//! The crate does no I/O: bytes in, bytes out. `docs/checkpoint.md` describes the method and its format.
//!
//! - **Counting.** Each stretch of straight-line code takes its cost (see [`COST_VERSION`]) off a count.
//!   Loop heads, and entries of functions that close a cycle of calls, check whether the count is used up
//!   and then ask the host.
//! - **Stopping.** The host may answer to stop. The function that asked saves its frame and returns; behind
//!   each call that can stop, the caller checks the count, sees that it should stop, and does the same.
//! - **Stack.** Recursive functions take the size of their frame, computed from the original's locals and
//!   operands, off another count and give it back. So recursion ends at the same depth on every engine and
//!   processor, continued or not.
//! - **Continuing.** A second copy of each function restores its frame and jumps to its site. All further
//!   calls go to the first copy, which has no code for restoring.

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

/// Proposals that a job may use: version 2 of the standard, tail calls, extended constant expressions.
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

/// Version of the rewritten code. Modules that were rewritten and compiled under another version are made
/// again. A change of the frames also needs a new version of the state in checkpoints.
pub const REWRITING_VERSION: u32 = 8;

/// Upper bound of the bytes of saved frames for a stack of `stack_bytes`. A saved value takes at most twice
/// its size on the counted stack; the result is twice that again.
#[must_use]
pub fn frame_bytes(stack_bytes: u64) -> u64 {
    stack_bytes.saturating_add(names::CHAIN_BYTES).saturating_mul(4).min(names::FRAME_PAGES << 16)
}

/// Abilities of a rewritten module beside counting its work. Default: stopping and canonical NaNs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Whether the module can stop with its whole state in plain memory, and continue.
    pub stop: bool,
    /// Whether NaNs have the same bits on every processor.
    pub canonical_nans: bool,
    /// Whether every function saves its frame in one place for all its sites, not only where that is much
    /// smaller.
    pub share_saving: bool,
}

impl Default for Abilities {
    fn default() -> Self {
        Self { stop: true, canonical_nans: true, share_saving: false }
    }
}

/// Names that a rewritten module and its host share.
pub mod names {
    /// Reserved prefix: no module may export a name that begins with it, or import from a module named so.
    pub const PREFIX: &str = "fog:";
    /// Module of the imports that are added.
    pub const MODULE: &str = "fog:host";
    /// `(i64) -> i64`: takes the count, at most zero; returns more units, or [`STOP`].
    pub const CHECK: &str = "check";
    /// Answer that stops: the program returns to the host with its frames saved, or traps if it was
    /// rewritten without the ability to stop.
    pub const STOP: i64 = i64::MIN;
    /// `() -> ()`: the whole program, start function included.
    pub const MAIN: &str = "fog:main";
    /// `() -> ()`: the whole program, continued from the saved frames.
    pub const RESUME: &str = "fog:resume";
    /// Global, `i64`: units left.
    pub const LEFT: &str = "fog:left";
    /// Global, `i32`: bytes of counted stack left; below zero at the trap after they were used up. Before
    /// each call of [`MAIN`] and [`RESUME`] the host sets it to the bytes that the program may use, less
    /// the difference between [`STACK_START`] and the initial value.
    pub const STACK: &str = "fog:stack";
    /// Initial value of [`STACK`], from which the bytes beyond [`CHAIN_BYTES`] that non-recursive functions
    /// may take are subtracted.
    pub const STACK_START: i32 = 1 << 30;
    /// Bytes of stack that non-recursive functions may take without being counted.
    pub const CHAIN_BYTES: u64 = 256 << 10;
    /// Global, `i32`: bytes of saved frames.
    pub const TOP: &str = "fog:top";
    /// Memory: the saved frames. Empty at first; a host that knows the size of the stack makes room for its
    /// frames ([`frame_bytes`](super::frame_bytes)) before the program runs, and avoids reserving all
    /// pages.
    pub const FRAMES: &str = "fog:frames";
    /// Largest number of pages of saved frames: 128 MiB, more than the largest stack can need.
    pub const FRAME_PAGES: u64 = 2048;
    /// Table that is added: the second copies by function number; its size is the number of functions.
    pub const BY_NUMBER: &str = "fog:by-number";
    /// Import of modules that hold references at a site: `(funcref) -> i32`, the place of the function in
    /// [`FUNCTIONS`].
    pub const REFERENCE: &str = "reference";
    /// Table: a null, then every function that a reference can lead to. Only in modules that move
    /// references.
    pub const FUNCTIONS: &str = "fog:functions";
    /// Prefix of the original's tables that are part of the state, followed by their number.
    pub const TABLE: &str = "fog:table:";
    /// `() -> ()`: called after the globals were restored. Only in modules that drop segments.
    pub const RESTORED: &str = "fog:restored";
    /// Prefix of the original's mutable globals, followed by their number.
    pub const GLOBAL: &str = "fog:global:";
    /// Prefix of the original's memories, followed by their number.
    pub const MEMORY: &str = "fog:memory:";
}
