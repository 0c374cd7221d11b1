//! What a front end may send, and what an engine may answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|frame: &[u8]| {
    drop(fog_ipc::decode::<fog_api::Request>(frame));
    drop(fog_ipc::decode::<fog_api::ServerMessage>(frame));
});
