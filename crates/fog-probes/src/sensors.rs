use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fog_eligibility::Readings;

use crate::civil::{minute_of_week, zone_change};
use crate::device::DeviceReadings;
use crate::energy::EnergySource;
use crate::fault::SensorFault;
use crate::heat::{Heat, HeatSensors};
use crate::input::{InputMonitor, InputSource};
use crate::load::Load;
use crate::os::Slow;
use crate::power::Power;

/// Settings of the sensors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SensorConfig {
    /// Names of programs to look for, as the system lists them.
    pub exclusive_programs: Vec<String>,
    /// File or `http(s)` URL that holds a number; empty for none.
    pub energy_source: String,
    /// Whether to use no network while it is metered.
    pub unmetered_only: bool,
    /// Folder whose disk is watched.
    pub data_folder: PathBuf,
}

/// All sensors of this device. Sampling never blocks for long: sources that may hang (D-Bus, HTTP, a
/// display server) are read by separate threads, and their last values expire.
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
    heat_sensors: HeatSensors,
    heat: Option<(Instant, Heat)>,
    battery_faults: Vec<SensorFault>,
}

/// Time between two looks for exclusive programs.
const PROGRAMS_EVERY: Duration = Duration::from_secs(10);
/// Time between two reads of temperatures, which move slowly and cost more than the rest.
const HEAT_EVERY: Duration = Duration::from_secs(2);

/// Returns the bytes that are free on the disk of a folder; `None` when the system does not tell.
#[must_use]
pub fn disk_free(folder: &Path) -> Option<u64> {
    fs4::available_space(folder).ok()
}

impl Sensors {
    /// Opens the sensors. `device` adds the readings of the host application. `on_input` is called from
    /// another thread at the first input after a second without any.
    #[must_use]
    pub fn new(
        config: SensorConfig,
        device: Option<DeviceReadings>,
        on_input: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        // Until the first sample it is unknown whether the network is metered.
        let may_download = Arc::new(AtomicBool::new(!config.unmetered_only));
        let energy = EnergySource::start(&config.energy_source, &may_download);
        let (power, load, input, slow) =
            (Power::new(), Load::new(), InputMonitor::start(on_input), Slow::start());
        Self {
            config,
            device,
            power,
            load,
            input,
            slow,
            energy,
            may_download,
            programs: None,
            heat_sensors: HeatSensors::new(),
            heat: None,
            battery_faults: Vec::new(),
        }
    }

    /// Takes new settings; only sources that changed are opened again.
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

    /// Source of the input idle time.
    #[must_use]
    pub fn input_source(&self) -> InputSource {
        self.input.source()
    }

    /// Sensors left out of the last sample because their values are impossible.
    #[must_use]
    pub fn faults(&self) -> Vec<SensorFault> {
        let heat = self.heat.iter().flat_map(|(_, heat)| &heat.faults);
        self.battery_faults.iter().chain(heat).cloned().collect()
    }

    /// Reads all sensors. `own` are the ids of the processes that are not counted as other programs.
    pub fn sample(&mut self, own: &[u32]) -> Readings {
        let mut readings = Readings::default();
        self.battery_faults.clear();
        self.power.read(&mut readings, &mut self.battery_faults);
        readings.other_cpu = self.load.others_percent(own);
        readings.ram_available = self.load.ram_available();
        readings.idle = self.input.idle_seconds();
        readings.fullscreen = self.input.fullscreen().or_else(crate::os::fullscreen);
        let slow = self.slow.latest();
        readings.inhibited = slow.inhibited;
        readings.metered = slow.metered;
        readings.thermal = crate::os::thermal_pressure();
        if self.heat.as_ref().is_none_or(|(at, _)| at.elapsed() >= HEAT_EVERY) {
            let now = Instant::now();
            self.heat = Some((now, self.heat_sensors.read(now)));
        }
        if let Some((_, heat)) = &self.heat {
            (readings.cpu_temp, readings.fan_rpm) = (heat.cpu_celsius, heat.fan_rpm);
        }
        readings.exclusive = Some(self.exclusive());
        readings.disk_free = disk_free(&self.config.data_folder);
        readings.energy = self.energy.as_ref().and_then(EnergySource::latest);
        let now = jiff::Zoned::now();
        readings.minute_of_week = Some(minute_of_week(&now));
        readings.zone_change = zone_change(&now);
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
