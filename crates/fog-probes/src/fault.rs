use std::fmt;

/// Longest name or value of a sensor that is passed on, characters.
const MAX_SHOWN_CHARS: usize = 40;

/// A sensor that is left out because its value is impossible.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SensorFault {
    /// Name of the sensor, such as `acpitz temp1 (hwmon2)`.
    pub sensor: String,
    /// Value that the sensor gave, with its unit.
    pub says: String,
}

impl SensorFault {
    pub(crate) fn new(sensor: &str, says: impl fmt::Display) -> Self {
        let clean = |text: &str| text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN_CHARS).collect();
        Self { sensor: clean(sensor), says: clean(&says.to_string()) }
    }
}
