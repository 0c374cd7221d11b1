use fog_types::Percent;

use crate::reading::{Charger, Moment, ZoneChange};

/// Hours in a week: the cells of the schedule grid, Monday 00:00 first.
pub const HOURS_IN_WEEK: usize = 168;
/// The grid value that means "do not work in this hour".
pub const OFF_CELL: u8 = 255;

/// What a rule does when its sensor is missing or silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Behave as if the reading were fine.
    Allow,
    /// Behave as if the reading were past its limit.
    Stop,
}

/// A named set of limits that the week grid points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What the user calls it.
    pub name: String,
    /// Share of processor time while nobody uses the device.
    pub duty_idle: Percent,
    /// Share of processor time while somebody does; used only with
    /// [`run_while_in_use`](Policy::run_while_in_use).
    pub duty_in_use: Percent,
    /// Fastest fan allowed, revolutions per minute; `None` for no limit.
    pub fan_rpm_max: Option<u32>,
}

/// The user's rules. Defaults and their sources are in `docs/decisions/0004-eligibility.md`.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The big switch. Default off: the user turns it on.
    pub contributing: bool,
    /// Paused by hand until then.
    pub snoozed_until: Option<Moment>,
    /// Finish running tasks, start nothing, then behave as switched off.
    pub finishing: bool,
    /// Work without external power. Default false (BOINC `run_on_batteries`).
    pub run_on_battery: bool,
    /// Weakest kind of charger that counts as external power. Default wireless: any will do.
    pub weakest_charger: Charger,
    /// Shortest time in each state of a rule that names no span of its own, milliseconds. Default 60,000.
    pub hold: u64,
    /// Stop below this charge, percent. Default 40.
    pub battery_stop: f32,
    /// Resume at this charge. Default 60.
    pub battery_resume: f32,
    /// Stop above this battery temperature, °C. Default 40 (BOINC); resumes 3 below.
    pub battery_temp_stop: f32,
    /// Stop at this processor temperature, °C. Default 85; throttles from 10 below, resumes 10 below.
    pub cpu_temp_stop: f32,
    /// Work while somebody uses the device. Default false.
    pub run_while_in_use: bool,
    /// Seconds without input after which the device counts as not in use. Default 180 (BOINC).
    pub idle_after_seconds: f32,
    /// Stop while a program asks the system to stay awake or covers the screen. Default true.
    pub respect_media: bool,
    /// Stop when other programs use more than this share of the machine, averaged over 30 s.
    /// Default 25 (BOINC); resumes 5 points below.
    pub other_cpu_stop: f32,
    /// Stop on a metered network. Default false: jobs on this device need no network.
    pub stop_when_metered: bool,
    /// Stop below this much free disk, bytes. Default 5 GB; resumes 10 % above.
    pub disk_free_min: u64,
    /// Stop below this much available memory, bytes. Default 512 MiB; resumes 50 % above.
    pub ram_available_min: u64,
    /// Stop while the energy source reads above this; `None` switches the rule off.
    pub energy_max: Option<f32>,
    /// The profiles the grid points at; never empty.
    pub profiles: Vec<Profile>,
    /// Profile of each hour of the week, or [`OFF_CELL`].
    pub week: [u8; HOURS_IN_WEEK],
    /// No processor temperature. Default allow: many machines have no sensor.
    pub unknown_cpu_temp: Unknown,
    /// No battery answer. Default allow: desktops have none.
    pub unknown_battery: Unknown,
    /// No idle time. Default stop: never disturb somebody we cannot see.
    pub unknown_idle: Unknown,
    /// No energy value although the rule is on. Default stop.
    pub unknown_energy: Unknown,
}

impl Policy {
    /// Minutes that pass until the week plan next switches between off and on; `None` when it never does.
    ///
    /// `minute` is the local time as minutes since Monday 00:00. Where the clocks change on the way,
    /// an hour of the plan is left out or comes twice.
    #[must_use]
    pub fn minutes_until_switch(&self, minute: u16, change: Option<ZoneChange>) -> Option<u32> {
        const WEEK_MINUTES: i64 = HOURS_IN_WEEK as i64 * 60;
        let local_after = |ahead: i64| {
            let jump = change.filter(|change| ahead >= i64::from(change.in_minutes)).map_or(0, |change| i64::from(change.by_minutes));
            (i64::from(minute) + ahead + jump).rem_euclid(WEEK_MINUTES)
        };
        let is_off = |local: i64| usize::try_from(local / 60).ok().and_then(|hour| self.week.get(hour)).is_some_and(|cell| *cell == OFF_CELL);
        let now_off = is_off(local_after(0));
        let mut ahead = 0;
        // A change makes the way round the week longer by a day at most.
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
