//! Settings that contradict each other or make each other ineffective.

use super::keys;
use std::collections::BTreeMap;

use serde_json::Value;

use super::find;

/// A pair of settings that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Keys of the two settings.
    pub keys: [&'static str; 2],
    /// Explanation of the conflict and advice.
    pub message: String,
    /// Whether the pair is refused; otherwise it is stored with a warning.
    pub is_refused: bool,
}

/// Given values, with defaults for the missing ones.
struct Values<'a>(&'a BTreeMap<String, Value>);

impl Values<'_> {
    fn get(&self, key: &str) -> Value {
        self.0.get(key).cloned().or_else(|| find(key).map(super::Setting::default)).unwrap_or(Value::Null)
    }

    fn number(&self, key: keys::Number) -> f64 {
        self.get(key.key()).as_f64().unwrap_or(0.0)
    }

    fn flag(&self, key: keys::Flag) -> bool {
        self.get(key.key()).as_bool().unwrap_or(false)
    }

    fn text(&self, key: keys::Text) -> String {
        self.get(key.key()).as_str().unwrap_or_default().to_owned()
    }

    fn list(&self, key: keys::List) -> Vec<String> {
        self.get(key.key())
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    fn is_default(&self, key: &str) -> bool {
        find(key).is_some_and(|setting| setting.default() == self.get(key))
    }
}

