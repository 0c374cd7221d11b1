//! A received job file.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(job) = fog_types::job::parse(text) {
        assert!(job.check().is_ok() && job.task_count() > 0);
        drop((job.args_of(0), job.env_of(job.task_count() - 1)));
    }
});
