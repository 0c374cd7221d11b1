//! Rules that protect the device: power, heat, load, connection, free space and energy.

use super::{Eligibility, LOAD_WINDOW_MILLIS, flag, limit_to, range, stop};
use crate::policy::Unknown;
use crate::reading::{Moment, ThermalPressure};
use crate::rules::Rule;
use crate::verdict::{Reason, Resume, Value};

/// Shortest history that counts as an average, so that a spike at the start stops nothing.
const LOAD_MIN_MILLIS: u64 = 5_000;
/// Time between two steps back towards full duty, milliseconds.
pub(super) const STEP_HOLD_MILLIS: u64 = 30_000;
/// Duty at each level of warmth; level 0 is cool.
const WARM_DUTY: [u8; 4] = [100, 75, 50, 25];
/// Degrees below the limit at which levels 1, 2 and 3 begin.
const WARM_BELOW: [f32; 3] = [9.0, 6.0, 3.0];
/// Degrees a reading must fall below a level before the level is left.
const WARM_GAP: f32 = 2.0;

impl Eligibility {
    pub(super) fn power(&mut self, now: Moment, out: &mut Vec<Reason>) {
        let p = &self.policy;
        if self.last.battery_present == Some(false) {
            return;
        }
        // Policy for an unknown battery; only `battery_present == Some(false)` says that there is none.
        let missing = p.unknown_battery;
        let (charging, charge, warmth) = (self.last.charging, self.last.battery, self.last.battery_temp);
        let (low, high, hot) = (p.battery_stop, p.battery_resume.max(p.battery_stop), p.battery_temp_stop);
        let (charger, weakest) = (self.last.charger.filter(|_| charging == Some(true)), p.weakest_charger);
        if !p.run_on_battery {
            let standing = flag(charging.map(|c| !c), missing);
            self.gate(
                Rule::OnBattery,
                standing,
                now,
                out,
                Value::Flag(charging == Some(false)),
                Value::Flag(false),
                Resume::UserActs,
            );
        }
        let standing = flag(charger.map(|kind| kind > weakest), Unknown::Allow);
        self.gate(
            Rule::Charger,
            standing,
            now,
            out,
            charger.map_or(Value::Unknown, Value::Charger),
            Value::Charger(weakest),
            Resume::UserActs,
        );
        let standing = range(charge, missing, |c| c < low, |c| c >= high);
        self.gate(
            Rule::BatteryLevel,
            standing,
            now,
            out,
            charge.map_or(Value::Unknown, Value::Percent),
            Value::Percent(low),
            Resume::Above(Value::Percent(high)),
        );
        // Few systems report it, so a missing battery temperature never stops anything.
        let standing = range(warmth, Unknown::Allow, |t| t > hot, |t| t <= hot - 3.0);
        self.gate(
            Rule::BatteryTemp,
            standing,
            now,
            out,
            celsius(warmth),
            Value::Celsius(hot),
            Resume::Below(Value::Celsius(hot - 3.0)),
        );
    }

    pub(super) fn heat(&mut self, now: Moment, out: &mut Vec<Reason>) {
        let limit = self.policy.cpu_temp_stop;
        let temp = self.last.cpu_temp;
        let standing = range(temp, self.policy.unknown_cpu_temp, |t| t >= limit, |t| t <= limit - 10.0);
        let open = self.gate(
            Rule::CpuTemp,
            standing,
            now,
            out,
            celsius(temp),
            Value::Celsius(limit),
            Resume::Below(Value::Celsius(limit - 10.0)),
        );
        let level =
            |t: Option<f32>| t.map_or(0, |t| WARM_BELOW.iter().filter(|below| t >= limit - **below).count());
        let step = self.warmth.update(level(temp), level(temp.map(|t| t + WARM_GAP)), now, STEP_HOLD_MILLIS);
        if open && step > 0 {
            out.push(limit_to(
                Rule::CpuTemp,
                WARM_DUTY[step],
                celsius(temp),
                Value::Celsius(limit),
                Resume::Below(Value::Celsius(limit - WARM_BELOW[0] - WARM_GAP)),
            ));
        }

        let pressure = self.last.thermal.unwrap_or(ThermalPressure::Nominal);
        let step = self.pressure.update(pressure as usize, pressure as usize, now, STEP_HOLD_MILLIS);
        let (now_value, goal) = (Value::Pressure(pressure), Value::Pressure(ThermalPressure::Nominal));
        match step {
            0 => {}
            1 => out.push(limit_to(Rule::Thermal, 50, now_value, goal.clone(), Resume::Below(goal))),
            2 => out.push(limit_to(Rule::Thermal, 10, now_value, goal.clone(), Resume::Below(goal))),
            _ => out.push(stop(Rule::Thermal, now_value, goal.clone(), Resume::Below(goal))),
        }
    }

    pub(super) fn machine_load(&mut self, now: Moment, out: &mut Vec<Reason>) {
        let p = self.policy.clone();
        let load = self.average_load(now);
        let (stop_at, low) = (p.other_cpu_stop, (p.other_cpu_stop - 5.0).max(0.0));
        let standing = range(load, Unknown::Allow, |l| l > stop_at, |l| l <= low);
        self.gate(
            Rule::OtherCpu,
            standing,
            now,
            out,
            load.map_or(Value::Unknown, Value::Percent),
            Value::Percent(stop_at),
            Resume::Below(Value::Percent(low)),
        );
        if p.stop_when_metered {
            let standing = flag(self.last.metered, Unknown::Allow);
            self.gate(
                Rule::Metered,
                standing,
                now,
                out,
                Value::Flag(true),
                Value::Flag(false),
                Resume::ConditionEnds,
            );
        }
        for (rule, free, min, back) in [
            (Rule::DiskFree, self.last.disk_free, p.disk_free_min, p.disk_free_min / 10 * 11),
            (Rule::RamAvailable, self.last.ram_available, p.ram_available_min, p.ram_available_min / 2 * 3),
        ] {
            let standing = range(free, Unknown::Allow, |f| f < min, |f| f >= back);
            self.gate(
                rule,
                standing,
                now,
                out,
                free.map_or(Value::Unknown, Value::Bytes),
                Value::Bytes(min),
                Resume::Above(Value::Bytes(back)),
            );
        }
        if let Some(max) = p.energy_max {
            let energy = self.last.energy;
            let back = max - max.abs() * 0.05;
            let standing = range(energy, p.unknown_energy, |e| e > max, |e| e <= back);
            self.gate(
                Rule::Energy,
                standing,
                now,
                out,
                energy.map_or(Value::Unknown, Value::Energy),
                Value::Energy(max),
                Resume::Below(Value::Energy(back)),
            );
        }
    }

    fn average_load(&self, now: Moment) -> Option<f32> {
        let (first, _) = self.load.front()?;
        if now.since(*first) < LOAD_MIN_MILLIS {
            return None;
        }
        // Each sample covers the time since the one before it.
        let start = Moment(now.0.saturating_sub(LOAD_WINDOW_MILLIS));
        let (mut sum, mut weight, mut before) = (0.0_f64, 0.0_f64, *first);
        for (at, value) in self.load.iter().skip(1) {
            let span = at.since(before.max(start)) as f64;
            sum += f64::from(*value) * span;
            weight += span;
            before = *at;
        }
        (weight > 0.0).then(|| (sum / weight) as f32)
    }
}

fn celsius(value: Option<f32>) -> Value {
    value.map_or(Value::Unknown, Value::Celsius)
}
