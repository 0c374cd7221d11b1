//! Frames from a front end, and answers of an engine.
#![no_main]

libfuzzer_sys::fuzz_target!(|frame: &[u8]| {
    drop(fog_ipc::decode::<fog_api::Request>(frame));
    drop(fog_ipc::decode::<fog_api::ServerMessage>(frame));
});
