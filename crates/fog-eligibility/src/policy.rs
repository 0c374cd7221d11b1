use fog_types::Percent;

use crate::reading::{Charger, Moment, ZoneChange};

/// Hours in a week: the number of cells of the schedule grid, Monday 00:00 first.
pub const HOURS_IN_WEEK: usize = 168;
/// Grid value of an hour without work.
pub const OFF_CELL: u8 = 255;

/// Behaviour of a rule whose sensor is missing or silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Treats the reading as fine.
    Allow,
    /// Treats the reading as past its limit.
    Stop,
}

/// A named set of limits that the week grid points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Name that the user gave the profile.
    pub name: String,
    /// Share of processor time while nobody uses the device.
    pub duty_idle: Percent,
    /// Share of processor time while somebody uses the device; applies only with
    /// [`run_while_in_use`](Policy::run_while_in_use).
    pub duty_in_use: Percent,
    /// Fastest fan allowed, revolutions per minute; `None` for no limit.
    pub fan_rpm_max: Option<u32>,
}

/// The user's rules. Defaults and their sources are in `docs/decisions/0004-eligibility.md`.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Whether this device contributes at all. Default false.
    pub contributing: bool,
    /// End of a pause by hand.
    pub snoozed_until: Option<Moment>,
    /// Whether running tasks finish, no new one starts, and the device then counts as switched off.
    pub finishing: bool,
    /// Whether to work without external power. Default false.
    pub run_on_battery: bool,
    /// Weakest kind of charger that counts as external power. Default wireless: any kind counts.
    pub weakest_charger: Charger,
    /// Shortest time in each state of a rule without a span of its own, milliseconds. Default 60,000.
    pub hold: u64,
    /// Charge below which work stops, percent. Default 40.
    pub battery_stop: f32,
    /// Charge at which work resumes, percent. Default 60.
    pub battery_resume: f32,
    /// Battery temperature above which work stops, °C. Default 40; work resumes 3 below.
    pub battery_temp_stop: f32,
    /// Processor temperature at which work stops, °C. Default 85; throttling starts 9 below, work resumes
    /// 10 below.
    pub cpu_temp_stop: f32,
    /// Whether to work while somebody uses the device. Default false.
    pub run_while_in_use: bool,
    /// Seconds without input after which the device counts as not in use. Default 180.
    pub idle_after_seconds: f32,
    /// Whether to stop while a program keeps the system awake or covers the screen. Default true.
    pub respect_media: bool,
    /// Whether any program is configured that stops work while it runs.
    pub has_exclusive_programs: bool,
    /// Processor use of other programs above which work stops, percent of the machine averaged over 30 s.
    /// Default 25; work resumes 5 points below.
    pub other_cpu_stop: f32,
    /// Whether to stop on a metered network. Default false: jobs on this device need no network.
    pub stop_when_metered: bool,
    /// Free disk space below which work stops, bytes. Default 5 GB; work resumes 10 % above.
    pub disk_free_min: u64,
    /// Available memory below which work stops, bytes. Default 512 MiB; work resumes 50 % above.
    pub ram_available_min: u64,
    /// Reading of the energy source above which work stops; `None` switches the rule off.
    pub energy_max: Option<f32>,
    /// Profiles that the grid points at; never empty.
    pub profiles: Vec<Profile>,
    /// Profile of each hour of the week, or [`OFF_CELL`].
    pub week: [u8; HOURS_IN_WEEK],
    /// Behaviour without a processor temperature. Default allow: many machines have no sensor.
    pub unknown_cpu_temp: Unknown,
    /// Behaviour without a battery reading. Default allow: desktops have no battery.
    pub unknown_battery: Unknown,
    /// Behaviour without an idle time. Default stop: somebody may be using the device.
    pub unknown_idle: Unknown,
    /// Behaviour without an energy reading while the rule is on. Default stop.
    pub unknown_energy: Unknown,
}

impl Policy {
    /// Minutes until the week plan next switches between off and on; `None` when it never does.
    ///
    /// `minute` is the local time as minutes since Monday 00:00. A change of the clocks on the way skips or
    /// repeats part of the plan.
    #[must_use]
    pub fn minutes_until_switch(&self, minute: u16, change: Option<ZoneChange>) -> Option<u32> {
        const WEEK_MINUTES: i64 = HOURS_IN_WEEK as i64 * 60;
        let local_after = |ahead: i64| {
            let jump = change
                .filter(|change| ahead >= i64::from(change.in_minutes))
                .map_or(0, |change| i64::from(change.by_minutes));
            (i64::from(minute) + ahead + jump).rem_euclid(WEEK_MINUTES)
        };
        let is_off = |local: i64| {
            usize::try_from(local / 60)
                .ok()
                .and_then(|hour| self.week.get(hour))
                .is_some_and(|cell| *cell == OFF_CELL)
        };
        let now_off = is_off(local_after(0));
        let mut ahead = 0;
        // A clock change lengthens the way round the week by one day at most.
        while ahead < WEEK_MINUTES + 1_440 {
            let to_hour = 60 - local_after(ahead) % 60;
            let to_change = change.map_or(i64::MAX, |change| i64::from(change.in_minutes) - ahead);
            ahead += if (1..to_hour).contains(&to_change) { to_change } else { to_hour };
            if is_off(local_after(ahead)) != now_off {
                return u32::try_from(ahead).ok();
            }
        }
        None
    }
}

impl Default for Policy {
    fn default() -> Self {
        let profile = |name: &str, idle, in_use, fan_rpm_max| Profile {
            name: name.to_owned(),
            duty_idle: Percent::new(idle),
            duty_in_use: Percent::new(in_use),
            fan_rpm_max,
        };
        Self {
            contributing: false,
            snoozed_until: None,
            finishing: false,
            run_on_battery: false,
            weakest_charger: Charger::Wireless,
            hold: 60_000,
            battery_stop: 40.0,
            battery_resume: 60.0,
            battery_temp_stop: 40.0,
            cpu_temp_stop: 85.0,
            run_while_in_use: false,
            idle_after_seconds: 180.0,
            respect_media: true,
            has_exclusive_programs: false,
            other_cpu_stop: 25.0,
            stop_when_metered: false,
            disk_free_min: 5_000_000_000,
            ram_available_min: 512 << 20,
            energy_max: None,
            profiles: vec![profile("Full", 100, 50, None), profile("Quiet", 40, 20, Some(2_500))],
            week: [0; HOURS_IN_WEEK],
            unknown_cpu_temp: Unknown::Allow,
            unknown_battery: Unknown::Allow,
            unknown_idle: Unknown::Stop,
            unknown_energy: Unknown::Stop,
        }
    }
}
