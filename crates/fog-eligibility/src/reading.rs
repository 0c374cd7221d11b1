use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::plausible::{
    BATTERY_CELSIUS, BATTERY_PERCENT, CPU_CELSIUS, ENERGY, FAN_RPM, IDLE_SECONDS, LOAD_PERCENT, plausible,
};

/// Point on a monotonic clock: milliseconds since a start that the caller chose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// Milliseconds from `earlier` to this moment; 0 when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Moment `millis` milliseconds later.
    #[must_use]
    pub fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// Heat level that the operating system reports, in the terms of Android, iOS and macOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThermalPressure {
    /// No measures needed.
    Nominal,
    /// Slightly raised; fans may run.
    Fair,
    /// High; the system slows itself.
    Serious,
    /// Critical; the system asks for all work to stop.
    Critical,
}

/// Kind of external power, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charger {
    /// A mains adapter, or a dock.
    Mains,
    /// A USB port.
    Usb,
    /// A charging pad.
    Wireless,
}

impl Charger {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Mains, Self::Usb, Self::Wireless];

    /// Returns the kind whose [`word`](Self::word) is `word`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Word for the kind in JSON, traces and `--with`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Mains => "mains",
            Self::Usb => "usb",
            Self::Wireless => "wireless",
        }
    }
}

/// Change of the local clock, such as the start of daylight saving time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneChange {
    /// Minutes until the change.
    pub in_minutes: u32,
    /// Minutes by which the clock jumps; negative when it is put back.
    pub by_minutes: i32,
}

impl ZoneChange {
    /// Whether the jump is at most one day, the most that any time zone has moved.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        self.by_minutes.unsigned_abs() <= 1_440
    }
}

/// Readings of one pass over the sensors; `None` means that the sensor is missing or did not answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Readings {
    /// Whether the device has a battery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_present: Option<bool>,
    /// Whether the device runs on external power (charging, or full and plugged in).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charging: Option<bool>,
    /// Kind of external power while there is some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charger: Option<Charger>,
    /// Battery charge, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery: Option<f32>,
    /// Battery temperature, °C.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_temp: Option<f32>,
    /// Hottest processor sensor, °C.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_temp: Option<f32>,
    /// Heat level that the operating system reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thermal: Option<ThermalPressure>,
    /// Seconds since the last key, pointer or touch input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<f32>,
    /// Whether a program asks the system not to go idle (a video, a call, a presentation).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inhibited: Option<bool>,
    /// Whether a program covers the whole screen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fullscreen: Option<bool>,
    /// Processor use of all other programs, percent of the whole machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_cpu: Option<f32>,
    /// Names of the configured exclusive programs that run now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<Vec<String>>,
    /// Whether the network in use is metered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metered: Option<bool>,
    /// Free bytes on the disk that holds the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_free: Option<u64>,
    /// Memory available to new programs, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ram_available: Option<u64>,
    /// Value of the configured energy source, in its own unit (a price, or grams of CO₂ per kWh).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy: Option<f32>,
    /// Fastest fan, revolutions per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fan_rpm: Option<u32>,
    /// Local time as minutes since Monday 00:00, 0 to 10079.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minute_of_week: Option<u16>,
    /// Next change between standard and daylight-saving time, when one is near.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_change: Option<ZoneChange>,
}

/// Error in a key or value of a `--with` list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadingError {
    /// No reading has this name.
    #[error("'{key}' is not a reading; known are {}", Readings::KEYS.join(", "))]
    UnknownKey {
        /// Key that was given.
        key: String,
    },
    /// The value does not fit the reading.
    #[error("'{value}' is not a value for {key}; expected {expected}")]
    BadValue {
        /// Key of the reading.
        key: String,
        /// Value that was given.
        value: String,
        /// Description of the valid values.
        expected: &'static str,
    },
}

impl Readings {
    /// Names that [`set`](Self::set) accepts.
    pub const KEYS: [&'static str; 18] = [
        "battery_present",
        "charging",
        "charger",
        "battery",
        "battery_temp",
        "cpu_temp",
        "thermal",
        "idle",
        "inhibited",
        "fullscreen",
        "other_cpu",
        "exclusive",
        "metered",
        "disk_free",
        "ram_available",
        "energy",
        "fan_rpm",
        "time",
    ];

