//! Correction of this device's clock by the clocks of other devices. A clock without a battery starts in
//! 1970 or at the time at which it stopped.

/// Largest difference in milliseconds at which two clocks count as equal; a message may have been delayed.
pub const CLOCKS_AGREE_MS: i64 = 120_000;
/// 2026-01-01 in milliseconds since 1970. This program is younger, so an earlier time is certainly wrong.
const PROGRAM_MADE_MS: i64 = 1_767_225_600_000;

/// Returns the milliseconds by which this device's clock is behind most others; negative if it is ahead.
/// Returns 0 if the clocks agree or there is no majority: of two clocks that differ, either may be wrong.
///
/// `own_ms` is the time of this device in milliseconds since 1970; `offsets_ms` are the milliseconds by
/// which other clocks are ahead of it.
#[must_use]
pub fn clock_correction(own_ms: i64, offsets_ms: &[i64]) -> i64 {
    let mut possible: Vec<i64> = offsets_ms
        .iter()
        .copied()
        .filter(|offset| own_ms.saturating_add(*offset) >= PROGRAM_MADE_MS)
        .collect();
    possible.sort_unstable();
    let Some(median) = possible.get(possible.len() / 2).copied() else { return 0 };
    if median.unsigned_abs() <= CLOCKS_AGREE_MS.unsigned_abs() {
        return 0;
    }
    let agreeing =
        possible.iter().filter(|offset| offset.abs_diff(median) <= CLOCKS_AGREE_MS.unsigned_abs()).count();
    // The own clock has no vote if it is certainly wrong.
    let own = usize::from(own_ms >= PROGRAM_MADE_MS);
    if agreeing * 2 > possible.len() + own { median } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const HOUR: i64 = 3_600_000;

    #[test]
    fn most_clocks_are_right_and_of_two_nobody_knows() {
        assert_eq!(clock_correction(NOW, &[]), 0);
        assert_eq!(clock_correction(NOW, &[5 * HOUR]), 0);
        assert_eq!(clock_correction(NOW, &[5 * HOUR, 5 * HOUR + 900]), 5 * HOUR + 900);
        assert_eq!(clock_correction(NOW, &[-5 * HOUR, -5 * HOUR, -5 * HOUR, 30]), -5 * HOUR);
        assert_eq!(clock_correction(NOW, &[0, 5 * HOUR, 5 * HOUR]), 0, "two and two");
        assert_eq!(clock_correction(NOW, &[HOUR, 5 * HOUR, -9 * HOUR]), 0, "no two agree");
        assert_eq!(clock_correction(NOW, &[40, -900, 119_000]), 0);
    }

    #[test]
    fn a_clock_of_the_past_is_wrong_whoever_has_it() {
        // One other clock is enough to correct the own clock; other clocks that are certainly wrong are
        // ignored.
        assert_eq!(clock_correction(60_000, &[NOW]), NOW);
        assert_eq!(clock_correction(NOW, &[-NOW, -NOW, -NOW]), 0);
        assert_eq!(clock_correction(0, &[5, 70, -3]), 0);
        assert_eq!(clock_correction(NOW, &[i64::MIN, i64::MAX]), 0);
    }
}
