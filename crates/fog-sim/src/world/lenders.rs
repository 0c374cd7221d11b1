//! Simulated world: the devices that lend, with their progress, their reports and their answers.

use fog_grid::{Answer, Decline, LeaseId, WorkerState};
use fog_types::WorkUnits;
use rand::RngExt as _;

use super::{BUNDLE, Event, Given, Lender, Run, ToDevice, ToRequester, World};
use crate::device::{Mode, Strategy};

impl World {
    fn say_all(&mut self, device: u32, make: impl Fn(&Lender) -> ToRequester) {
        let known_by = self.lenders[device as usize].known_by.clone();
        for (to, _) in known_by {
            let what = make(&self.lenders[device as usize]);
            self.say(device, to, what);
        }
    }

    fn hello(&mut self, device: u32) {
        self.say_all(device, |lender| ToRequester::Hello {
            free: (lender.device.slots as usize).saturating_sub(lender.runs.len()) as u16,
            works: lender.device.mode == Mode::Working,
        });
    }

    /// Updates the progress of a device to the current time.
    pub(super) fn advance(&mut self, device: u32) {
        let now = self.now;
        let lender = &mut self.lenders[device as usize];
        if lender.device.mode == Mode::Working {
            lender.could += (now - lender.since) as f64 * f64::from(lender.device.slots);
            let pace = lender.device.speed * lender.device.duty / 1000.0;
            for run in &mut lender.runs {
                let more = ((now - run.since) as f64 * pace).min(run.total - run.done).max(0.0);
                run.done += more;
                lender.computed += more;
            }
        }
        lender.since = now;
        for run in &mut lender.runs {
            run.since = now;
        }
    }

    /// Schedules the end of each task of a device, as if nothing changed.
    fn foresee(&mut self, device: u32) {
        let lender = &mut self.lenders[device as usize];
        if lender.device.mode != Mode::Working {
            return;
        }
        let pace = lender.device.speed * lender.device.duty / 1000.0;
        let mut ends = Vec::new();
        for run in &mut lender.runs {
            run.turn += 1;
            ends.push((((run.total - run.done) / pace).ceil().max(0.0) as u64, run.lease, run.turn));
        }
        for (left, lease, turn) in ends {
            self.at(self.now + left, Event::Finish { device, lease, turn });
        }
    }

    pub(super) fn change(&mut self, device: u32) {
        self.advance(device);
        let was = self.lenders[device as usize].device.mode;
        let length = self.lenders[device as usize].device.next(self.now as f64, &mut self.rng);
        let is = self.lenders[device as usize].device.mode;
        self.at(self.now + length as u64, Event::Change(device));
        if is == Mode::Gone {
            // In 3 of 10 cases the device goes without warning and loses the work since the last
            // checkpoint.
            let is_sudden = self.rng.random_bool(0.3);
            let lender = &mut self.lenders[device as usize];
            for run in &mut lender.runs {
                if is_sudden {
                    run.done = run.saved;
                } else {
                    run.saved = run.done;
                }
            }
            if was != Mode::Gone {
                self.say_all(device, |_| ToRequester::Reach(false));
            }
            return;
        }
        if was == Mode::Gone {
            self.say_all(device, |_| ToRequester::Reach(true));
        }
        self.foresee(device);
        self.hello(device);
        self.beat(device);
        self.bundle_later(device);
    }

    fn bundle_later(&mut self, device: u32) {
        let lender = &mut self.lenders[device as usize];
        if !lender.is_bundled && !lender.runs.is_empty() {
            lender.is_bundled = true;
            self.at(self.now + BUNDLE, Event::Bundle(device));
        }
    }

    pub(super) fn bundle(&mut self, device: u32) {
        self.lenders[device as usize].is_bundled = false;
        if self.lenders[device as usize].device.mode == Mode::Gone {
            return;
        }
        self.advance(device);
        self.beat(device);
        self.bundle_later(device);
    }

