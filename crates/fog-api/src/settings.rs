//! Schema of all settings, used by the window, by `fog settings` and by the store.

mod conflicts;
pub mod keys;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use conflicts::{Conflict, conflicts};

/// Version of the settings export file.
pub const EXPORT_VERSION: u32 = 1;

/// Group of the window's settings in which a setting appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// When the device works.
    When,
    /// How much of the device is used.
    HowMuch,
    /// Language, colours and notifications.
    Appearance,
    /// Not shown in the window, only by `fog settings`.
    Expert,
}

/// Type of a setting, with its default and bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A switch, with its default.
    Flag(bool),
    /// A number in a range.
    Number {
        /// Default value.
        default: f64,
        /// Smallest valid value.
        min: f64,
        /// Largest valid value.
        max: f64,
        /// Unit for display, such as `%`, `°C`, `s` or `GB`; may be empty.
        unit: &'static str,
    },
    /// One of several words; the first is the default.
    Choice(&'static [&'static str]),
    /// Free text of up to 500 characters, with its default.
    Text(&'static str),
    /// A list of at most 50 words; empty by default.
    List,
    /// Week plan: 168 characters from Monday 00:00, `0` off, `1` full, `2` quiet; full by default.
    Week,
}

/// Devices whose window shows a setting; `fog settings` shows all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// Every device.
    All,
    /// Desktop computers and laptops only.
    Desktop,
    /// Phones and tablets only.
    Phone,
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Key in the store, in exports and on the command line.
    pub key: &'static str,
    /// Group in which the setting appears.
    pub group: Group,
    /// Devices whose window shows the setting.
    pub devices: Devices,
    /// Type, default and bounds.
    pub kind: Kind,
}

const fn number(default: f64, min: f64, max: f64, unit: &'static str) -> Kind {
    Kind::Number { default, min, max, unit }
}

const fn s(key: &'static str, group: Group, kind: Kind) -> Setting {
    Setting { key, group, devices: Devices::All, kind }
}

const fn on(devices: Devices, setting: Setting) -> Setting {
    Setting { devices, ..setting }
}

use Group::{Appearance, Expert, HowMuch, When};

/// All settings in display order. A test keeps at most 25 of them visible on a device.
pub const ALL: &[Setting] = &[
    s("run_on_battery", When, Kind::Flag(false)),
    on(Devices::Phone, s("chargers", When, Kind::Choice(&["any", "wired", "mains"]))),
    s("battery_stop", When, number(40.0, 5.0, 95.0, "%")),
    s("battery_resume", When, number(60.0, 5.0, 100.0, "%")),
    s("run_while_in_use", When, Kind::Flag(false)),
    s("idle_after", When, number(180.0, 1.0, 7200.0, "s")),
    s("respect_media", When, Kind::Flag(true)),
    s("exclusive_programs", When, Kind::List),
    s("other_cpu_stop", When, number(25.0, 1.0, 100.0, "%")),
    s("stop_when_metered", When, Kind::Flag(false)),
    s("energy_source", When, Kind::Text("")),
    s("energy_max", When, number(0.0, -10_000.0, 10_000.0, "")),
    s("week", When, Kind::Week),
    on(Devices::Desktop, s("keep_awake", When, Kind::Flag(false))),
    s("cores", HowMuch, number(0.0, 0.0, 256.0, "")),
    s("memory_share", HowMuch, number(50.0, 5.0, 90.0, "%")),
    s("duty_idle", HowMuch, number(100.0, 5.0, 100.0, "%")),
    s("duty_in_use", HowMuch, number(50.0, 5.0, 100.0, "%")),
    s("cpu_temp_stop", HowMuch, number(85.0, 40.0, 105.0, "°C")),
    s("battery_temp_stop", HowMuch, number(40.0, 25.0, 60.0, "°C")),
    s("storage_cap", HowMuch, number(10.0, 0.1, 2000.0, "GB")),
    s("disk_free_min", HowMuch, number(5.0, 0.1, 2000.0, "GB")),
    s("language", Appearance, Kind::Choice(&["system", "en", "de"])),
    s("theme", Appearance, Kind::Choice(&["system", "light", "dark"])),
    s("notifications", Appearance, Kind::Flag(true)),
    on(Devices::Desktop, s("autostart", Appearance, Kind::Flag(false))),
    s("contributing", Expert, Kind::Flag(false)),
    s("hold", Expert, number(60.0, 0.0, 3600.0, "s")),
    s("quiet_duty", Expert, number(40.0, 5.0, 100.0, "%")),
    s("quiet_fan_rpm", Expert, number(2500.0, 0.0, 20_000.0, "rpm")),
    s("ram_available_min", Expert, number(512.0, 64.0, 1_048_576.0, "MiB")),
    s("unknown_cpu_temp", Expert, Kind::Choice(&["allow", "stop"])),
    s("unknown_battery", Expert, Kind::Choice(&["allow", "stop"])),
    s("unknown_idle", Expert, Kind::Choice(&["stop", "allow"])),
    s("unknown_energy", Expert, Kind::Choice(&["stop", "allow"])),
    s("keep_finished_days", Expert, number(30.0, 1.0, 3650.0, "days")),
    s("checkpoint_every", Expert, number(60.0, 1.0, 3600.0, "s")),
    s("device_name", Expert, Kind::Text("")),
    s("jobs_from_anyone", Expert, Kind::Flag(false)),
    s("jobs_allow", Expert, Kind::List),
    s("jobs_deny", Expert, Kind::List),
    s("data_cap", Expert, number(10.0, 0.0, 100_000.0, "GB")),
    s("credit_limit", Expert, number(0.0, 0.0, 1_000_000_000.0, "")),
    s("network_when_metered", Expert, Kind::Flag(false)),
    s("network_port", Expert, number(4170.0, 0.0, 65_534.0, "")),
    s("chat", Expert, Kind::Flag(true)),
    s("chat_nickname", Expert, Kind::Text("")),
    s("chat_bluetooth", Expert, Kind::Flag(false)),
    s("chat_adapter", Expert, Kind::Text("")),
    s("chat_receipts", Expert, Kind::Flag(true)),
    s("chat_keep_days", Expert, number(0.0, 0.0, 3650.0, "days")),
    s("chat_quiet_from", Expert, number(0.0, 0.0, 23.0, "h")),
    s("chat_quiet_to", Expert, number(0.0, 0.0, 23.0, "h")),
    s("first_run_done", Expert, Kind::Flag(false)),
];

