//! Rules of the owner: switches, use of the device, and the week.

use fog_types::Percent;

use super::{Eligibility, flag, limit_to, range, stop};
use crate::gate::Standing;
use crate::policy::{OFF_CELL, Profile, Unknown};
use crate::reading::Moment;
use crate::rules::Rule;
use crate::verdict::{Reason, Resume, Value};

impl Eligibility {
    pub(super) fn by_hand(&mut self, now: Moment, out: &mut Vec<Reason>) {
        if !self.policy.contributing {
            out.push(stop(Rule::Off, Value::Nothing, Value::Nothing, Resume::UserActs));
        }
        if let Some(until) = self.policy.snoozed_until.filter(|until| *until > now) {
            out.push(stop(Rule::Snoozed, Value::Nothing, Value::Nothing, Resume::At(until)));
        }
    }

    /// Returns whether somebody is using the device.
    pub(super) fn people(&mut self, now: Moment, out: &mut Vec<Reason>) -> bool {
        let (idle, after) = (self.last.idle, self.policy.idle_after_seconds);
        let standing = range(idle, self.policy.unknown_idle, |i| i < after, |i| i >= after);
        let hold = Rule::InUse.hold_closed(self.policy.hold).min((after * 1000.0) as u64);
        let allowed = self.policy.run_while_in_use;
        let gate = self.gates.entry(Rule::InUse).or_default();
        // Without any idle reading so far nobody has been seen, so no hold begins.
        let free = if idle.is_none() && gate.is_new() {
            standing != Standing::Stop
        } else {
            gate.update(standing, now, hold, Rule::InUse.hold_open(self.policy.hold))
        };
        let held_until = gate.held_until(hold);
        if !free && !allowed {
            // Estimate of the end, assuming that no further input comes.
            let left = idle.map_or(after, |idle| (after - idle).max(0.0));
            let quiet_at = now.plus((left * 1000.0) as u64);
            let resumes = if idle.is_some() {
                Resume::At(held_until.map_or(quiet_at, |held| held.max(quiet_at)))
            } else {
                Resume::UserActs
            };
            out.push(Reason {
                held_until,
                ..stop(
                    Rule::InUse,
                    idle.map_or(Value::Unknown, Value::Seconds),
                    Value::Seconds(after),
                    resumes,
                )
            });
        }
        if self.policy.respect_media {
            let (inhibited, fullscreen) = (self.last.inhibited, self.last.fullscreen);
            for (rule, reading) in [(Rule::Inhibited, inhibited), (Rule::Fullscreen, fullscreen)] {
                self.gate(
                    rule,
                    flag(reading, Unknown::Allow),
                    now,
                    out,
                    Value::Flag(true),
                    Value::Flag(false),
                    Resume::ConditionEnds,
                );
            }
        }
        let running = self.last.exclusive.as_ref();
        if !self.policy.has_exclusive_programs && running.is_none_or(Vec::is_empty) {
            // The owner has taken the rule away, and it does not hold on.
            self.gates.remove(&Rule::Exclusive);
            return !free;
        }
        let standing = flag(running.map(|list| !list.is_empty()), Unknown::Allow);
        // While the rule holds on, it names the programs that ran.
        if let Some(list) = running.filter(|list| !list.is_empty()) {
            self.exclusive = list.join(", ");
        }
        let names = Value::Text(self.exclusive.clone());
        self.gate(Rule::Exclusive, standing, now, out, names, Value::Nothing, Resume::ConditionEnds);
        !free
    }

    /// Returns the name of the profile in force.
    pub(super) fn schedule(&mut self, now: Moment, in_use: bool, out: &mut Vec<Reason>) -> Option<String> {
        let minute = self.last.minute_of_week;
        let hour = minute.map_or(0, |m| usize::from(m) / 60 % self.policy.week.len());
        let cell = self.policy.week[hour];
        let switch =
            minute.and_then(|minute| self.policy.minutes_until_switch(minute, self.last.zone_change));
        let next_change = switch.map(|minutes| now.plus(u64::from(minutes) * 60_000));
        let resumes = next_change.map_or(Resume::UserActs, Resume::At);
        let off = minute.map(|_| cell == OFF_CELL);
        self.gate(
            Rule::Schedule,
            flag(off, Unknown::Allow),
            now,
            out,
            Value::Nothing,
            Value::Nothing,
            resumes.clone(),
        );
        if cell == OFF_CELL {
            return None;
        }
        let profile: Profile =
            self.policy.profiles.get(usize::from(cell)).or(self.policy.profiles.first())?.clone();
        let cap =
            if in_use && self.policy.run_while_in_use { profile.duty_in_use } else { profile.duty_idle };
        if cap < Percent::FULL {
            out.push(limit_to(
                Rule::Schedule,
                cap.get(),
                Value::Text(profile.name.clone()),
                Value::Percent(f32::from(cap.get())),
                Resume::UserActs,
            ));
        }
        if let Some(max) = profile.fan_rpm_max {
            let rpm = self.last.fan_rpm;
            let standing = range(rpm, Unknown::Allow, |r| r > max, |r| r <= max / 10 * 9);
            self.gate(
                Rule::Fan,
                standing,
                now,
                out,
                rpm.map_or(Value::Unknown, Value::Rpm),
                Value::Rpm(max),
                Resume::Below(Value::Rpm(max / 10 * 9)),
            );
        }
        Some(profile.name)
    }
}
