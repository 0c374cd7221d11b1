use sysinfo::{Component, Components};

use super::Sensor;

/// Sensors that `sysinfo` finds.
pub(super) struct Source {
    components: Components,
}

impl Source {
    pub(super) fn new() -> Self {
        Self { components: Components::new() }
    }

    pub(super) fn read(&mut self) -> (Vec<Sensor<f32>>, Vec<Sensor<u32>>) {
        self.components.refresh(true);
        let sensor =
            |part: &Component| Some(Sensor { name: part.label().to_owned(), value: Ok(part.temperature()?) });
        let fan = crate::os::fan_rpm().map(|rpm| Sensor { name: "fan".to_owned(), value: Ok(rpm) });
        (self.components.iter().filter_map(sensor).collect(), fan.into_iter().collect())
    }
}
