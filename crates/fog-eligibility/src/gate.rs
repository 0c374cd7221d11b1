use crate::reading::Moment;

/// State of one rule: open (work may pass) or closed, and since when.
///
/// The rule compares its reading with its thresholds; the gate adds the gap between the two thresholds and
/// the shortest time in each state, so that the verdict does not flap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    state: Option<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    open: bool,
    since: Moment,
}

/// Position of a reading relative to the two thresholds of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Past the stop threshold.
    Stop,
    /// Between the two thresholds: the gate keeps its state.
    Gap,
    /// Past the resume threshold.
    Resume,
}

impl Gate {
    /// Takes the newest standing and returns whether the gate is open.
    ///
    /// `hold_closed` and `hold_open` are the shortest times in each state, milliseconds. The first standing
    /// decides at once.
    pub(crate) fn update(
        &mut self,
        standing: Standing,
        now: Moment,
        hold_closed: u64,
        hold_open: u64,
    ) -> bool {
        let Some(state) = &mut self.state else {
            let open = standing != Standing::Stop;
            self.state = Some(State { open, since: now });
            return open;
        };
        let held = now.since(state.since);
        let flip = match (state.open, standing) {
            (true, Standing::Stop) => held >= hold_open,
            (false, Standing::Resume) => held >= hold_closed,
            _ => false,
        };
        if flip {
            *state = State { open: !state.open, since: now };
        }
        state.open
    }

    /// Whether no standing has been seen yet.
    pub(crate) fn is_new(&self) -> bool {
        self.state.is_none()
    }

    /// Time at which the hold of a closed gate ends; `None` while open.
    pub(crate) fn held_until(&self, hold_closed: u64) -> Option<Moment> {
        self.state.filter(|state| !state.open).map(|state| state.since.plus(hold_closed))
    }

    /// Forgets the state, after a change of settings: the next standing decides at once.
    pub(crate) fn reset(&mut self) {
        self.state = None;
    }
}

/// Graduated throttling: the level rises (less work) at once and falls by one per hold time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stepper {
    level: usize,
    since: Moment,
}

impl Stepper {
    /// Returns the level in force. `wanted` is the level for the reading now, `relaxed` the level for the
    /// reading with the gap added.
    pub(crate) fn update(&mut self, wanted: usize, relaxed: usize, now: Moment, hold: u64) -> usize {
        if wanted > self.level {
            *self = Self { level: wanted, since: now };
        } else if relaxed < self.level && now.since(self.since) >= hold {
            *self = Self { level: self.level - 1, since: now };
        }
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_waits_in_the_gap_and_for_its_hold() {
        let mut gate = Gate::default();
        assert!(gate.update(Standing::Gap, Moment(0), 60, 0));
        assert!(!gate.update(Standing::Stop, Moment(10), 60, 0));
        assert!(!gate.update(Standing::Gap, Moment(500), 60, 0));
        assert!(gate.update(Standing::Resume, Moment(501), 60, 0));
        assert!(!gate.update(Standing::Stop, Moment(502), 60, 0));
        assert!(!gate.update(Standing::Resume, Moment(561), 60, 0));
        assert_eq!(gate.held_until(60), Some(Moment(562)));
        assert!(gate.update(Standing::Resume, Moment(562), 60, 0));
    }

    #[test]
    fn a_stepper_slows_at_once_and_speeds_up_step_by_step() {
        let mut stepper = Stepper::default();
        assert_eq!(stepper.update(3, 3, Moment(0), 100), 3);
        assert_eq!(stepper.update(0, 0, Moment(99), 100), 3);
        assert_eq!(stepper.update(0, 0, Moment(100), 100), 2);
        assert_eq!(stepper.update(0, 0, Moment(150), 100), 2);
        assert_eq!(stepper.update(0, 0, Moment(200), 100), 1);
    }
}
