use fog_instrument::{Abilities, accepted, instrument};
use serde::{Deserialize, Serialize};
use wasmtime::{Config, Engine, OptLevel};

/// A module cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// Not a valid module of the accepted proposals.
    #[error("not a WebAssembly module this program can run: {message}")]
    Invalid {
        /// The validator's words.
        message: String,
    },
    /// The engine cannot be set up on this machine.
    #[error("the WebAssembly engine does not start here: {message}")]
    Engine {
        /// The engine's words.
        message: String,
    },
}

/// What runs a module. Results and work units are the same on all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum EngineKind {
    /// Machine code of this processor; where the system forbids making code (iOS), the interpreter.
    #[default]
    Compiled,
    /// Wasmtime's Pulley interpreter: slower, on every processor.
    Interpreted,
}

impl EngineKind {
    /// A word for file names and people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compiled => "compiled",
            Self::Interpreted => "interpreted",
        }
    }
}

/// The one configuration: what is deterministic on every machine, and nothing else.
///
/// Threads, relaxed SIMD and garbage-collected types are off; canonical NaNs are the rewriting's
/// part. Several memories are on for what it adds; the modules of jobs may not use them.
pub(crate) fn engine(kind: EngineKind, stack_bytes: usize) -> Result<Engine, CompileError> {
    let mut config = Config::new();
    let failed = |e: wasmtime::Error| CompileError::Engine { message: format!("{e:#}") };
    config
        .wasm_features(wasmtime::WasmFeatures::all(), false)
        .wasm_features(wasmtime::WasmFeatures::from_bits_truncate(accepted().bits()), true)
        .wasm_features(wasmtime::WasmFeatures::MULTI_MEMORY, true)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false)
        .wasm_branch_hinting(true)
        .concurrency_support(false)
        .max_wasm_stack(stack_bytes)
        .async_stack_size(stack_bytes + (512 << 10));
    if kind == EngineKind::Interpreted || cfg!(target_os = "ios") {
        let width = if cfg!(target_pointer_width = "64") { "pulley64" } else { "pulley32" };
        config.target(width).map_err(failed)?;
    }
    Engine::new(&config).map_err(failed)
}

/// Checks that `module` is binary WebAssembly of the accepted proposals. Never panics.
///
/// # Errors
/// [`CompileError::Invalid`] with the validator's reason.
pub fn validate(module: &[u8]) -> Result<(), CompileError> {
    require_binary(module)?;
    let invalid = |e: wasmparser::BinaryReaderError| CompileError::Invalid { message: e.to_string() };
    wasmparser::Validator::new_with_features(accepted()).validate_all(module).map(drop).map_err(invalid)
}

/// Rewrites `module` for counting and stopping and compiles it for this machine. Runs the compiler
/// in this process: call it from a worker.
///
/// # Errors
/// [`CompileError`]; the module is refused whole.
pub fn compile(module: &[u8], kind: EngineKind) -> Result<Vec<u8>, CompileError> {
    require_binary(module)?;
    let rewritten = instrument(module, accepted(), Abilities::default()).map_err(|e| CompileError::Invalid { message: e.to_string() })?;
    let engine = engine(kind, 1 << 20)?;
    engine.precompile_module(&rewritten).map_err(|e| CompileError::Invalid { message: format!("{e:#}") })
}

fn require_binary(module: &[u8]) -> Result<(), CompileError> {
    if module.starts_with(b"\0asm") { Ok(()) } else { Err(CompileError::Invalid { message: "it does not begin with the bytes of a .wasm file".to_owned() }) }
}

#[cfg(test)]
mod tests {
    use fog_instrument::{COST_VERSION, REWRITING_VERSION};

    use super::*;

    /// Compiled modules are kept, and checkpoints continued, by these versions: what is written may not
    /// change without one of them.
    #[test]
    #[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
    fn another_rewriting_is_another_version() {
        let wat = r#"(module (memory 1) (type $op (func (param i32) (result i32))) (table 2 funcref) (elem (i32.const 0) $a $b)
            (func $c (param i32) (loop $l (block $b (br_if $b (local.get 0)) (loop $m (br_if $m (i32.const 0))) (return))
                (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br $l)))
            (func $a (type $op) (call $c (local.get 0)) (loop $l (br_if $l (local.get 0))) (f64.store (i32.const 8) (f64.sqrt (f64.load (i32.const 8)))) (local.get 0))
            (func $b (type $op) (i32.add (call $a (local.get 0)) (i32.const 1)))
            (func (export "_start") (local funcref)
                (local.set 0 (table.get (i32.const 1))) (drop (call_indirect (type $op) (i32.const 0) (i32.const 1))) (table.set (i32.const 0) (local.get 0))))"#;
        let rewritten = instrument(&wat::parse_str(wat).unwrap(), accepted(), Abilities::default()).unwrap();
        let seen = blake3::hash(&rewritten).to_hex();
        assert_eq!((COST_VERSION, REWRITING_VERSION, &seen.as_str()[..16]), (4, 8, "b7040d8f8f2eaf56"));
    }
}
