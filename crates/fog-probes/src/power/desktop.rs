use std::time::{Duration, Instant};

use battery::units::{electric_potential::volt, energy::watt_hour, ratio::percent, thermodynamic_temperature::degree_celsius};
use battery::{Battery, Manager, State};
use fog_eligibility::Readings;
use fog_eligibility::plausible::{BATTERY_CELSIUS, plausible};

use crate::SensorFault;

/// Batteries come and go: the list is made anew this often.
const LIST_EVERY: Duration = Duration::from_secs(30);

/// The batteries of a laptop.
pub(crate) struct Power {
    manager: Option<Manager>,
    batteries: Option<(Instant, Vec<Battery>)>,
}

impl Power {
    pub(crate) fn new() -> Self {
        Self { manager: Manager::new().ok(), batteries: None }
    }

    pub(crate) fn read(&mut self, readings: &mut Readings, faults: &mut Vec<SensorFault>) {
        let Some(manager) = &self.manager else { return };
        if self.batteries.as_ref().is_none_or(|(at, _)| at.elapsed() >= LIST_EVERY) {
            let Ok(list) = manager.batteries() else { return };
            // Batteries of mice and headsets hold no voltage worth the name.
            let list = list.flatten().filter(|b| b.energy_full().get::<watt_hour>() > 1.0 && b.voltage().get::<volt>() > 1.0);
            self.batteries = Some((Instant::now(), list.collect()));
        }
        let Some((_, batteries)) = &mut self.batteries else { return };
        readings.battery_present = Some(!batteries.is_empty());
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
                // A controller that holds the charge reports neither; it does so on external power.
                _ => readings.charging = readings.charging.or_else(|| crate::os::on_battery().map(|on_battery| !on_battery)),
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
