//! Temperatures of the processor and fans: each sensor is judged by itself, then the hottest of the
//! believable ones counts.

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

/// Words in the labels of sensors that sit in or on the processor.
const CPU_LABELS: [&str; 9] = ["package", "core", "tctl", "tdie", "cpu", "k10temp", "soc", "x86_pkg", "pmu tdie"];
/// Words in the labels of sensors that sit elsewhere, although a word above is in them too.
const OTHER_LABELS: [&str; 2] = ["gpu", "nouveau"];
/// Words in the labels of what the firmware says about the board, where no sensor is at the processor.
const FIRMWARE_LABELS: [&str; 2] = ["acpitz", "thermal"];
/// A sensor that says the same for this long, while its neighbours move, is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(600);
/// How far the hottest neighbour must move in that time, °C. Cooling below a limit takes more than this.
const STUCK_NEIGHBOURS: f32 = 10.0;
/// Sensors that are looked at; no machine has as many.
const MAX_SENSORS: usize = 256;

/// What one sensor says.
#[derive(Debug, Clone, PartialEq)]
struct Sensor<T> {
    name: String,
    /// `Err` with the text where it is no number, or where the driver says that the sensor is broken.
    value: Result<T, String>,
}

/// One pass over all of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Heat {
    pub(crate) cpu_celsius: Option<f32>,
    pub(crate) fan_rpm: Option<u32>,
    pub(crate) faults: Vec<SensorFault>,
}

/// The sensors with their past.
pub(crate) struct HeatSensors {
    source: system::Source,
    still: BTreeMap<String, Still>,
}

/// A value that has not changed.
struct Still {
    value: f32,
    since: Instant,
    /// What the hottest neighbour said meanwhile.
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

    fn judge(&mut self, mut temperatures: Vec<Sensor<f32>>, mut fans: Vec<Sensor<u32>>, now: Instant) -> Heat {
        temperatures.truncate(MAX_SENSORS);
        fans.truncate(MAX_SENSORS);
        let mut heat = Heat::default();
        let of = |words: &[&str], name: &str| {
            let name = name.to_lowercase();
            words.iter().any(|word| name.contains(word)) && !OTHER_LABELS.iter().any(|word| name.contains(word))
        };
        let (cpu, rest): (Vec<_>, Vec<_>) = temperatures.into_iter().partition(|sensor| of(&CPU_LABELS, &sensor.name));
        let firmware = rest.into_iter().filter(|sensor| of(&FIRMWARE_LABELS, &sensor.name)).collect();
        let cpu = believable(cpu, &CPU_CELSIUS, "°C", &mut heat.faults);
        let cpu = self.without_stuck(cpu, now, &mut heat.faults);
        let hottest = |list: &[(String, f32)]| list.iter().map(|(_, celsius)| *celsius).reduce(f32::max);
        // Boards without a sensor at the processor have a zone of the firmware at best.
        heat.cpu_celsius = hottest(&cpu).or_else(|| hottest(&believable(firmware, &CPU_CELSIUS, "°C", &mut heat.faults)));
        heat.fan_rpm = believable(fans, &FAN_RPM, "rpm", &mut heat.faults).into_iter().map(|(_, rpm)| rpm).max();
        heat
    }

    /// Leaves out those that have said the same for long while the hottest of the others moved.
    fn without_stuck(&mut self, sensors: Vec<(String, f32)>, now: Instant, faults: &mut Vec<SensorFault>) -> Vec<(String, f32)> {
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
        // What is stuck says nothing about its neighbours.
        let kept: Vec<(String, f32)> = sensors.into_iter().filter(|(name, _)| self.still.get(name).is_none_or(|still| !still.is_stuck)).collect();
        for (name, still) in &mut self.still {
            if let Some(hottest) = kept.iter().filter(|(other, _)| other != name).map(|(_, celsius)| *celsius).reduce(f32::max) {
                still.neighbours = Some(still.neighbours.map_or((hottest, hottest), |(low, high)| (low.min(hottest), high.max(hottest))));
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

/// Those whose value a sensor can give; the others are named.
fn believable<T>(sensors: Vec<Sensor<T>>, range: &std::ops::RangeInclusive<T>, unit: &str, faults: &mut Vec<SensorFault>) -> Vec<(String, T)>
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
