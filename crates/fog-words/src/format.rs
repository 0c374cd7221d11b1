use fog_api::EstimateView;

use crate::Words;

/// Formatting of quantities.
impl Words {
    /// Formats a time span in a suitable unit: `12 s`, `4 min`, `3 h 12 min`, `2 days`.
    #[must_use]
    pub fn span(&self, seconds: u64) -> String {
        let n = |value: u64| (value as f64).into();
        match seconds {
            0..=99 => self.with("span-seconds", &[("n", n(seconds))]),
            100..=3_599 => self.with("span-minutes", &[("n", n((seconds + 30) / 60))]),
            3_600..=172_799 => {
                let (hours, minutes) = (seconds / 3600, seconds % 3600 / 60);
                if minutes == 0 {
                    self.with("span-hours", &[("n", n(hours))])
                } else {
                    self.with("span-hours-minutes", &[("h", n(hours)), ("m", n(minutes))])
                }
            }
            _ => self.with("span-days", &[("n", n(seconds / 86_400))]),
        }
    }

    /// Formats the time since a moment: `12 s ago`.
    #[must_use]
    pub fn ago(&self, at_ms: i64, now_ms: i64) -> String {
        let seconds = u64::try_from((now_ms - at_ms) / 1000).unwrap_or(0);
        self.with("ago", &[("span", self.span(seconds).into())])
    }

    /// Formats work units briefly: `4.1 G units`.
    #[must_use]
    pub fn units(&self, units: u64) -> String {
        self.with("units", &[("n", self.short(units).into()), ("count", (units as f64).into())])
    }

    /// Formats a large number briefly: `4.1 G`.
    #[must_use]
    pub fn short(&self, number: u64) -> String {
        let value = number as f64;
        let short = match number {
            0..=9_999 => format!("{number}"),
            10_000..=999_999 => format!("{:.0} k", value / 1e3),
            1_000_000..=999_999_999 => format!("{:.1} M", value / 1e6),
            1_000_000_000..=999_999_999_999 => format!("{:.1} G", value / 1e9),
            _ => format!("{:.1} T", value / 1e12),
        };
        self.decimal(&short)
    }

    /// Returns the estimated cost of a job in two sentences.
    #[must_use]
    pub fn estimate(&self, estimate: &EstimateView) -> String {
        let (tasks, at_once) = (f64::from(estimate.tasks), f64::from(estimate.at_once));
        let sample = self.with(
            "estimate-sample",
            &[
                ("units", self.units(estimate.sample_units).into()),
                ("span", self.span(estimate.sample_ms.div_ceil(1000)).into()),
            ],
        );
        let whole = match (estimate.units, estimate.seconds) {
            (Some(units), Some(seconds)) => self.with(
                "estimate-whole",
                &[
                    ("tasks", tasks.into()),
                    ("units", self.units(units).into()),
                    ("span", self.span(seconds).into()),
                    ("atonce", at_once.into()),
                    ("memory", self.bytes(estimate.memory).into()),
                ],
            ),
            _ => self.with(
                "estimate-unknown",
                &[("tasks", tasks.into()), ("memory", self.bytes(estimate.memory).into())],
            ),
        };
        format!("{whole} {sample}")
    }

    /// Formats bytes in powers of 1024.
    #[must_use]
    pub fn bytes(&self, bytes: u64) -> String {
        self.decimal(&fog_types::ByteCount(bytes).to_string())
    }

    /// Formats a number with the decimal mark of the language.
    #[must_use]
    pub fn decimal(&self, text: &str) -> String {
        if self.language() == "de" { text.replace('.', ",") } else { text.to_owned() }
    }
}
