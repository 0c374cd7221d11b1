//! Conversion of settings for the rules and the scheduler.

use std::collections::BTreeMap;

use fog_api::settings;
use fog_api::settings::keys;
use fog_eligibility::{Charger, HOURS_IN_WEEK, Moment, OFF_CELL, Policy, Profile, Unknown};
use fog_types::{ByteCount, Percent};
use serde_json::Value;

/// Settings with their defaults filled in.
#[derive(Debug, Clone)]
pub(crate) struct Settings(BTreeMap<String, Value>);

impl Settings {
    /// Puts stored values over the defaults; values that this release does not accept are left out.
    pub(crate) fn new(stored: &BTreeMap<String, Value>) -> Self {
        let mut values = settings::defaults();
        for (key, value) in stored {
            if let Some(Ok(value)) = settings::find(key).map(|setting| setting.check(value)) {
                values.insert(key.clone(), value);
            }
        }
        Self(values)
    }

    /// Copy with changes; `None`, or a value that this release does not accept, resets a setting to its
    /// default.
    pub(crate) fn changed(&self, changes: &[(String, Option<Value>)]) -> Self {
        let mut values = self.0.clone();
        for (key, value) in changes {
            if let Some(setting) = settings::find(key) {
                let checked = value.as_ref().and_then(|value| setting.check(value).ok());
                values.insert(key.clone(), checked.unwrap_or_else(|| setting.default()));
            }
        }
        Self(values)
    }

    pub(crate) fn values(&self) -> &BTreeMap<String, Value> {
        &self.0
    }

    pub(crate) fn flag(&self, key: keys::Flag) -> bool {
        key.of(&self.0)
    }

    pub(crate) fn number(&self, key: keys::Number) -> f64 {
        key.of(&self.0)
    }

    pub(crate) fn text(&self, key: keys::Text) -> &str {
        key.of(&self.0)
    }

    pub(crate) fn list(&self, key: keys::List) -> Vec<String> {
        key.of(&self.0)
    }

    /// Number of tasks that run at once: the setting, or all cores but one.
    pub(crate) fn slots(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        match self.number(keys::CORES) as usize {
            0 => cores.saturating_sub(1).max(1),
            n => n.min(cores),
        }
    }

    pub(crate) fn storage_cap(&self) -> ByteCount {
        ByteCount((self.number(keys::STORAGE_CAP) * 1e9) as u64)
    }

    /// Bytes of the disk that stay free.
    pub(crate) fn disk_free_min(&self) -> u64 {
        (self.number(keys::DISK_FREE_MIN) * 1e9) as u64
    }

    fn unknown(&self, key: keys::Text) -> Unknown {
        if self.text(key) == "stop" { Unknown::Stop } else { Unknown::Allow }
    }
}

/// Policy that the settings describe. `values` may be partial; the rest has its defaults.
#[must_use]
pub fn policy_from(
    values: &BTreeMap<String, Value>,
    snoozed_until: Option<Moment>,
    finishing: bool,
) -> Policy {
    let s = Settings::new(values);
    let percent = |key: keys::Number| Percent::new(s.number(key) as u8);
    let fan = s.number(keys::QUIET_FAN_RPM) as u32;
    let mut week = [OFF_CELL; HOURS_IN_WEEK];
    for (cell, letter) in week.iter_mut().zip(s.text(keys::WEEK).bytes()) {
        *cell = match letter {
            b'1' => 0,
            b'2' => 1,
            _ => OFF_CELL,
        };
    }
    Policy {
        contributing: s.flag(keys::CONTRIBUTING),
        snoozed_until,
        finishing,
        run_on_battery: s.flag(keys::RUN_ON_BATTERY),
        weakest_charger: match s.text(keys::CHARGERS) {
            "mains" => Charger::Mains,
            "wired" => Charger::Usb,
            _ => Charger::Wireless,
        },
        hold: (s.number(keys::HOLD) * 1000.0) as u64,
        battery_stop: s.number(keys::BATTERY_STOP) as f32,
        battery_resume: s.number(keys::BATTERY_RESUME) as f32,
        battery_temp_stop: s.number(keys::BATTERY_TEMP_STOP) as f32,
        cpu_temp_stop: s.number(keys::CPU_TEMP_STOP) as f32,
        run_while_in_use: s.flag(keys::RUN_WHILE_IN_USE),
        idle_after_seconds: s.number(keys::IDLE_AFTER) as f32,
        respect_media: s.flag(keys::RESPECT_MEDIA),
        has_exclusive_programs: !s.list(keys::EXCLUSIVE_PROGRAMS).is_empty(),
        other_cpu_stop: s.number(keys::OTHER_CPU_STOP) as f32,
        stop_when_metered: s.flag(keys::STOP_WHEN_METERED),
        disk_free_min: s.disk_free_min(),
        ram_available_min: (s.number(keys::RAM_AVAILABLE_MIN) as u64) << 20,
        energy_max: (!s.text(keys::ENERGY_SOURCE).is_empty()).then(|| s.number(keys::ENERGY_MAX) as f32),
        profiles: vec![
            Profile {
                name: "full".to_owned(),
                duty_idle: percent(keys::DUTY_IDLE),
                duty_in_use: percent(keys::DUTY_IN_USE),
                fan_rpm_max: None,
            },
            Profile {
                name: "quiet".to_owned(),
                duty_idle: percent(keys::QUIET_DUTY).min(percent(keys::DUTY_IDLE)),
                duty_in_use: percent(keys::QUIET_DUTY).min(percent(keys::DUTY_IN_USE)),
                fan_rpm_max: (fan > 0).then_some(fan),
            },
        ],
        week,
        unknown_cpu_temp: s.unknown(keys::UNKNOWN_CPU_TEMP),
        unknown_battery: s.unknown(keys::UNKNOWN_BATTERY),
        unknown_idle: s.unknown(keys::UNKNOWN_IDLE),
        unknown_energy: s.unknown(keys::UNKNOWN_ENERGY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_settings_are_the_default_rules() {
        let mut expected = Policy::default();
        for (profile, name) in expected.profiles.iter_mut().zip(["full", "quiet"]) {
            profile.name = name.to_owned();
        }
        let mut found = policy_from(&BTreeMap::new(), None, false);
        found.profiles[1].duty_in_use = expected.profiles[1].duty_in_use;
        assert_eq!(found, expected);
    }

    #[test]
    fn a_stored_value_that_is_not_valid_any_more_falls_back() {
        let stored = BTreeMap::from([
            (keys::IDLE_AFTER.key().to_owned(), Value::from(-5)),
            (keys::WEEK.key().to_owned(), Value::from("0".repeat(168))),
        ]);
        let policy = policy_from(&stored, None, false);
        assert!((policy.idle_after_seconds - 180.0).abs() < 0.1);
        assert_eq!(policy.week, [OFF_CELL; HOURS_IN_WEEK]);
    }
}
