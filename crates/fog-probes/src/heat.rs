//! Temperatures of the processor and speeds of fans: sensors with implausible values are left out, then the
//! hottest (or fastest) of the others counts.

#[cfg(target_os = "linux")]
#[path = "heat/linux.rs"]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "heat/components.rs"]
mod system;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fog_eligibility::plausible::{CPU_CELSIUS, FAN_RPM, plausible};

use crate::SensorFault;

/// Words in the labels of sensors in or on the processor.
const CPU_LABELS: [&str; 9] =
    ["package", "core", "tctl", "tdie", "cpu", "k10temp", "soc", "x86_pkg", "pmu tdie"];
/// Words in the labels of sensors elsewhere, even if a word of [`CPU_LABELS`] is in them too.
const OTHER_LABELS: [&str; 2] = ["gpu", "nouveau"];
/// Words in the labels of firmware zones of the board, used where the processor has no sensor.
const FIRMWARE_LABELS: [&str; 2] = ["acpitz", "thermal"];
/// Time for which a sensor must give one value, while its neighbours move, to count as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(600);
/// Movement of the hottest neighbour in that time, °C, that makes a constant sensor count as stuck.
const STUCK_NEIGHBOURS: f32 = 10.0;
/// Largest number of sensors that are read.
const MAX_SENSORS: usize = 256;

/// Reading of one sensor.
#[derive(Debug, Clone, PartialEq)]
struct Sensor<T> {
    name: String,
    /// `Err` with the text when it is not a number or the driver marks the sensor as broken.
    value: Result<T, String>,
}

/// Result of one pass over all sensors.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Heat {
    pub(crate) cpu_celsius: Option<f32>,
    pub(crate) fan_rpm: Option<u32>,
    pub(crate) faults: Vec<SensorFault>,
}

/// Sensors with the history of their values.
pub(crate) struct HeatSensors {
    source: system::Source,
    still: BTreeMap<String, Still>,
}

/// A value that has not changed since `since`.
struct Still {
    value: f32,
    since: Instant,
    /// Lowest and highest value of the hottest neighbour in that time.
    neighbours: Option<(f32, f32)>,
    is_stuck: bool,
}

impl HeatSensors {
    pub(crate) fn new() -> Self {
        Self { source: system::Source::new(), still: BTreeMap::new() }
    }

    pub(crate) fn read(&mut self, now: Instant) -> Heat {
        let (temperatures, fans) = self.source.read();
        self.judge(temperatures, fans, now)
    }

    fn judge(
        &mut self,
        mut temperatures: Vec<Sensor<f32>>,
        mut fans: Vec<Sensor<u32>>,
        now: Instant,
    ) -> Heat {
        temperatures.truncate(MAX_SENSORS);
        fans.truncate(MAX_SENSORS);
        let mut heat = Heat::default();
        let of = |words: &[&str], name: &str| {
            let name = name.to_lowercase();
            words.iter().any(|word| name.contains(word))
                && !OTHER_LABELS.iter().any(|word| name.contains(word))
        };
        let (cpu, rest): (Vec<_>, Vec<_>) =
            temperatures.into_iter().partition(|sensor| of(&CPU_LABELS, &sensor.name));
        let firmware = rest.into_iter().filter(|sensor| of(&FIRMWARE_LABELS, &sensor.name)).collect();
        let cpu = believable(cpu, &CPU_CELSIUS, "°C", &mut heat.faults);
        let cpu = self.without_stuck(cpu, now, &mut heat.faults);
        let hottest = |list: &[(String, f32)]| list.iter().map(|(_, celsius)| *celsius).reduce(f32::max);
        // Boards without a processor sensor have at best a firmware zone.
        heat.cpu_celsius =
            hottest(&cpu).or_else(|| hottest(&believable(firmware, &CPU_CELSIUS, "°C", &mut heat.faults)));
        heat.fan_rpm =
            believable(fans, &FAN_RPM, "rpm", &mut heat.faults).into_iter().map(|(_, rpm)| rpm).max();
        heat
    }

    /// Leaves out sensors that gave one value for long while the hottest of the others moved.
    fn without_stuck(
        &mut self,
        sensors: Vec<(String, f32)>,
        now: Instant,
        faults: &mut Vec<SensorFault>,
    ) -> Vec<(String, f32)> {
        self.still.retain(|name, _| sensors.iter().any(|(known, _)| known == name));
        for (name, value) in &sensors {
            let still = self.still.entry(name.clone()).or_insert_with(|| Still::new(*value, now));
            if still.value.to_bits() != value.to_bits() {
                *still = Still::new(*value, now);
            }
            let moved = still.neighbours.map_or(0.0, |(low, high)| high - low);
            still.is_stuck = now.duration_since(still.since) >= STUCK_AFTER && moved >= STUCK_NEIGHBOURS;
            if still.is_stuck {
                let minutes = now.duration_since(still.since).as_secs() / 60;
                faults.push(SensorFault::new(name, format_args!("{value} °C for {minutes} min")));
            }
        }
        // Stuck sensors do not count as neighbours.
        let kept: Vec<(String, f32)> = sensors
            .into_iter()
            .filter(|(name, _)| self.still.get(name).is_none_or(|still| !still.is_stuck))
            .collect();
        for (name, still) in &mut self.still {
            if let Some(hottest) =
                kept.iter().filter(|(other, _)| other != name).map(|(_, celsius)| *celsius).reduce(f32::max)
            {
                still.neighbours = Some(
                    still
                        .neighbours
                        .map_or((hottest, hottest), |(low, high)| (low.min(hottest), high.max(hottest))),
                );
            }
        }
        kept
    }
}

impl Still {
    fn new(value: f32, since: Instant) -> Self {
        Self { value, since, neighbours: None, is_stuck: false }
    }
}

/// Keeps the sensors with plausible values; the others are added to `faults`.
fn believable<T>(
    sensors: Vec<Sensor<T>>,
    range: &std::ops::RangeInclusive<T>,
    unit: &str,
    faults: &mut Vec<SensorFault>,
) -> Vec<(String, T)>
where
    T: PartialOrd + Copy + std::fmt::Display,
{
    let mut kept = Vec::new();
    for Sensor { name, value } in sensors {
        match value {
            Ok(value) if plausible(value, range).is_some() => kept.push((name, value)),
            Ok(value) => faults.push(SensorFault::new(&name, format_args!("{value} {unit}"))),
            Err(text) => faults.push(SensorFault::new(&name, text)),
        }
    }
    kept
}

#[cfg(test)]
mod tests;
