/// Rules, in the order in which their reasons are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Contributing is switched off.
    Off,
    /// Paused by hand for a while.
    Snoozed,
    /// The device runs on its battery.
    OnBattery,
    /// The charger is weaker than the settings allow.
    Charger,
    /// The battery charge is too low.
    BatteryLevel,
    /// The battery is too warm.
    BatteryTemp,
    /// The processor is too warm.
    CpuTemp,
    /// The system reports heat.
    Thermal,
    /// Somebody uses the device.
    InUse,
    /// A program keeps the system awake.
    Inhibited,
    /// A program covers the screen.
    Fullscreen,
    /// A configured exclusive program runs.
    Exclusive,
    /// Other programs need the processor.
    OtherCpu,
    /// The network is metered.
    Metered,
    /// Free disk space is low.
    DiskFree,
    /// Available memory is low.
    RamAvailable,
    /// The week grid says off, or names a profile below full duty.
    Schedule,
    /// The reading of the energy source is above its limit.
    Energy,
    /// A fan is faster than the profile allows.
    Fan,
}

impl Rule {
    /// All rules.
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

    /// Word for the rule in JSON, and key of its sentence.
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

    /// Whether the rule is ignored for a job that its owner asked to run at once.
    ///
    /// Rules that only keep out of the owner's way are ignored. Rules that protect the device, the disk or
    /// against costs still apply, and so does the main switch.
    #[must_use]
    pub fn yields_to_request(self) -> bool {
        matches!(
            self,
            Self::InUse
                | Self::Inhibited
                | Self::Fullscreen
                | Self::Exclusive
                | Self::OtherCpu
                | Self::Schedule
        )
    }

    /// Shortest time that the rule stays closed once it stopped the device, milliseconds.
    ///
    /// `usual` is the user's setting, 60 s by default. Some rules have spans of their own.
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

    /// Shortest time that the rule stays open before it may stop the device again, milliseconds.
    ///
    /// Zero for all rules except the load of other programs.
    #[must_use]
    pub fn hold_open(self, usual: u64) -> u64 {
        if self == Self::OtherCpu { usual } else { 0 }
    }
}
