use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fog_eligibility::Readings;

use crate::device::DeviceReadings;
use crate::energy::EnergySource;
use crate::input::{InputMonitor, InputSource};
use crate::load::Load;
use crate::os::Slow;
use crate::power::Power;

/// What to read beyond what every device has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SensorConfig {
    /// Names of programs to look for, as the system lists them.
    pub exclusive_programs: Vec<String>,
    /// A file or an `http(s)` address that holds a number; empty for none.
    pub energy_source: String,
    /// Use no network while it is metered.
    pub unmetered_only: bool,
    /// The folder whose disk is watched.
    pub data_folder: PathBuf,
}

/// Every sensor of this device. Sampling never blocks for long: what may hang (D-Bus, HTTP, a
/// display server) is read by threads of its own, and their last word expires.
pub struct Sensors {
    config: SensorConfig,
    device: Option<DeviceReadings>,
    power: Power,
    load: Load,
    input: InputMonitor,
    slow: Slow,
    energy: Option<EnergySource>,
    /// Whether the network may be used now.
    may_download: Arc<AtomicBool>,
    programs: Option<(Instant, Vec<String>)>,
    heat: Option<(Instant, Option<f32>, Option<u32>)>,
}

/// Exclusive programs are looked for this often (BOINC: 10 s).
const PROGRAMS_EVERY: Duration = Duration::from_secs(10);
/// Temperatures move slowly and cost more to read than the rest.
const HEAT_EVERY: Duration = Duration::from_secs(2);

impl Sensors {
    /// Opens the sensors; `device` adds what the shell around the engine knows. `on_input` is called from another thread as soon as somebody touches the
    /// device after a second of quiet.
    #[must_use]
    pub fn new(config: SensorConfig, device: Option<DeviceReadings>, on_input: Arc<dyn Fn() + Send + Sync>) -> Self {
        // Until the first sample it is not known whether the network is metered.
        let may_download = Arc::new(AtomicBool::new(!config.unmetered_only));
        let energy = EnergySource::start(&config.energy_source, &may_download);
        let (power, load, input, slow) = (Power::new(), Load::new(), InputMonitor::start(on_input), Slow::start());
        Self { config, device, power, load, input, slow, energy, may_download, programs: None, heat: None }
    }

    /// Takes new settings; only what changed is opened again.
    pub fn configure(&mut self, config: SensorConfig) {
        if config.unmetered_only && !self.config.unmetered_only {
            self.may_download.store(false, Ordering::Relaxed);
        }
        if config.energy_source != self.config.energy_source {
            self.energy = EnergySource::start(&config.energy_source, &self.may_download);
        }
        if config.exclusive_programs != self.config.exclusive_programs {
            self.programs = None;
        }
        self.config = config;
    }

    /// Where the input idle time comes from.
    #[must_use]
    pub fn input_source(&self) -> InputSource {
        self.input.source()
    }

    /// One pass over everything. `own` are the processes whose load is ours.
    pub fn sample(&mut self, own: &[u32]) -> Readings {
        let mut readings = Readings::default();
        self.power.read(&mut readings);
        readings.other_cpu = self.load.others_percent(own);
        readings.ram_available = self.load.ram_available();
        readings.idle = self.input.idle_seconds();
        readings.fullscreen = self.input.fullscreen().or_else(crate::os::fullscreen);
        let slow = self.slow.latest();
        readings.inhibited = slow.inhibited;
        readings.metered = slow.metered;
        readings.thermal = crate::os::thermal_pressure();
        if self.heat.as_ref().is_none_or(|(at, ..)| at.elapsed() >= HEAT_EVERY) {
            self.heat = Some((Instant::now(), self.load.cpu_celsius(), crate::os::fan_rpm()));
        }
        if let Some((_, celsius, rpm)) = self.heat {
            (readings.cpu_temp, readings.fan_rpm) = (celsius, rpm);
        }
        readings.exclusive = Some(self.exclusive());
        readings.disk_free = fs4::available_space(&self.config.data_folder).ok();
        readings.energy = self.energy.as_ref().and_then(EnergySource::latest);
        readings.minute_of_week = Some(minute_of_week());
        if let Some(device) = &self.device {
            device.overlay(&mut readings);
        }
        let is_free = readings.metered != Some(true) && self.slow.has_looked();
        self.may_download.store(!self.config.unmetered_only || is_free, Ordering::Relaxed);
        readings
    }

    fn exclusive(&mut self) -> Vec<String> {
        if self.config.exclusive_programs.is_empty() {
            return Vec::new();
        }
        match &self.programs {
            Some((at, found)) if at.elapsed() < PROGRAMS_EVERY => found.clone(),
            _ => {
                let found = self.load.running(&self.config.exclusive_programs);
                self.programs = Some((Instant::now(), found.clone()));
                found
            }
        }
    }
}

fn minute_of_week() -> u16 {
    let now = jiff::Zoned::now();
    let day = now.weekday().to_monday_zero_offset().unsigned_abs();
    u16::from(day) * 1440 + u16::from(now.hour().unsigned_abs()) * 60 + u16::from(now.minute().unsigned_abs())
}
