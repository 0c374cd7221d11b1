//! What Fog nodes say to each other inside a session: messages of who carries, and bundles; and what was stored.
#![no_main]

use fog_mesh::{Bundle, Carrier, Quotas};

const NOW: u64 = 1_790_000_000_000;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(bundle) = Bundle::decode(bytes) {
        // What was read is written the same way, and read again.
        assert_eq!(Bundle::decode(&bundle.encode()), Ok(bundle));
    }
    drop(Carrier::restore([2; 8], Quotas::default(), bytes));
    let mut carrier = Carrier::new([2; 8], Quotas::default());
    carrier.handle_met([1; 8], NOW);
    carrier.handle_met([3; 8], NOW);
    // Several messages: each with its length in two bytes before it, from one or the other.
    let mut rest = bytes;
    let mut now = NOW;
    while let [length, low, after @ ..] = rest {
        let (message, after) = after.split_at(usize::from(u16::from_be_bytes([*length, *low])).min(after.len()));
        carrier.handle_message(if length % 2 == 0 { [1; 8] } else { [3; 8] }, message, now);
        now += 1_000;
        carrier.handle_timeout(now);
        while carrier.poll_effect().is_some() {}
        rest = after;
    }
    assert!(carrier.state().len() < 9 << 20);
});
