use wasmtime::{Config, Engine, OptLevel, WasmFeatures};

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

/// The one configuration: what is deterministic on every machine, and nothing else.
///
/// Threads, relaxed SIMD and garbage collection are off; NaNs are canonical; fuel counts work.
pub(crate) fn engine(stack_bytes: usize) -> Result<Engine, CompileError> {
    let mut config = Config::new();
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(WasmFeatures::WASM1, true)
        .wasm_features(accepted(), true)
        .consume_fuel(true)
        .cranelift_nan_canonicalization(true)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false)
        .concurrency_support(false)
        .max_wasm_stack(stack_bytes)
        .async_stack_size(stack_bytes + (512 << 10));
    Engine::new(&config).map_err(|e| CompileError::Engine { message: format!("{e:#}") })
}

fn accepted() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXTENDED_CONST
}

/// Checks that `module` is binary WebAssembly of the accepted proposals. Never panics.
///
/// # Errors
/// [`CompileError::Invalid`] with the validator's reason.
pub fn validate(module: &[u8]) -> Result<(), CompileError> {
    require_binary(module)?;
    let engine = engine(1 << 20)?;
    wasmtime::Module::validate(&engine, module).map_err(invalid)
}

/// Compiles `module` to this machine's code. Runs the compiler in this process: call it from a
/// worker.
///
/// # Errors
/// [`CompileError`]; the module is refused whole.
pub fn compile(module: &[u8]) -> Result<Vec<u8>, CompileError> {
    require_binary(module)?;
    engine(1 << 20)?.precompile_module(module).map_err(invalid)
}

fn require_binary(module: &[u8]) -> Result<(), CompileError> {
    if module.starts_with(b"\0asm") { Ok(()) } else { Err(CompileError::Invalid { message: "it does not begin with the bytes of a .wasm file".to_owned() }) }
}

fn invalid(error: wasmtime::Error) -> CompileError {
    CompileError::Invalid { message: format!("{error:#}") }
}
