/// The rules, in the order in which reasons are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The big switch is off.
    Off,
    /// Paused by hand for a while.
    Snoozed,
    /// Running from the battery.
    OnBattery,
    /// On a charger of a kind that the settings leave out.
    Charger,
    /// Battery charge too low.
    BatteryLevel,
    /// Battery too warm.
    BatteryTemp,
    /// Processor too warm.
    CpuTemp,
    /// The system reports heat.
    Thermal,
    /// Somebody uses the device.
    InUse,
    /// A program keeps the system awake.
    Inhibited,
    /// A program covers the screen.
    Fullscreen,
    /// A named program runs.
    Exclusive,
    /// Other programs need the processor.
    OtherCpu,
    /// The network is metered.
    Metered,
    /// Little disk space is left.
    DiskFree,
    /// Little memory is left.
    RamAvailable,
    /// The week grid says no, or names a profile that is slower than full.
    Schedule,
    /// Energy is too dear or too dirty.
    Energy,
    /// A fan is too loud for the profile.
    Fan,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 19] = [
        Self::Off,
        Self::Snoozed,
        Self::OnBattery,
        Self::Charger,
        Self::BatteryLevel,
        Self::BatteryTemp,
        Self::CpuTemp,
        Self::Thermal,
        Self::InUse,
        Self::Inhibited,
        Self::Fullscreen,
        Self::Exclusive,
        Self::OtherCpu,
        Self::Metered,
        Self::DiskFree,
        Self::RamAvailable,
        Self::Schedule,
        Self::Energy,
        Self::Fan,
    ];

    /// The word used in JSON and as the key of its sentence.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Snoozed => "snoozed",
            Self::OnBattery => "on-battery",
            Self::Charger => "charger",
            Self::BatteryLevel => "battery-level",
            Self::BatteryTemp => "battery-temp",
            Self::CpuTemp => "cpu-temp",
            Self::Thermal => "thermal",
            Self::InUse => "in-use",
            Self::Inhibited => "inhibited",
            Self::Fullscreen => "fullscreen",
            Self::Exclusive => "exclusive",
            Self::OtherCpu => "other-cpu",
            Self::Metered => "metered",
            Self::DiskFree => "disk-free",
            Self::RamAvailable => "ram-available",
            Self::Schedule => "schedule",
            Self::Energy => "energy",
            Self::Fan => "fan",
        }
    }

    /// Whether the rule gives way to a job that its owner asked to run at once.
    ///
    /// Those that only keep out of the owner's way do; those that protect the device, the disk or
    /// the purse do not, and neither does the big switch.
    #[must_use]
    pub fn yields_to_request(self) -> bool {
        matches!(self, Self::InUse | Self::Inhibited | Self::Fullscreen | Self::Exclusive | Self::OtherCpu | Self::Schedule)
    }

    /// Shortest time in milliseconds that the rule stays closed once it stopped the device.
    ///
    /// `usual` is the user's choice, 60 s unless changed, where BOINC's 20 s flapped. Slow quantities
    /// have spans of their own: 300 s for the charge is BOINC's `ANDROID_BATTERY_BACKOFF`.
    #[must_use]
    pub fn hold_closed(self, usual: u64) -> u64 {
        match self {
            Self::Off | Self::Snoozed => 0,
            Self::BatteryLevel | Self::BatteryTemp | Self::Energy => 300_000,
            Self::Exclusive => 15_000,
            Self::Fan => 120_000,
            _ => usual,
        }
    }

    /// Shortest time in milliseconds that the rule stays open before it may stop the device again.
    ///
    /// Zero for everything that protects the person or the device; the load rule can wait.
    #[must_use]
    pub fn hold_open(self, usual: u64) -> u64 {
        if self == Self::OtherCpu { usual } else { 0 }
    }
}
