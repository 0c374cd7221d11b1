//! Frames of a worker that is controlled by its job.
#![no_main]

libfuzzer_sys::fuzz_target!(|frame: &[u8]| {
    drop(fog_runtime::decode_frame::<fog_runtime::FromWorker>(frame));
    drop(fog_runtime::decode_frame::<fog_runtime::ToWorker>(frame));
});
