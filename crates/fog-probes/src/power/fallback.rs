use fog_eligibility::Readings;

/// Power source without readings: on phones the host application reports the battery.
pub(crate) struct Power;

impl Power {
    pub(crate) fn new() -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the same shape on every system")]
    pub(crate) fn read(&mut self, _readings: &mut Readings, _faults: &mut Vec<crate::SensorFault>) {}
}
