//! Instrumentation of modules: as received, and generated from the same bytes.
#![no_main]

use fog_instrument::{Abilities, instrument};
use fog_runtime::accepted;
use libfuzzer_sys::arbitrary::Unstructured;
use wasmparser::{Validator, WasmFeatures};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    rewrite(bytes);
    let config = wasm_smith::Config { exceptions_enabled: false, gc_enabled: false, threads_enabled: false, max_funcs: 8, ..Default::default() };
    if let Ok(module) = wasm_smith::Module::new(config, &mut Unstructured::new(bytes)) {
        rewrite(&module.to_bytes());
    }
});

/// Instruments a module; the output must be valid if there is any.
fn rewrite(wasm: &[u8]) {
    if let Ok(rewritten) = instrument(wasm, accepted(), Abilities::default()) {
        let mut validator = Validator::new_with_features(accepted() | WasmFeatures::MULTI_MEMORY);
        validator.validate_all(&rewritten).expect("a valid module");
    }
}
