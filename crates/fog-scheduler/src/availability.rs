//! Availability of a device, from its own past: a histogram over the hours of a week.

use serde::{Deserialize, Serialize};

/// Number of hours of a week; hour 0 begins Monday 00:00.
pub const HOURS: usize = 168;
/// Share of the old value that remains when an hour of the week comes again; about half of a value is from
/// the last two weeks.
const KEEP: f64 = 0.75;

/// Share of each hour of the week in which the device worked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Availability {
    share: Vec<f32>,
    seen: Vec<u16>,
}

impl Default for Availability {
    fn default() -> Self {
        Self { share: vec![0.0; HOURS], seen: vec![0; HOURS] }
    }
}

impl Availability {
    /// Records that the device worked for `share` (0 to 1) of an hour of the week.
    pub fn record(&mut self, hour: usize, share: f64) {
        let at = hour % HOURS;
        let (Some(known), Some(seen)) = (self.share.get_mut(at), self.seen.get_mut(at)) else { return };
        let share = share.clamp(0.0, 1.0);
        *known = if *seen == 0 { share } else { f64::from(*known) * KEEP + share * (1.0 - KEEP) } as f32;
        *seen = seen.saturating_add(1);
    }

    /// Returns the expected share of time in which the device works from `hour` on for `hours` hours;
    /// `None` unless more than half of these hours of the week were recorded.
    #[must_use]
    pub fn forecast(&self, hour: usize, hours: f64) -> Option<f64> {
        let count = (hours.ceil().max(1.0) as usize).min(HOURS);
        let slots: Vec<usize> = (hour..hour + count).map(|at| at % HOURS).collect();
        let known: Vec<f64> =
            slots.iter().filter(|at| self.seen[**at] > 0).map(|at| f64::from(self.share[*at])).collect();
        (known.len() * 2 > slots.len()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// Returns whether a stored histogram is valid.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.share.len() == HOURS
            && self.seen.len() == HOURS
            && self.share.iter().all(|share| (0.0..=1.0).contains(share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_works_at_night_is_expected_at_night() {
        let mut past = Availability::default();
        for _week in 0..3 {
            for hour in 0..HOURS {
                past.record(hour, if hour % 24 < 7 { 0.9 } else { 0.1 });
            }
        }
        let night = past.forecast(24, 5.0).unwrap();
        let day = past.forecast(24 + 9, 5.0).unwrap();
        assert!(night > 0.85 && day < 0.15, "{night} {day}");
        assert!(past.forecast(160, 20.0).is_some());
    }

    #[test]
    fn nothing_is_said_about_hours_nobody_saw_and_habits_change() {
        let mut past = Availability::default();
        assert_eq!(past.forecast(3, 2.0), None);
        past.record(3, 1.0);
        assert_eq!(past.forecast(3, 1.0), Some(1.0));
        for _ in 0..8 {
            past.record(3, 0.0);
        }
        assert!(past.forecast(3, 1.0).unwrap() < 0.12);
    }
}
