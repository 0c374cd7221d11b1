//! A received checkpoint: no altered file is accepted.
#![no_main]

const SEED: &[u8] = include_bytes!("../seeds/checkpoint.fog");

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    drop(fog_runtime::Snapshot::decode(bytes));
    if let Ok(found) = fog_runtime::Checkpoint::parse(bytes) {
        // Checksums cannot be forged: the file is the seed, whole or up to one of its generations.
        let whole = fog_runtime::Checkpoint::parse(SEED).expect("the seed");
        assert!(found.header.units <= whole.header.units && found.header.module == whole.header.module);
        assert_eq!(found.files, whole.files);
    }
});
