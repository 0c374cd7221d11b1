use fog_instrument::{Abilities, accepted, instrument};
use serde::{Deserialize, Serialize};
use wasmtime::{Config, Engine, OptLevel};

/// Error when compiling a module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The module is not valid under the accepted proposals.
    #[error("not a WebAssembly module this program can run: {message}")]
    Invalid {
        /// Message of the validator.
        message: String,
    },
    /// The engine cannot be set up on this machine.
    #[error("the WebAssembly engine does not start here: {message}")]
    Engine {
        /// Message of the engine.
        message: String,
    },
}

/// Kind of engine that runs a module. Results and work units are the same for all kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum EngineKind {
    /// Native code; where the system forbids generating code (iOS), the interpreter.
    #[default]
    Compiled,
    /// Wasmtime's Pulley interpreter: slower, but available on every processor.
    Interpreted,
}

impl EngineKind {
    /// Word for the kind in file names and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compiled => "compiled",
            Self::Interpreted => "interpreted",
        }
    }
}

/// Creates an engine in which only deterministic features are enabled.
///
/// Threads, relaxed SIMD and garbage-collected types are off. The rewriting makes NaNs canonical. Multiple
/// memories are on for the one that the rewriting adds; modules of jobs may not use them.
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

/// Rewrites `module` for counting and stopping and compiles it for this machine. The compiler runs in this
/// process, so call this from a worker.
///
/// # Errors
/// [`CompileError`] when the module is refused or the engine fails.
pub fn compile(module: &[u8], kind: EngineKind) -> Result<Vec<u8>, CompileError> {
    require_binary(module)?;
    let rewritten = instrument(module, accepted(), Abilities::default())
        .map_err(|e| CompileError::Invalid { message: e.to_string() })?;
    let engine = engine(kind, 1 << 20)?;
    engine.precompile_module(&rewritten).map_err(|e| CompileError::Invalid { message: format!("{e:#}") })
}

fn require_binary(module: &[u8]) -> Result<(), CompileError> {
    if module.starts_with(b"\0asm") {
        Ok(())
    } else {
        Err(CompileError::Invalid { message: "it does not begin with the bytes of a .wasm file".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use fog_instrument::{COST_VERSION, REWRITING_VERSION};

    use super::*;

    /// Compiled modules are cached, and checkpoints continued, by these versions: the rewritten code must
    /// not change without a new version.
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