    /// Reports the progress of every task and ships the checkpoints.
    fn beat(&mut self, device: u32) {
        let lender = &mut self.lenders[device as usize];
        let standing =
            if lender.device.mode == Mode::Working { WorkerState::Running } else { WorkerState::Paused };
        let mut said = Vec::new();
        for run in &mut lender.runs {
            said.push((run.from, ToRequester::Beat { lease: run.lease, standing, units: run.done as u64 }));
            if run.done > run.saved {
                run.saved = run.done;
                said.push((run.from, ToRequester::Saved(run.lease, run.done as u64)));
            }
        }
        for (to, what) in said {
            self.say(device, to, what);
        }
    }

    pub(super) fn finished(&mut self, device: u32, lease: LeaseId, turn: u32) {
        self.advance(device);
        let lender = &mut self.lenders[device as usize];
        let Some(at) = lender.runs.iter().position(|run| run.lease == lease && run.turn == turn) else {
            return;
        };
        if lender.device.mode != Mode::Working || lender.runs[at].done + 1.0 < lender.runs[at].total {
            return;
        }
        let run = lender.runs.swap_remove(at);
        let is_wrong = self.lies(device, &run);
        let hash = match (is_wrong, self.lenders[device as usize].device.liars) {
            (true, Some(group)) => format!("wrong {group}"),
            _ => "right".to_owned(),
        };
        self.given.insert(lease, Given { is_wrong, hash, units: run.total });
        self.say(device, run.from, ToRequester::Result(lease, WorkUnits(run.total as u64)));
        self.hello(device);
    }

    fn lies(&self, device: u32, run: &Run) -> bool {
        let (Some(group), Some(liars)) = (self.lenders[device as usize].device.liars, self.scenario.liars)
        else {
            return false;
        };
        match liars.strategy {
            Strategy::Always => true,
            Strategy::Sleeper => self.lenders[device as usize].receipts >= 10,
            Strategy::Patient => self.told.get(&(run.from, run.task.index)).is_some_and(|have| {
                let members: std::collections::BTreeSet<u32> =
                    have.iter().filter(|(_, of)| *of == group).map(|(device, _)| *device).collect();
                members.len() >= 2
            }),
        }
    }

    pub(super) fn device_heard(&mut self, device: u32, what: ToDevice) {
        if self.lenders[device as usize].device.mode == Mode::Gone {
            return;
        }
        match what {
            ToDevice::Offer { from, task, lease, begin } => {
                let lender = &self.lenders[device as usize];
                let answer = if lender.device.mode != Mode::Working {
                    Answer::Declined(Decline::Resting)
                } else if lender.runs.len() >= lender.device.slots as usize {
                    Answer::Declined(Decline::Full)
                } else {
                    Answer::Accepted
                };
                self.say(device, from, ToRequester::Answer(lease, answer));
                if answer == Answer::Accepted {
                    self.advance(device);
                    if let (Some(group), true) = (
                        self.lenders[device as usize].device.liars,
                        self.scenario.liars.is_some_and(|l| l.strategy == Strategy::Patient),
                    ) {
                        self.told.entry((from, task.index)).or_default().push((device, group));
                    }
                    let total = self.askers[from as usize].units[task.index as usize];
                    let run = Run {
                        from,
                        task,
                        lease,
                        done: begin.min(total),
                        saved: begin.min(total),
                        total,
                        since: self.now,
                        turn: 0,
                    };
                    self.lenders[device as usize].runs.push(run);
                    self.foresee(device);
                    self.bundle_later(device);
                    self.hello(device);
                }
            }
            ToDevice::Release(lease) => {
                self.advance(device);
                let lender = &mut self.lenders[device as usize];
                let before = lender.runs.len();
                lender.runs.retain(|run| run.lease != lease);
                if lender.runs.len() < before {
                    self.hello(device);
                }
            }
            ToDevice::Receipt => self.lenders[device as usize].receipts += 1,
        }
    }
}
