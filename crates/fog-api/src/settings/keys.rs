//! Typed keys of the settings: a misspelt key, or one of another type, does not compile.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ALL, Kind};

const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

const fn kind_of(key: &str) -> Kind {
    let mut at = 0;
    while at < ALL.len() {
        if is_same(ALL[at].key, key) {
            return ALL[at].kind;
        }
        at += 1;
    }
    panic!("no setting has this key")
}

macro_rules! keys_of_type {
    ($(#[$doc:meta])* $type:ident, $kinds:pat) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $type(&'static str);

        impl $type {
            /// Key of a setting of this type, checked when it is compiled.
            const fn new(key: &'static str) -> Self {
                assert!(matches!(kind_of(key), $kinds), "the setting has another type");
                Self(key)
            }

            /// Returns the key as it is stored and exported.
            #[must_use]
            pub const fn key(self) -> &'static str {
                self.0
            }
        }
    };
}

keys_of_type!(
    /// Key of a switch.
    Flag,
    Kind::Flag(_)
);
keys_of_type!(
    /// Key of a number.
    Number,
    Kind::Number { .. }
);
keys_of_type!(
    /// Key of a text, a choice of words, or the week plan.
    Text,
    Kind::Text(_) | Kind::Choice(_) | Kind::Week
);
keys_of_type!(
    /// Key of a list of words.
    List,
    Kind::List
);

impl Flag {
    /// Returns the value among `values`, or `false` when it is missing.
    #[must_use]
    pub fn of(self, values: &BTreeMap<String, Value>) -> bool {
        values.get(self.0).and_then(Value::as_bool).unwrap_or(false)
    }
}

impl Number {
    /// Returns the value among `values`, or 0 when it is missing.
    #[must_use]
    pub fn of(self, values: &BTreeMap<String, Value>) -> f64 {
        values.get(self.0).and_then(Value::as_f64).unwrap_or(0.0)
    }
}

impl Text {
    /// Returns the value among `values`, or an empty text when it is missing.
    #[must_use]
    pub fn of(self, values: &BTreeMap<String, Value>) -> &str {
        values.get(self.0).and_then(Value::as_str).unwrap_or("")
    }
}

impl List {
    /// Returns the words among `values`, or none when they are missing.
    #[must_use]
    pub fn of(self, values: &BTreeMap<String, Value>) -> Vec<String> {
        let list = values.get(self.0).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

macro_rules! keys {
    ($($name:ident: $type:ident = $key:literal;)*) => {
        $(#[doc = concat!("The setting `", $key, "`.")] pub const $name: $type = $type::new($key);)*

        /// Number of typed keys.
        #[cfg(test)]
        const COUNT: usize = [$($key),*].len();
    };
}

keys! {
    RUN_ON_BATTERY: Flag = "run_on_battery";
    CHARGERS: Text = "chargers";
    BATTERY_STOP: Number = "battery_stop";
    BATTERY_RESUME: Number = "battery_resume";
    RUN_WHILE_IN_USE: Flag = "run_while_in_use";
    IDLE_AFTER: Number = "idle_after";
    RESPECT_MEDIA: Flag = "respect_media";
    EXCLUSIVE_PROGRAMS: List = "exclusive_programs";
    OTHER_CPU_STOP: Number = "other_cpu_stop";
    STOP_WHEN_METERED: Flag = "stop_when_metered";
    ENERGY_SOURCE: Text = "energy_source";
    ENERGY_MAX: Number = "energy_max";
    WEEK: Text = "week";
    KEEP_AWAKE: Flag = "keep_awake";
    CORES: Number = "cores";
    MEMORY_SHARE: Number = "memory_share";
    DUTY_IDLE: Number = "duty_idle";
    DUTY_IN_USE: Number = "duty_in_use";
    CPU_TEMP_STOP: Number = "cpu_temp_stop";
    BATTERY_TEMP_STOP: Number = "battery_temp_stop";
    STORAGE_CAP: Number = "storage_cap";
    DISK_FREE_MIN: Number = "disk_free_min";
    LANGUAGE: Text = "language";
    THEME: Text = "theme";
    NOTIFICATIONS: Flag = "notifications";
    AUTOSTART: Flag = "autostart";
    CONTRIBUTING: Flag = "contributing";
    HOLD: Number = "hold";
    QUIET_DUTY: Number = "quiet_duty";
    QUIET_FAN_RPM: Number = "quiet_fan_rpm";
    RAM_AVAILABLE_MIN: Number = "ram_available_min";
    UNKNOWN_CPU_TEMP: Text = "unknown_cpu_temp";
    UNKNOWN_BATTERY: Text = "unknown_battery";
    UNKNOWN_IDLE: Text = "unknown_idle";
    UNKNOWN_ENERGY: Text = "unknown_energy";
    KEEP_FINISHED_DAYS: Number = "keep_finished_days";
    CHECKPOINT_EVERY: Number = "checkpoint_every";
    DEVICE_NAME: Text = "device_name";
    JOBS_FROM_ANYONE: Flag = "jobs_from_anyone";
    JOBS_ALLOW: List = "jobs_allow";
    JOBS_DENY: List = "jobs_deny";
    DATA_CAP: Number = "data_cap";
    CREDIT_LIMIT: Number = "credit_limit";
    NETWORK_WHEN_METERED: Flag = "network_when_metered";
    NETWORK_PORT: Number = "network_port";
    CHAT: Flag = "chat";
    CHAT_NICKNAME: Text = "chat_nickname";
    CHAT_BLUETOOTH: Flag = "chat_bluetooth";
    CHAT_ADAPTER: Text = "chat_adapter";
    CHAT_RECEIPTS: Flag = "chat_receipts";
    CHAT_KEEP_DAYS: Number = "chat_keep_days";
    CHAT_QUIET_FROM: Number = "chat_quiet_from";
    CHAT_QUIET_TO: Number = "chat_quiet_to";
    FIRST_RUN_DONE: Flag = "first_run_done";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_typed_key() {
        assert_eq!(COUNT, ALL.len());
    }

    #[test]
    fn a_value_is_read_by_its_key() {
        let values = crate::settings::defaults();
        assert!(CHAT.of(&values) && !CONTRIBUTING.of(&values));
        assert_eq!(
            (STORAGE_CAP.of(&values), LANGUAGE.of(&values), JOBS_ALLOW.of(&values).len()),
            (10.0, "system", 0)
        );
        let none = BTreeMap::new();
        assert_eq!((CHAT.of(&none), STORAGE_CAP.of(&none), LANGUAGE.of(&none)), (false, 0.0, ""));
    }
}
