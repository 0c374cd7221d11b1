use std::time::{Duration, Instant};

use battery::units::{
    electric_potential::volt, energy::watt_hour, ratio::percent, thermodynamic_temperature::degree_celsius,
};
use battery::{Battery, Manager, State};
use fog_eligibility::Readings;
use fog_eligibility::plausible::{BATTERY_CELSIUS, plausible};

use super::listed::Listed;
use crate::SensorFault;

/// Time after which the list is made again, because batteries come and go.
const LIST_EVERY: Duration = Duration::from_secs(30);

/// Batteries found when the list was last made.
struct List {
    at: Instant,
    batteries: Vec<Battery>,
    is_any: Option<bool>,
}

/// The batteries of a laptop.
pub(crate) struct Power {
    manager: Option<Manager>,
    list: Option<List>,
}

impl Power {
    pub(crate) fn new() -> Self {
        Self { manager: Manager::new().ok(), list: None }
    }

    pub(crate) fn read(&mut self, readings: &mut Readings, faults: &mut Vec<SensorFault>) {
        let Some(manager) = &self.manager else { return };
        if self.list.as_ref().is_none_or(|list| list.at.elapsed() >= LIST_EVERY) {
            let Ok(found) = manager.batteries() else { return };
            let (mut batteries, mut kinds) = (Vec::new(), Vec::new());
            for found in found {
                let kind = found.as_ref().map_or(Listed::Unknown, |b| {
                    Listed::of(b.energy_full().get::<watt_hour>(), b.voltage().get::<volt>())
                });
                kinds.push(kind);
                batteries.extend(found.ok().filter(|_| kind == Listed::Own));
            }
            self.list = Some(List { at: Instant::now(), batteries, is_any: Listed::is_any(&kinds) });
        }
        let Some(List { batteries, is_any, .. }) = &mut self.list else { return };
        readings.battery_present = *is_any;
        let mut charge = (0.0, 0.0);
        for battery in batteries.iter_mut() {
            if manager.refresh(battery).is_err() {
                continue;
            }
            let full = battery.energy_full().get::<watt_hour>();
            charge = (charge.0 + battery.state_of_charge().get::<percent>() * full, charge.1 + full);
            match battery.state() {
                State::Discharging | State::Empty => readings.charging = Some(false),
                State::Charging | State::Full => readings.charging = readings.charging.or(Some(true)),
                // A controller that holds the charge reports neither state, and does so on external power
                // only.
                _ => {
                    readings.charging =
                        readings.charging.or_else(|| crate::os::on_battery().map(|on_battery| !on_battery))
                }
            }
            let warmth = battery.temperature().map(|t| t.get::<degree_celsius>());
            if let Some(celsius) = warmth.filter(|celsius| plausible(*celsius, &BATTERY_CELSIUS).is_none()) {
                faults.push(SensorFault::new("battery", format_args!("{celsius} °C")));
            }
            let warmth = warmth.and_then(|celsius| plausible(celsius, &BATTERY_CELSIUS));
            readings.battery_temp = readings.battery_temp.into_iter().chain(warmth).reduce(f32::max);
        }
        if readings.charging == Some(true) {
            readings.charger = crate::os::charger();
        }
        if charge.1 > 0.0 {
            readings.battery = Some(charge.0 / charge.1);
        }
    }
}
