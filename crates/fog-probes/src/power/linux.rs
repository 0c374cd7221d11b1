//! Power supplies as in <https://docs.kernel.org/power/power_supply_class.html>. An attribute that a
//! battery leaves out is unknown.

use std::path::{Path, PathBuf};

use fog_eligibility::plausible::{BATTERY_CELSIUS, BATTERY_PERCENT, plausible};
use fog_eligibility::{Charger, Readings};

use crate::SensorFault;
use crate::sysfs::{CLASS, folders, text};

/// Highest charge that counts as full, percent: worn batteries report somewhat more than 100.
const FULL_AND_MORE: f32 = 110.0;
/// Name prefixes of batteries in mice, pads and pens whose drivers give no scope.
const PERIPHERALS: [&str; 5] = ["hid", "wacom", "ps-controller", "nintendo", "xpad"];

/// Batteries and chargers as the kernel lists them.
pub(crate) struct Power {
    class: PathBuf,
}

/// One battery of the system.
struct Battery {
    charge: Option<f32>,
    /// Energy when full, µWh; used as a weight only if all batteries give it.
    holds: Option<f32>,
    status: Option<String>,
    celsius: Option<f32>,
}

impl Power {
    pub(crate) fn new() -> Self {
        Self::at(Path::new(CLASS))
    }

    /// Reads below another folder than `/sys/class`.
    pub(crate) fn at(class: &Path) -> Self {
        Self { class: class.to_owned() }
    }

    pub(crate) fn read(&mut self, readings: &mut Readings, faults: &mut Vec<SensorFault>) {
        // A kernel without the power supply class says nothing about batteries.
        let Some(list) = folders(&self.class.join("power_supply")) else { return };
        let supplies: Vec<(Charger, bool)> = list.iter().filter_map(|folder| supply(folder)).collect();
        let batteries: Vec<Battery> = list.iter().filter_map(|folder| battery(folder, faults)).collect();
        readings.battery_present = Some(!batteries.is_empty());
        if batteries.is_empty() {
            return;
        }
        readings.battery = charge_of(&batteries);
        readings.battery_temp = batteries.iter().filter_map(|battery| battery.celsius).reduce(f32::max);
        let on_line = (!supplies.is_empty()).then(|| supplies.iter().any(|(_, online)| *online));
        readings.charging = charging(&batteries, on_line);
        if readings.charging == Some(true) {
            readings.charger = supplies.iter().filter(|(_, online)| *online).map(|(kind, _)| *kind).min();
        }
    }
}

/// Whether the device runs on external power: false when a battery discharges; a battery with neither state
/// follows the supplies.
fn charging(batteries: &[Battery], on_line: Option<bool>) -> Option<bool> {
    let mut found = None;
    for battery in batteries {
        match battery.status.as_deref() {
            Some("Discharging") => return Some(false),
            Some("Charging" | "Full") => found = Some(true),
            // A controller that holds the charge reports neither state, and some report no state at all.
            _ => found = found.or(on_line),
        }
    }
    found
}

/// Charge of all batteries together, weighted by their energy when full if all of them give it.
fn charge_of(batteries: &[Battery]) -> Option<f32> {
    let known: Vec<(f32, Option<f32>)> =
        batteries.iter().filter_map(|battery| Some((battery.charge?, battery.holds))).collect();
    let is_weighed = known.iter().all(|(_, holds)| holds.is_some());
    let (mut sum, mut weight) = (0.0, 0.0);
    for (charge, holds) in known {
        let holds = holds.filter(|_| is_weighed).unwrap_or(1.0);
        sum += charge * holds;
        weight += holds;
    }
    (weight > 0.0).then(|| sum / weight)
}

fn battery(folder: &Path, faults: &mut Vec<SensorFault>) -> Option<Battery> {
    let name = folder.file_name()?.to_string_lossy().into_owned();
    let said = |file: &str| text(&folder.join(file));
    let number = |file: &str| said(file)?.parse::<f32>().ok().filter(|n| n.is_finite());
    if said("type")? != "Battery" || said("present").is_some_and(|present| present == "0") {
        return None;
    }
    let is_of_a_device = match said("scope") {
        Some(scope) => scope == "Device",
        None => PERIPHERALS.iter().any(|begin| name.to_lowercase().starts_with(begin)),
    };
    if is_of_a_device {
        return None;
    }
    let ratio = |now: &str, full: &str| {
        let full = number(full).filter(|full| *full > 0.0)?;
        percent(number(now)? / full * 100.0)
    };
    let capacity = said("capacity");
    let by_capacity = capacity.as_ref().and_then(|text| percent(text.parse().ok()?));
    let charge =
        ratio("energy_now", "energy_full").or_else(|| ratio("charge_now", "charge_full")).or(by_capacity);
    if let (Some(capacity), None) = (&capacity, by_capacity) {
        faults.push(SensorFault::new(&name, format_args!("{capacity} %")));
    }
    let tenths = number("temp");
    let celsius = tenths.and_then(|tenths| plausible(tenths / 10.0, &BATTERY_CELSIUS));
    if let (Some(tenths), None) = (tenths, celsius) {
        faults.push(SensorFault::new(&name, format_args!("{} °C", tenths / 10.0)));
    }
    let by_charge = || Some(number("charge_full")? * number("voltage_now")? / 1e6);
    let holds = number("energy_full").or_else(by_charge).filter(|holds| *holds > 0.0);
    Some(Battery { charge, holds, status: said("status"), celsius })
}

