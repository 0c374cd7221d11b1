//! Simulated devices: their kind, when they work, and whether they lie.

use rand::rngs::StdRng;
use rand::{Rng, RngExt as _};
use serde::Serialize;

const MINUTE: f64 = 60_000.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

/// Kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// Device that works for hours while nobody uses it, also at night.
    Desktop,
    /// Device that works between uses and is closed at night and now and then.
    Laptop,
    /// Device that works while it charges at night.
    Phone,
}

/// Strategy of lying devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Strategy {
    /// Each result is wrong, and all members of a group give the same wrong result.
    Always,
    /// Results are right until a group has two of the replicas of a task, which its members know at once.
    Patient,
    /// Results are right until ten were taken, then wrong.
    Sleeper,
}

/// Lying devices of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Liars {
    /// Share of liars among all devices, 0 to 1.
    pub share: f64,
    /// Number of liars that act together.
    pub group: usize,
    /// Strategy of the liars.
    pub strategy: Strategy,
}

/// Mode of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The device works.
    Working,
    /// The device is in use, on battery or too warm: reachable, but its tasks are paused.
    Paused,
    /// The device is closed, switched off or out of reach.
    Gone,
}

pub(crate) struct Device {
    pub(crate) kind: Kind,
    pub(crate) slots: u32,
    /// Work units per second of one task.
    pub(crate) speed: f64,
    /// Offset of the device's local time in milliseconds.
    zone: f64,
    pub(crate) mode: Mode,
    /// Share of the speed that heat leaves during this period.
    pub(crate) duty: f64,
    pub(crate) liars: Option<usize>,
}

fn exponential(rng: &mut impl Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.random_range(0.0..1.0f64)).ln()
}

impl Device {
    /// Draws a device: 50 % laptops, 30 % desktops and 20 % phones, like the devices that people have at
    /// home.
    pub(crate) fn draw(rng: &mut StdRng, liars: Option<usize>) -> Self {
        let kind = match rng.random_range(0..100) {
            0..50 => Kind::Laptop,
            50..80 => Kind::Desktop,
            _ => Kind::Phone,
        };
        let (slots, speed) = match kind {
            Kind::Laptop => (2, rng.random_range(0.6e9..1.4e9)),
            Kind::Desktop => (rng.random_range(2..=6), rng.random_range(0.9e9..2.0e9)),
            Kind::Phone => (1, rng.random_range(0.3e9..0.8e9)),
        };
        Self { kind, slots, speed, zone: rng.random_range(0.0..DAY), mode: Mode::Gone, duty: 1.0, liars }
    }

    fn hour(&self, now: f64) -> f64 {
        (now + self.zone) % DAY / HOUR
    }

    /// Changes to the next mode and returns its duration in milliseconds.
    pub(crate) fn next(&mut self, now: f64, rng: &mut StdRng) -> f64 {
        let hour = self.hour(now);
        let is_night = !(7.0..23.0).contains(&hour);
        let until = |target: f64| ((target - hour).rem_euclid(24.0) * HOUR).max(MINUTE);
        let (mode, length) = match (self.kind, self.mode) {
            (Kind::Desktop, Mode::Working) => {
                if rng.random_bool(0.2) {
                    (Mode::Gone, exponential(rng, 2.0 * HOUR))
                } else {
                    (Mode::Paused, exponential(rng, 45.0 * MINUTE))
                }
            }
            (Kind::Desktop, _) => {
                (Mode::Working, exponential(rng, if is_night { 6.0 * HOUR } else { 2.5 * HOUR }))
            }
            (Kind::Laptop, _) if is_night && rng.random_bool(0.7) => {
                (Mode::Gone, until(7.0) + exponential(rng, HOUR))
            }
            (Kind::Laptop, Mode::Working) => {
                if rng.random_bool(0.3) {
                    (Mode::Gone, exponential(rng, 1.5 * HOUR))
                } else {
                    (Mode::Paused, exponential(rng, 40.0 * MINUTE))
                }
            }
            (Kind::Laptop, _) => (Mode::Working, exponential(rng, 50.0 * MINUTE)),
            // A phone charges from late evening on and is looked at now and then.
            (Kind::Phone, Mode::Working) if is_night => (Mode::Paused, exponential(rng, 10.0 * MINUTE)),
            (Kind::Phone, Mode::Working) => (Mode::Gone, until(23.0) + exponential(rng, 40.0 * MINUTE)),
            (Kind::Phone, _) if is_night => (Mode::Working, until(6.5).min(exponential(rng, 4.0 * HOUR))),
            (Kind::Phone, _) => (Mode::Gone, until(23.0) + exponential(rng, 40.0 * MINUTE)),
        };
        self.mode = mode;
        self.duty = if rng.random_bool(0.3) { 0.5 } else { 1.0 };
        length.max(20_000.0)
    }
}
