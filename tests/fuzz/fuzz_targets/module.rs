//! A module somebody sent, up to the compiler's door.
#![no_main]

libfuzzer_sys::fuzz_target!(|module: &[u8]| drop(fog_runtime::validate(module)));
