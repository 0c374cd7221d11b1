use std::path::{Path, PathBuf};

use super::Sensor;
use crate::sysfs::{CLASS, folders, text};

/// Chips below `hwmon` (<https://docs.kernel.org/hwmon/sysfs-interface.html>) and zones below `thermal`
/// (<https://docs.kernel.org/driver-api/thermal/sysfs-api.html>). Many boards have only one of the two.
pub(super) struct Source {
    class: PathBuf,
}

impl Source {
    pub(super) fn new() -> Self {
        Self::at(Path::new(CLASS))
    }

    /// Reads below another folder than `/sys/class`.
    pub(super) fn at(class: &Path) -> Self {
        Self { class: class.to_owned() }
    }

    pub(super) fn read(&mut self) -> (Vec<Sensor<f32>>, Vec<Sensor<u32>>) {
        let (mut temperatures, mut fans) = (Vec::new(), Vec::new());
        for chip in folders(&self.class.join("hwmon")).unwrap_or_default() {
            let place = chip.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let kind = text(&chip.join("name")).unwrap_or_else(|| place.clone());
            for input in inputs(&chip) {
                let label = text(&chip.join(format!("{input}_label"))).unwrap_or_else(|| input.clone());
                let name = format!("{kind} {label} ({place})");
                // A sensor that sleeps or does not answer is not a fault.
                let Some(said) = text(&chip.join(format!("{input}_input"))) else { continue };
                let is_broken = text(&chip.join(format!("{input}_fault"))).is_some_and(|fault| fault == "1");
                if input.starts_with("temp") {
                    temperatures.push(Sensor {
                        name,
                        value: if is_broken { Err(broken(&said)) } else { celsius(&said) },
                    });
                } else {
                    let rpm = said.parse().map_err(|_| said.clone());
                    fans.push(Sensor { name, value: if is_broken { Err(broken(&said)) } else { rpm } });
                }
            }
        }
        for zone in folders(&self.class.join("thermal")).unwrap_or_default() {
            let place = zone.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !place.starts_with("thermal_zone")
                || text(&zone.join("mode")).is_some_and(|mode| mode == "disabled")
            {
                continue;
            }
            let Some(said) = text(&zone.join("temp")) else { continue };
            let name = format!("{} ({place})", text(&zone.join("type")).unwrap_or_default());
            temperatures.push(Sensor { name, value: celsius(&said) });
        }
        (temperatures, fans)
    }
}

/// Names of the inputs of a chip, such as `temp1` and `fan2`, in order.
fn inputs(chip: &Path) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(chip)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix("_input")?.to_owned()))
        .filter(|input| {
            ["temp", "fan"]
                .iter()
                .any(|kind| input.strip_prefix(kind).is_some_and(|n| n.parse::<u16>().is_ok()))
        })
        .collect();
    found.sort();
    found
}

fn broken(said: &str) -> String {
    format!("{said}, and that it is broken")
}

/// Both interfaces give thousandths of a degree.
fn celsius(said: &str) -> Result<f32, String> {
    said.parse::<i64>().map(|millis| millis as f32 / 1000.0).map_err(|_| said.to_owned())
}