/// Returns the setting with this key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    ALL.iter().find(|setting| setting.key == key)
}

/// Returns the key of the setting that controls a rule, by the rule's word; `None` when there is none.
#[must_use]
pub fn of_rule(rule: &str) -> Option<&'static str> {
    Some(match rule {
        "on-battery" => keys::RUN_ON_BATTERY.key(),
        "charger" => keys::CHARGERS.key(),
        "battery-level" => keys::BATTERY_STOP.key(),
        "battery-temp" => keys::BATTERY_TEMP_STOP.key(),
        "cpu-temp" => keys::CPU_TEMP_STOP.key(),
        "in-use" => keys::IDLE_AFTER.key(),
        "inhibited" | "fullscreen" => keys::RESPECT_MEDIA.key(),
        "exclusive" => keys::EXCLUSIVE_PROGRAMS.key(),
        "other-cpu" => keys::OTHER_CPU_STOP.key(),
        "metered" => keys::STOP_WHEN_METERED.key(),
        "disk-free" => keys::DISK_FREE_MIN.key(),
        "schedule" | "fan" => keys::WEEK.key(),
        "energy" => keys::ENERGY_MAX.key(),
        _ => return None,
    })
}

/// Returns the default of every setting, by key.
#[must_use]
pub fn defaults() -> BTreeMap<String, Value> {
    ALL.iter().map(|setting| (setting.key.to_owned(), setting.default())).collect()
}

impl Setting {
    /// Whether the window of a phone (`is_phone`) or of a computer shows this setting.
    #[must_use]
    pub fn is_shown(&self, is_phone: bool) -> bool {
        let fits = match self.devices {
            Devices::All => true,
            Devices::Desktop => !is_phone,
            Devices::Phone => is_phone,
        };
        fits && self.group != Group::Expert
    }

    /// Returns the default value.
    #[must_use]
    pub fn default(&self) -> Value {
        match self.kind {
            Kind::Flag(on) => on.into(),
            Kind::Number { default, .. } => default.into(),
            Kind::Choice(words) => words.first().copied().unwrap_or_default().into(),
            Kind::Text(text) => text.into(),
            Kind::List => Value::Array(Vec::new()),
            Kind::Week => "1".repeat(168).into(),
        }
    }