    /// Sets one reading from text, as in `--with battery=35,charging=false`. `unknown` removes it.
    ///
    /// Setting `battery` also sets `battery_present`; so does setting `charging` where it is unknown.
    ///
    /// # Errors
    /// [`ReadingError`] when the key or the value is wrong; nothing is changed then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ReadingError> {
        let given = (value != "unknown").then_some(value);
        let bad = |expected| ReadingError::BadValue {
            key: key.to_owned(),
            value: value.chars().take(40).collect(),
            expected,
        };
        let number = |range: RangeInclusive<f32>, expected: &'static str| {
            given
                .map(|v| {
                    v.parse::<f32>().ok().and_then(|n| plausible(n, &range)).ok_or_else(|| bad(expected))
                })
                .transpose()
        };
        let whole = || {
            given
                .map(|v| {
                    v.parse::<fog_types::ByteCount>().map(|b| b.0).map_err(|_| bad("a size, such as 5GiB"))
                })
                .transpose()
        };
        let truth = || {
            given
                .map(|v| match v {
                    "true" | "yes" | "on" | "1" => Ok(true),
                    "false" | "no" | "off" | "0" => Ok(false),
                    _ => Err(bad("true or false")),
                })
                .transpose()
        };
        match key {
            "battery_present" => self.battery_present = truth()?,
            "charging" => {
                self.charging = truth()?;
                self.battery_present = self.battery_present.or(Some(true));
            }
            "charger" => {
                self.charger = given
                    .map(|v| Charger::from_word(v).ok_or_else(|| bad("mains, usb or wireless")))
                    .transpose()?;
            }
            "battery" => {
                self.battery = number(BATTERY_PERCENT, "a charge from 0 to 100 (percent)")?;
                self.battery_present = Some(true);
            }
            "battery_temp" => {
                self.battery_temp = number(BATTERY_CELSIUS, "a temperature from -30 to 90 (°C)")?
            }
            "cpu_temp" => self.cpu_temp = number(CPU_CELSIUS, "a temperature from -30 to 125 (°C)")?,
            "thermal" => {
                self.thermal = given
                    .map(|v| match v {
                        "nominal" => Ok(ThermalPressure::Nominal),
                        "fair" => Ok(ThermalPressure::Fair),
                        "serious" => Ok(ThermalPressure::Serious),
                        "critical" => Ok(ThermalPressure::Critical),
                        _ => Err(bad("nominal, fair, serious or critical")),
                    })
                    .transpose()?;
            }
            "idle" => self.idle = number(IDLE_SECONDS, "a time from 0 to 1000000000 (seconds)")?,
            "inhibited" => self.inhibited = truth()?,
            "fullscreen" => self.fullscreen = truth()?,
            "other_cpu" => self.other_cpu = number(LOAD_PERCENT, "a share from 0 to 100 (percent)")?,
            "exclusive" => {
                self.exclusive = given.map(|v| {
                    v.split('+')
                        .filter(|name| !name.is_empty() && *name != "none")
                        .map(str::to_owned)
                        .collect()
                });
            }
            "metered" => self.metered = truth()?,
            "disk_free" => self.disk_free = whole()?,
            "ram_available" => {
                self.ram_available = whole()?
                    .map(|n| if n > 0 { Ok(n) } else { Err(bad("a size above 0, such as 2GiB")) })
                    .transpose()?
            }
            "energy" => self.energy = number(ENERGY, "a number from -1000000 to 1000000")?,
            "fan_rpm" => {
                self.fan_rpm = given
                    .map(|v| {
                        v.parse()
                            .ok()
                            .and_then(|n| plausible(n, &FAN_RPM))
                            .ok_or_else(|| bad("a whole number from 0 to 29999 (rpm)"))
                    })
                    .transpose()?
            }
            "time" => {
                self.minute_of_week = given
                    .map(|v| parse_week_time(v).ok_or_else(|| bad("a time of the week, such as mon-22:30")))
                    .transpose()?
            }
            _ => return Err(ReadingError::UnknownKey { key: key.chars().take(40).collect() }),
        }
        Ok(())
    }
}

fn parse_week_time(text: &str) -> Option<u16> {
    let (day, clock) = text.split_once(['-', ' '])?;
    let (hour, minute) = clock.split_once(':')?;
    let day =
        ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].iter().position(|d| day.eq_ignore_ascii_case(d))?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60).then_some(day as u16 * 1440 + hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_can_be_set_and_removed() {
        let sample = |key: &str| match key {
            "thermal" => "fair",
            "charger" => "usb",
            "time" => "tue-07:05",
            "exclusive" => "game+call",
            "battery_present" | "charging" | "inhibited" | "fullscreen" | "metered" => "true",
            _ => "35",
        };
        let mut readings = Readings::default();
        for key in Readings::KEYS {
            readings.set(key, sample(key)).unwrap();
        }
        assert_eq!(readings.minute_of_week, Some(1440 + 425));
        assert_eq!(readings.exclusive.as_deref(), Some(["game".to_owned(), "call".to_owned()].as_slice()));
        let full = readings.clone();
        for key in Readings::KEYS {
            readings.set(key, "unknown").unwrap();
        }
        assert_ne!(readings, full);
        assert_eq!(readings.cpu_temp, None);
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        let mut readings = Readings::default();
        assert!(readings.set("batery", "3").unwrap_err().to_string().contains("batery"));
        assert!(readings.set("charging", "perhaps").unwrap_err().to_string().contains("perhaps"));
        assert!(readings.set("time", "mon-25:00").is_err());
        // Values that the filter rejects from a sensor are rejected here too.
        for (key, values) in [
            ("battery", &["NaN", "250", "-1", "inf"][..]),
            ("battery_temp", &["900", "nan"]),
            ("cpu_temp", &["-300", "127.5", "255", "1e40"]),
            ("idle", &["-5", "NaN"]),
            ("other_cpu", &["101", "-0.1"]),
            ("energy", &["1e7", "NaN"]),
            ("fan_rpm", &["65535", "-1", "2.5"]),
            ("ram_available", &["0"]),
        ] {
            for value in values {
                let error = readings.set(key, value).unwrap_err().to_string();
                assert!(error.contains(key) && error.contains("from") | error.contains("above"), "{error}");
            }
        }
        assert_eq!(readings, Readings::default());
    }
}
