//! Thread of the sensors, which samples at an interval set by the engine and reports user input at once.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use fog_eligibility::Readings;
use fog_probes::{DeviceReadings, SensorConfig, SensorFault, Sensors};
use tokio::sync::mpsc;

use crate::message::EngineMessage;

/// Result of one pass over the sensors.
pub(crate) struct Sample {
    pub(crate) readings: Readings,
    /// Sensors that were left out.
    pub(crate) faults: Vec<SensorFault>,
}

/// Order of the engine to the thread.
pub(crate) enum SensorOrder {
    Configure(SensorConfig),
    /// Interval between samples.
    Pace(Duration),
    /// Take a sample now.
    Now,
}

/// Starts the thread; it ends when the returned sender is dropped.
pub(crate) fn start(
    config: SensorConfig,
    device: Option<DeviceReadings>,
    to: mpsc::Sender<EngineMessage>,
) -> std::io::Result<SyncSender<SensorOrder>> {
    let (orders, received) = sync_channel(32);
    let wake = to.clone();
    // A full queue means that the loop has work already, and the next sample reports the same.
    let on_input = Arc::new(move || drop(wake.try_send(EngineMessage::Input)));
    let run = move || sense(Sensors::new(config, device, on_input), &received, &to);
    std::thread::Builder::new().name("sensors".to_owned()).stack_size(512 << 10).spawn(run)?;
    Ok(orders)
}

fn sense(mut sensors: Sensors, orders: &Receiver<SensorOrder>, to: &mpsc::Sender<EngineMessage>) {
    let mut pace = Duration::from_secs(1);
    loop {
        let begun = Instant::now();
        let readings = sensors.sample(&fog_runtime::worker_pids());
        let sample = Sample { readings, faults: sensors.faults() };
        if to.blocking_send(EngineMessage::Sample(Box::new(sample))).is_err() {
            return;
        }
        // A new interval counts from the last sample: setting it must not cause another one.
        loop {
            match orders.recv_timeout(pace.saturating_sub(begun.elapsed())) {
                Ok(SensorOrder::Pace(span)) => pace = span,
                Ok(SensorOrder::Configure(config)) => {
                    sensors.configure(config);
                    break;
                }
                Ok(SensorOrder::Now) | Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}