/// Returns every pair of settings that do not fit together; missing `values` count as their defaults.
#[must_use]
pub fn conflicts(values: &BTreeMap<String, Value>) -> Vec<Conflict> {
    let v = Values(values);
    let mut found = Vec::new();
    let mut add = |keys, is_refused, message: String| found.push(Conflict { keys, message, is_refused });
    let (stop, resume) = (v.number(keys::BATTERY_STOP), v.number(keys::BATTERY_RESUME));
    if stop > resume {
        add(
            ["battery_stop", "battery_resume"],
            true,
            format!(
                "battery_stop={stop} is above battery_resume={resume}: work would resume at a charge at which it stops; set both, such as battery_stop={stop} battery_resume={}",
                (stop + 10.0).min(100.0)
            ),
        );
    }
    let denied = v.list(keys::JOBS_DENY);
    if let Some(both) = v.list(keys::JOBS_ALLOW).into_iter().find(|name| denied.contains(name)) {
        add(
            ["jobs_allow", "jobs_deny"],
            true,
            format!("'{both}' is in jobs_allow and in jobs_deny; leave it in one of them"),
        );
    }
    let no_effect = |key: &str, why: &str| format!("{key} has no effect {why}");
    let (idle, in_use, quiet) =
        (v.number(keys::DUTY_IDLE), v.number(keys::DUTY_IN_USE), v.number(keys::QUIET_DUTY));
    if !v.flag(keys::RUN_WHILE_IN_USE) {
        if !v.is_default("duty_in_use") {
            add(
                ["duty_in_use", "run_while_in_use"],
                false,
                no_effect("duty_in_use", "until run_while_in_use=on"),
            );
        }
    } else if in_use > idle {
        add(
            ["duty_in_use", "duty_idle"],
            false,
            format!("duty_in_use={in_use} is above duty_idle={idle}: work slows down when you go away"),
        );
    }
    let week = v.text(keys::WEEK);
    if quiet > idle && week.contains('2') {
        add(
            ["quiet_duty", "duty_idle"],
            false,
            format!("quiet_duty={quiet} is above duty_idle={idle}, which holds in quiet hours too"),
        );
    }
    for key in ["quiet_duty", "quiet_fan_rpm"] {
        if !v.is_default(key) && !week.contains('2') {
            add([key, "week"], false, no_effect(key, "while no hour of the week plan is quiet (2)"));
        }
    }
    if !week.is_empty() && week.bytes().all(|hour| hour == b'0') && v.flag(keys::CONTRIBUTING) {
        add(
            ["week", "contributing"],
            false,
            "the week plan has no hour with work, so nothing runs although contributing=on".to_owned(),
        );
    }
    if !v.is_default("energy_max") && v.text(keys::ENERGY_SOURCE).is_empty() {
        add(
            ["energy_max", "energy_source"],
            false,
            no_effect("energy_max", "until energy_source names a file or an address"),
        );
    }
    if v.flag(keys::RUN_ON_BATTERY) && v.text(keys::CHARGERS) != "any" {
        add(
            ["chargers", "run_on_battery"],
            false,
            "with run_on_battery=on work goes on without any charger, and still stops at one that 'chargers' leaves out".to_owned(),
        );
    }
    if !v.flag(keys::CHAT) {
        for key in ["chat_bluetooth", "chat_adapter"] {
            if !v.is_default(key) {
                add([key, "chat"], false, no_effect(key, "until chat=on"));
            }
        }
    } else if !v.is_default("chat_adapter") && !v.flag(keys::CHAT_BLUETOOTH) {
        add(["chat_adapter", "chat_bluetooth"], false, no_effect("chat_adapter", "until chat_bluetooth=on"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::defaults;

    /// Returns the key pairs in conflict after changes to the defaults: refused ones, then warnings.
    fn told(changes: &[(&str, &str)]) -> (Vec<[&'static str; 2]>, Vec<[&'static str; 2]>) {
        let mut values = defaults();
        for (key, text) in changes {
            values.insert((*key).to_owned(), find(key).unwrap().parse(text).unwrap());
        }
        let (refused, said): (Vec<_>, Vec<_>) =
            conflicts(&values).into_iter().partition(|conflict| conflict.is_refused);
        let keys = |list: Vec<Conflict>| list.into_iter().map(|conflict| conflict.keys).collect();
        (keys(refused), keys(said))
    }

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(conflicts(&defaults()), []);
        assert_eq!(conflicts(&BTreeMap::new()), []);
    }

    /// Changed settings, and the pair of keys that is reported.
    type Case<'a> = (&'a [(&'a str, &'a str)], [&'a str; 2]);

    #[test]
    fn every_pair_that_does_not_fit_is_told() {
        let (off, quiet) = ("0".repeat(168), "2".repeat(168));
        let refused: [Case<'_>; 4] = [
            (&[("battery_stop", "90"), ("battery_resume", "20")], ["battery_stop", "battery_resume"]),
            (&[("battery_stop", "61")], ["battery_stop", "battery_resume"]),
            (&[("battery_resume", "39")], ["battery_stop", "battery_resume"]),
            (&[("jobs_allow", "anna,ben"), ("jobs_deny", "ben")], ["jobs_allow", "jobs_deny"]),
        ];
        for (changes, keys) in refused {
            assert_eq!(told(changes), (vec![keys], Vec::new()), "{changes:?}");
        }
        let said: [Case<'_>; 11] = [
            (&[("duty_in_use", "80")], ["duty_in_use", "run_while_in_use"]),
            (
                &[("duty_in_use", "80"), ("duty_idle", "70"), ("run_while_in_use", "on")],
                ["duty_in_use", "duty_idle"],
            ),
            (
                &[("quiet_duty", "90"), ("duty_idle", "70"), ("week", quiet.as_str())],
                ["quiet_duty", "duty_idle"],
            ),
            (&[("quiet_duty", "30")], ["quiet_duty", "week"]),
            (&[("quiet_fan_rpm", "0")], ["quiet_fan_rpm", "week"]),
            (&[("week", off.as_str()), ("contributing", "on")], ["week", "contributing"]),
            (&[("energy_max", "30")], ["energy_max", "energy_source"]),
            (&[("chargers", "mains"), ("run_on_battery", "on")], ["chargers", "run_on_battery"]),
            (&[("chat", "off"), ("chat_bluetooth", "on")], ["chat_bluetooth", "chat"]),
            (&[("chat", "off"), ("chat_adapter", "hci1")], ["chat_adapter", "chat"]),
            (&[("chat_adapter", "hci1")], ["chat_adapter", "chat_bluetooth"]),
        ];
        for (changes, keys) in said {
            assert_eq!(told(changes), (Vec::new(), vec![keys]), "{changes:?}");
        }
        for fine in [
            &[("battery_stop", "60")][..],
            &[("energy_max", "30"), ("energy_source", "/tmp/price")],
            &[("chat_quiet_from", "22"), ("chat_quiet_to", "22")],
        ] {
            assert_eq!(told(fine), (Vec::new(), Vec::new()), "{fine:?}");
        }
    }
}
