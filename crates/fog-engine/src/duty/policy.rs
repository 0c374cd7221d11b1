//! Conversion of settings for the rules and the scheduler.

use std::collections::BTreeMap;

use fog_api::settings;
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

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn number(&self, key: &str) -> f64 {
        self.0.get(key).and_then(Value::as_f64).unwrap_or(0.0)
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or("")
    }

    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let list = self.0.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Number of tasks that run at once: the setting, or all cores but one.
    pub(crate) fn slots(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        match self.number("cores") as usize {
            0 => cores.saturating_sub(1).max(1),
            n => n.min(cores),
        }
    }

    pub(crate) fn storage_cap(&self) -> ByteCount {
        ByteCount((self.number("storage_cap") * 1e9) as u64)
    }

    /// Bytes of the disk that stay free.
    pub(crate) fn disk_free_min(&self) -> u64 {
        (self.number("disk_free_min") * 1e9) as u64
    }

    fn unknown(&self, key: &str) -> Unknown {
        if self.text(key) == "stop" { Unknown::Stop } else { Unknown::Allow }
    }
}

/// Policy that the settings describe. `values` may be partial; the rest has its defaults.
#[must_use]
pub fn policy_from(values: &BTreeMap<String, Value>, snoozed_until: Option<Moment>, finishing: bool) -> Policy {
    let s = Settings::new(values);
    let percent = |key| Percent::new(s.number(key) as u8);
    let fan = s.number("quiet_fan_rpm") as u32;
    let mut week = [OFF_CELL; HOURS_IN_WEEK];
    for (cell, letter) in week.iter_mut().zip(s.text("week").bytes()) {
        *cell = match letter {
            b'1' => 0,
            b'2' => 1,
            _ => OFF_CELL,
        };
    }
    Policy {
        contributing: s.flag("contributing"),
        snoozed_until,
        finishing,
        run_on_battery: s.flag("run_on_battery"),
        weakest_charger: match s.text("chargers") {
            "mains" => Charger::Mains,
            "wired" => Charger::Usb,
            _ => Charger::Wireless,
        },
        hold: (s.number("hold") * 1000.0) as u64,
        battery_stop: s.number("battery_stop") as f32,
        battery_resume: s.number("battery_resume") as f32,
        battery_temp_stop: s.number("battery_temp_stop") as f32,
        cpu_temp_stop: s.number("cpu_temp_stop") as f32,
        run_while_in_use: s.flag("run_while_in_use"),
        idle_after_seconds: s.number("idle_after") as f32,
        respect_media: s.flag("respect_media"),
        other_cpu_stop: s.number("other_cpu_stop") as f32,
        stop_when_metered: s.flag("stop_when_metered"),
        disk_free_min: s.disk_free_min(),
        ram_available_min: (s.number("ram_available_min") as u64) << 20,
        energy_max: (!s.text("energy_source").is_empty()).then(|| s.number("energy_max") as f32),
        profiles: vec![
            Profile { name: "full".to_owned(), duty_idle: percent("duty_idle"), duty_in_use: percent("duty_in_use"), fan_rpm_max: None },
            Profile {
                name: "quiet".to_owned(),
                duty_idle: percent("quiet_duty").min(percent("duty_idle")),
                duty_in_use: percent("quiet_duty").min(percent("duty_in_use")),
                fan_rpm_max: (fan > 0).then_some(fan),
            },
        ],
        week,
        unknown_cpu_temp: s.unknown("unknown_cpu_temp"),
        unknown_battery: s.unknown("unknown_battery"),
        unknown_idle: s.unknown("unknown_idle"),
        unknown_energy: s.unknown("unknown_energy"),
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
        let stored = BTreeMap::from([("idle_after".to_owned(), Value::from(-5)), ("week".to_owned(), Value::from("0".repeat(168)))]);
        let policy = policy_from(&stored, None, false);
        assert!((policy.idle_after_seconds - 180.0).abs() < 0.1);
        assert_eq!(policy.week, [OFF_CELL; HOURS_IN_WEEK]);
    }
}
