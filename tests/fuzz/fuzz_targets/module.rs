//! A received module, up to validation.
#![no_main]

libfuzzer_sys::fuzz_target!(|module: &[u8]| drop(fog_runtime::validate(module)));
