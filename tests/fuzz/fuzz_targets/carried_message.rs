//! Messages of Fog nodes inside a session: of carriers, and bundles; and the stored state.
#![no_main]

use fog_mesh::{Bundle, Carrier, Quotas};

const NOW: u64 = 1_790_000_000_000;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(bundle) = Bundle::decode(bytes) {
        // A decoded value is encoded to an equal one.
        assert_eq!(Bundle::decode(&bundle.encode()), Ok(bundle));
    }
    drop(Carrier::restore([2; 8], Quotas::default(), bytes));
    let mut carrier = Carrier::new([2; 8], Quotas::default());
    carrier.handle_met([1; 8], NOW);
    carrier.handle_met([3; 8], NOW);
    // Several messages, each with a length in two bytes before it, from one node or the other.
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