    /// Checks a value and returns it in the form in which it is stored.
    ///
    /// # Errors
    /// Returns a sentence that says which values are valid.
    pub fn check(&self, value: &Value) -> Result<Value, String> {
        let key = self.key;
        match self.kind {
            Kind::Flag(_) => value.as_bool().map(Value::from).ok_or(format!("{key} is true or false")),
            Kind::Number { min, max, unit, .. } => {
                value.as_f64().filter(|n| (min..=max).contains(n)).map(Value::from).ok_or_else(|| {
                    format!("{key} is a number from {min} to {max} {unit}").trim_end().to_owned()
                })
            }
            Kind::Choice(words) => value
                .as_str()
                .filter(|word| words.contains(word))
                .map(Value::from)
                .ok_or_else(|| format!("{key} is one of {}", words.join(", "))),
            Kind::Text(_) => value
                .as_str()
                .filter(|text| text.chars().count() <= 500 && !text.chars().any(char::is_control))
                .map(Value::from)
                .ok_or(format!("{key} is text of at most 500 characters")),
            Kind::List => {
                let words = value.as_array().filter(|list| list.len() <= 50).and_then(|list| {
                    list.iter()
                        .map(|word| {
                            word.as_str()
                                .map(str::trim)
                                .filter(|w| !w.is_empty() && w.len() <= 200)
                                .map(Value::from)
                        })
                        .collect::<Option<Vec<_>>>()
                });
                words.map(Value::from).ok_or(format!("{key} is a list of at most 50 names"))
            }
            Kind::Week => value
                .as_str()
                .filter(|week| week.len() == 168 && week.bytes().all(|b| (b'0'..=b'2').contains(&b)))
                .map(Value::from)
                .ok_or(format!(
                    "{key} has 168 characters, one an hour from Monday 00:00: 0 off, 1 full, 2 quiet"
                )),
        }
    }

    /// Parses a value as typed by a person: `on`, `45`, `a,b`.
    ///
    /// # Errors
    /// Returns a sentence that says which values are valid.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        let value = match self.kind {
            Kind::Flag(_) => match text {
                "true" | "on" | "yes" | "1" => true.into(),
                "false" | "off" | "no" | "0" => false.into(),
                _ => Value::Null,
            },
            Kind::Number { .. } => text.parse::<f64>().map_or(Value::Null, Value::from),
            Kind::List => Value::Array(
                text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(Value::from).collect(),
            ),
            Kind::Choice(_) | Kind::Text(_) | Kind::Week => text.into(),
        };
        self.check(&value)
    }
}

/// Content of the file that `fog settings export` writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportFile {
    /// Version of the file: [`EXPORT_VERSION`].
    pub fog_settings: u32,
    /// Values by key.
    pub settings: BTreeMap<String, Value>,
}

/// Parses an exported file into known settings and the keys that this release does not know.
///
/// # Errors
/// Returns a sentence about the first mistake; the caller must import nothing then.
pub fn parse_export(text: &str) -> Result<(BTreeMap<String, Value>, Vec<String>), String> {
    let file: ExportFile = serde_json::from_str(fog_types::without_mark(text))
        .map_err(|e| format!("this is not a settings file: {e}"))?;
    if file.fog_settings != EXPORT_VERSION {
        return Err(format!(
            "the settings file has version {}; this release reads version {EXPORT_VERSION}",
            file.fog_settings
        ));
    }
    let mut known = BTreeMap::new();
    let mut unknown = Vec::new();
    for (key, value) in file.settings {
        match find(&key) {
            Some(setting) => {
                known.insert(key, setting.check(&value)?);
            }
            None => unknown.push(key),
        }
    }
    Ok((known, unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_25_settings_are_visible_and_keys_are_unique() {
        for is_phone in [false, true] {
            assert!(ALL.iter().filter(|s| s.is_shown(is_phone)).count() <= 25);
        }
        assert_eq!(defaults().len(), ALL.len());
    }

    #[test]
    fn rules_point_at_settings_that_exist() {
        for rule in [
            "on-battery",
            "charger",
            "battery-level",
            "battery-temp",
            "cpu-temp",
            "in-use",
            "inhibited",
            "exclusive",
            "other-cpu",
            "metered",
            "disk-free",
        ] {
            assert!(of_rule(rule).and_then(find).is_some(), "{rule}");
        }
        assert_eq!(
            (of_rule("fan"), of_rule("energy"), of_rule("off")),
            (Some("week"), Some("energy_max"), None)
        );
    }

    #[test]
    fn every_default_is_valid_and_survives_export_and_import() {
        for setting in ALL {
            assert_eq!(setting.check(&setting.default()), Ok(setting.default()), "{}", setting.key);
        }
        let file = ExportFile { fog_settings: EXPORT_VERSION, settings: defaults() };
        let (known, unknown) = parse_export(&serde_json::to_string(&file).unwrap()).unwrap();
        assert_eq!((known, unknown), (defaults(), Vec::new()));
        assert!(
            parse_export(&format!("\u{feff}{}", serde_json::to_string(&file).unwrap())).is_ok(),
            "a byte order mark is no mistake"
        );
    }

    #[test]
    fn wrong_values_are_refused_with_what_would_be_right() {
        let error = |key: &str, text: &str| find(key).unwrap().parse(text).unwrap_err();
        assert!(error("battery_stop", "200").contains("from 5 to 95 %"));
        assert!(error("battery_stop", "NaN").contains("number"));
        assert!(error("theme", "pink").contains("light"));
        assert!(error("run_on_battery", "perhaps").contains("true or false"));
        assert!(error("week", "111").contains("168"));
        assert!(parse_export("{\"fog_settings\": 7, \"settings\": {}}").unwrap_err().contains("version 7"));
    }
}
