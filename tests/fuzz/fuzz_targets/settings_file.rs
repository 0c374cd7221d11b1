//! An exported settings file, and single values as typed.
#![no_main]

use fog_api::settings::{self, parse_export};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok((known, _)) = parse_export(text) {
        for (key, value) in known {
            let setting = settings::find(&key).expect("only what the schema has");
            assert_eq!(setting.check(&value).as_ref(), Ok(&value), "what was taken is in its stored form");
        }
    }
    for setting in settings::ALL {
        if let Ok(value) = setting.parse(text) {
            assert_eq!(setting.check(&value).as_ref(), Ok(&value));
        }
    }
});
