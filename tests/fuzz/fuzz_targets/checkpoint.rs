//! A checkpoint somebody sent: nothing that was altered is taken for one.
#![no_main]

const SEED: &[u8] = include_bytes!("../seeds/checkpoint.fog");

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    drop(fog_runtime::Snapshot::decode(bytes));
    if let Ok(found) = fog_runtime::Checkpoint::parse(bytes) {
        // Checksums cannot be made up: it is the seed, whole or up to one of its generations.
        let whole = fog_runtime::Checkpoint::parse(SEED).expect("the seed");
        assert!(found.header.units <= whole.header.units && found.header.module == whole.header.module);
        assert_eq!(found.files, whole.files);
    }
});