fn percent(value: f32) -> Option<f32> {
    let top = *BATTERY_PERCENT.end();
    plausible(if (top..=FULL_AND_MORE).contains(&value) { top } else { value }, &BATTERY_PERCENT)
}

/// Returns the kind of an external power supply and whether it is online.
fn supply(folder: &Path) -> Option<(Charger, bool)> {
    let kind = match text(&folder.join("type"))?.as_str() {
        "Mains" => Charger::Mains,
        "USB" => Charger::Usb,
        "Wireless" => Charger::Wireless,
        _ => return None,
    };
    // Value 2 is a port with a programmable supply.
    match text(&folder.join("online"))?.as_str() {
        "0" => Some((kind, false)),
        "1" | "2" => Some((kind, true)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> (Readings, Vec<SensorFault>) {
        let class = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(class.path().join("power_supply")).unwrap();
        for (file, text) in files {
            let path = class.path().join("power_supply").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{text}\n")).unwrap();
        }
        let (mut readings, mut faults) = (Readings::default(), Vec::new());
        Power::at(class.path()).read(&mut readings, &mut faults);
        (readings, faults)
    }

    #[test]
    fn a_battery_that_says_its_capacity_only_is_there() {
        let (readings, faults) = read(&[
            ("BAT0/type", "Battery"),
            ("BAT0/capacity", "15"),
            ("AC/type", "Mains"),
            ("AC/online", "0"),
        ]);
        let expected = Readings {
            battery_present: Some(true),
            battery: Some(15.0),
            charging: Some(false),
            ..Readings::default()
        };
        assert_eq!((readings, faults), (expected, Vec::new()));
        let (readings, _) = read(&[("BAT0/type", "Battery")]);
        assert_eq!(
            readings,
            Readings { battery_present: Some(true), ..Readings::default() },
            "and one that says nothing as well"
        );
    }

    #[test]
    fn no_battery_and_no_answer_are_told_apart() {
        assert_eq!(read(&[("AC/type", "Mains"), ("AC/online", "1")]).0.battery_present, Some(false));
        let (mut readings, mut faults) = (Readings::default(), Vec::new());
        Power::at(Path::new("/nowhere/at/all")).read(&mut readings, &mut faults);
        assert_eq!(readings, Readings::default());
        // An empty bay, a mouse, and a pen whose driver gives no scope.
        let others = [
            ("BAT1/type", "Battery"),
            ("BAT1/present", "0"),
            ("mouse/type", "Battery"),
            ("mouse/scope", "Device"),
            ("mouse/capacity", "50"),
            ("wacom_battery_0/type", "Battery"),
            ("wacom_battery_0/capacity", "3"),
        ];
        assert_eq!(read(&others).0.battery_present, Some(false));
    }

    #[test]
    fn a_battery_that_lies_is_named_and_the_other_counts() {
        let (readings, faults) = read(&[
            ("BAT0/type", "Battery"),
            ("BAT0/capacity", "255"),
            ("BAT0/temp", "32767"),
            ("BAT0/status", "Charging"),
            ("BAT1/type", "Battery"),
            ("BAT1/capacity", "80"),
            ("BAT1/temp", "310"),
            ("BAT1/status", "Full"),
        ]);
        assert_eq!(
            (readings.battery, readings.battery_temp, readings.charging),
            (Some(80.0), Some(31.0), Some(true))
        );
        assert_eq!(faults, [SensorFault::new("BAT0", "255 %"), SensorFault::new("BAT0", "3276.7 °C")]);
    }

    #[test]
    fn two_batteries_are_weighed_and_one_that_gives_power_decides() {
        let two = [
            ("BAT0/type", "Battery"),
            ("BAT0/energy_now", "10000000"),
            ("BAT0/energy_full", "20000000"),
            ("BAT0/status", "Full"),
            ("BAT1/type", "Battery"),
            ("BAT1/charge_now", "5050000"),
            ("BAT1/charge_full", "5000000"),
            ("BAT1/voltage_now", "12000000"),
            ("BAT1/status", "Discharging"),
        ];
        let (readings, faults) = read(&two);
        assert_eq!((readings.battery, readings.charging, faults.len()), (Some(87.5), Some(false), 0));
        let (readings, _) = read(&[
            ("BAT0/type", "Battery"),
            ("BAT0/status", "Not charging"),
            ("USBC/type", "USB"),
            ("USBC/online", "2"),
        ]);
        assert_eq!((readings.charging, readings.charger), (Some(true), Some(Charger::Usb)));
    }
}
