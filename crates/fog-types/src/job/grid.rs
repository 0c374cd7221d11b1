//! Job: wishes about the devices that run it.

use serde::{Deserialize, Serialize};

/// Preference for choosing a device for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prefer {
    /// Balances all objectives.
    #[default]
    Balanced,
    /// Prefers the earliest result.
    Fast,
    /// Prefers the lowest price.
    Cheap,
    /// Prefers the least energy and battery wear.
    Green,
    /// Prefers the lowest risk of repeated work.
    Safe,
}

/// A class of service: replicas that a job is promised, and its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Runs each task on one device.
    #[default]
    Bronze,
    /// Runs each task on two devices, whose results must be equal.
    Silver,
    /// Runs each task on three devices, of which two must agree.
    Gold,
}

impl Service {
    /// Returns the number of devices that run each task.
    #[must_use]
    pub fn replicas(self) -> u32 {
        match self {
            Self::Bronze => 1,
            Self::Silver => 2,
            Self::Gold => 3,
        }
    }

    /// Returns the price of a work unit in tenths of the usual price.
    #[must_use]
    pub fn price_tenths(self) -> u16 {
        match self {
            Self::Bronze => 10,
            Self::Silver => 25,
            Self::Gold => 50,
        }
    }

    /// Returns the word used in texts and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
        }
    }
}

/// Wishes of a job that other devices may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GridOptions {
    /// Number of devices that run each task, 1 to 16; their results are compared. The class of service may
    /// raise it.
    pub replicas: u32,
    /// Preference for choosing devices.
    pub prefer: Prefer,
    /// Odds, 2 to 1,000,000: a result is accepted when the odds against it are below 1 in this number.
    /// `None` counts equal results instead.
    pub trust: Option<u32>,
    /// Whether one result of a device with ten or more correct results in a row is enough, except for one
    /// task in that many; other devices need two equal results. Ignored with `trust`.
    pub adaptive: bool,
    /// Class of service.
    pub service: Service,
    /// Whether early results are paid more, up to twice the price.
    pub bonus: bool,
    /// Percentage of accepted results after which a device gets a task with a known result, 0 to 50.
    pub spot_checks: u8,
}

impl GridOptions {
    /// Returns the number of devices for each task, including the class of service.
    #[must_use]
    pub fn devices(&self) -> u32 {
        self.replicas.max(self.service.replicas()).clamp(1, 16)
    }

    /// Whether all numbers lie within their bounds.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        (1..=16).contains(&self.replicas)
            && self.trust.is_none_or(|trust| (2..=1_000_000).contains(&trust))
            && self.spot_checks <= 50
    }
}

impl Default for GridOptions {
    fn default() -> Self {
        Self {
            replicas: 1,
            prefer: Prefer::default(),
            trust: None,
            adaptive: false,
            service: Service::default(),
            bonus: false,
            spot_checks: 0,
        }
    }
}
