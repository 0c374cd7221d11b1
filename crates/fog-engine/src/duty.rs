//! Duty: how much this device works, by its sensors and by the wishes of its owner.

pub(crate) mod commands;
#[cfg(test)]
mod commands_tests;
pub(crate) mod errors;
pub(crate) mod keep_awake;
pub(crate) mod policy;
pub(crate) mod sensors;
pub(crate) mod sleep;

use fog_api::settings::keys;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use fog_eligibility::Filter;
use fog_probes::{SensorConfig, SensorFault};
use fog_types::UnixMillis;

use crate::context::Context;
use crate::duty::keep_awake::KeepAwake;
use crate::duty::policy::Settings;
use crate::duty::sensors::{Sample, SensorOrder};
use crate::handle::EngineConfig;

/// Key of the end of a pause by hand among the stored settings.
pub(crate) const SNOOZE_KEY: &str = "_snoozed_until_ms";
/// Key that exists while no new tasks are started and contributing ends with the running ones. Its value
/// lists these tasks as pairs of job and index.
pub(crate) const FINISHING_KEY: &str = "_finishing";

/// Sensors, and what their readings and the owner's requests mean.
pub(crate) struct Duty {
    snoozed_until: Option<UnixMillis>,
    filter: Filter,
    /// Sensors that are missing in the newest sample.
    faults: Vec<SensorFault>,
    sensors: SyncSender<SensorOrder>,
    awake: KeepAwake,
    /// Interval of samples that the sensors were told last.
    pace: Duration,
}

impl Duty {
    pub(crate) fn new(sensors: SyncSender<SensorOrder>, snoozed_until: Option<UnixMillis>) -> Self {
        Self {
            snoozed_until,
            filter: Filter::default(),
            faults: Vec::new(),
            sensors,
            awake: KeepAwake::default(),
            pace: Duration::ZERO,
        }
    }

    /// Handles a new sample of the sensors.
    pub(crate) fn handle_sample(&mut self, ctx: &mut Context, sample: Sample) {
        let now = ctx.clock.moment();
        let Sample { mut readings, faults } = sample;
        // The device does not pause because of a result that it is writing: that got its room.
        readings.disk_free = readings.disk_free.map(|free| free.saturating_add(ctx.store.holds().incoming()));
        self.faults = faults;
        let readings = self.filter.accept(readings, now);
        ctx.rules.handle_readings(readings, now);
    }

    /// Returns when a rule may change the verdict, and why.
    pub(crate) fn poll_timeout(&self, ctx: &Context) -> Option<(Instant, &'static str)> {
        ctx.rules
            .poll_timeout()
            .map(|(at, why)| (ctx.now() + Duration::from_millis(at.since(ctx.clock.moment())), why))
    }

    /// Lets the rules react to the time. They react to a new sample, so one is taken.
    pub(crate) fn handle_timeout(&mut self, ctx: &mut Context) {
        ctx.rules.handle_timeout(ctx.clock.moment());
        self.sample_now();
    }

    /// Asks for a sample at once. A full queue means that one is taken already.
    pub(crate) fn sample_now(&self) {
        let _ = self.sensors.try_send(SensorOrder::Now);
    }

    /// Sets the interval of samples. The sensors' queue is full only while they sample; the next change
    /// tries again.
    pub(crate) fn set_pace(&mut self, pace: Duration) {
        if pace != self.pace && self.sensors.try_send(SensorOrder::Pace(pace)).is_ok() {
            self.pace = pace;
        }
    }

    /// Keeps the system awake while tasks run, if the owner wants that and power is connected.
    pub(crate) fn keep_awake(&mut self, ctx: &Context, is_working: bool) {
        self.awake.want(
            is_working && ctx.settings.flag(keys::KEEP_AWAKE) && ctx.rules.readings().charging != Some(false),
        );
    }

    /// Moves the end of a pause by the milliseconds by which the calendar was set.
    pub(crate) fn clock_was_set(&mut self, ctx: &mut Context, by: i64) {
        if let Some(until) = self.snoozed_until {
            self.set_snooze(ctx, Some(UnixMillis(until.0.saturating_add(by))));
        }
    }

    /// Ends a pause whose time has come.
    pub(crate) fn end_snooze(&mut self, ctx: &mut Context, now: UnixMillis) {
        if self.snoozed_until.is_some_and(|until| until <= now) {
            self.set_snooze(ctx, None);
        }
    }

    /// End of a pause by hand.
    pub(crate) fn snoozed_until(&self) -> Option<UnixMillis> {
        self.snoozed_until
    }

    /// Sensors that are missing in the newest sample, and readings that were rejected.
    pub(crate) fn faults(&self) -> (&[SensorFault], &Filter) {
        (&self.faults, &self.filter)
    }
}

/// Configuration of the sensors that the settings describe.
pub(crate) fn sensor_config(settings: &Settings, config: &EngineConfig) -> SensorConfig {
    SensorConfig {
        exclusive_programs: settings.list(keys::EXCLUSIVE_PROGRAMS),
        unmetered_only: settings.flag(keys::STOP_WHEN_METERED),
        energy_source: settings.text(keys::ENERGY_SOURCE).to_owned(),
        data_folder: config.data_folder.clone(),
    }
}
