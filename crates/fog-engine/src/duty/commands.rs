//! Commands about when this device works, and about settings.

use std::collections::BTreeMap;

use fog_api::{ApiError, DutyCommand, EventBody, Reply, SettingsCommand, settings};
use fog_eligibility::Eligibility;
use fog_types::{ErrorKind, UnixMillis};
use serde_json::Value;

use crate::duty::policy::policy_from;
use crate::duty::sensors::SensorOrder;
use crate::event_loop::{Engine, FINISHING_KEY, SNOOZE_KEY, sensor_config};
use crate::views;

impl Engine {
    pub(crate) fn duty_command(&mut self, command: DutyCommand) -> Result<Reply, ApiError> {
        match command {
            DutyCommand::SetContributing { on } => {
                if on {
                    self.set_snooze(None);
                }
                self.set_contributing(on);
            }
            DutyCommand::Snooze { minutes } => {
                let until = (minutes > 0).then(|| UnixMillis(self.ctx.clock.unix().0 + i64::from(minutes) * 60_000));
                self.set_snooze(until);
            }
            DutyCommand::FinishThenStop => {
                let finishing = self.ctx.settings.flag("contributing");
                let tasks = self.active.values().map(|active| active.claim.task).map(|task| serde_json::json!([task.job.0, task.index])).collect();
                self.ctx.keep_settings(&[(FINISHING_KEY.to_owned(), finishing.then_some(Value::Array(tasks)))]);
                (self.finishing, self.to_finish) = (finishing, Vec::new());
                self.apply_policy();
            }
            DutyCommand::Why { with } => return self.why(&with),
        }
        Ok(self.ctx.done())
    }

    pub(crate) fn settings_command(&mut self, command: SettingsCommand) -> Result<Reply, ApiError> {
        match command {
            SettingsCommand::Get => Ok(Reply::Settings(self.ctx.settings.values().clone())),
            SettingsCommand::Set { changes } => self.set_settings(changes),
            SettingsCommand::Reset => {
                let all: Vec<_> = settings::ALL.iter().filter(|s| s.key != "first_run_done").map(|s| (s.key.to_owned(), None)).collect();
                self.change_settings(&all);
                Ok(self.ctx.done())
            }
        }
    }

    pub(crate) fn why(&self, with: &[(String, String)]) -> Result<Reply, ApiError> {
        if with.is_empty() {
            return Ok(Reply::Verdict(views::verdict_view(self.ctx.rules.verdict(), &self.ctx.clock)));
        }
        let mut readings = self.ctx.rules.readings().clone();
        for (key, value) in with {
            readings.set(key, value).map_err(|e| ApiError { kind: ErrorKind::BadInput, message: e.to_string() })?;
        }
        let verdict = Eligibility::dry_run(self.ctx.rules.policy().clone(), &readings, self.ctx.clock.moment());
        Ok(Reply::Verdict(views::verdict_view(&verdict, &self.ctx.clock)))
    }

    pub(crate) fn set_settings(&mut self, changes: BTreeMap<String, Value>) -> Result<Reply, ApiError> {
        let bad = |message: String| ApiError { kind: ErrorKind::BadInput, message };
        let mut checked = Vec::new();
        for (key, value) in changes {
            let setting = settings::find(&key).ok_or_else(|| bad(format!("there is no setting '{key}'; `fog settings list` shows them all")))?;
            let value = if value.is_null() { None } else { Some(setting.check(&value).map_err(bad)?) };
            checked.push((key, value));
        }
        let mut after = self.ctx.settings.values().clone();
        for (key, value) in &checked {
            match value {
                Some(value) => after.insert(key.clone(), value.clone()),
                None => after.remove(key),
            };
        }
        // A stored conflict from before it was refused must not block other changes.
        let is_changed = |conflict: &settings::Conflict| conflict.keys.iter().any(|key| checked.iter().any(|(changed, _)| changed == key));
        if let Some(conflict) = settings::conflicts(&after).into_iter().find(|conflict| conflict.is_refused && is_changed(conflict)) {
            return Err(bad(format!("{}. Nothing was changed", conflict.message)));
        }
        self.change_settings(&checked);
        Ok(self.ctx.done())
    }

    pub(crate) fn change_settings(&mut self, changes: &[(String, Option<Value>)]) {
        self.ctx.keep_settings(changes);
        self.apply_policy();
        let _ = self.sensors.try_send(SensorOrder::Configure(sensor_config(&self.ctx.settings, &self.ctx.config)));
        if let Err(error) = self.chat.look_at_chat(&mut self.ctx) {
            tracing::error!(%error, "chat does not follow the settings yet");
        }
        self.ctx.announce(EventBody::Settings(self.ctx.settings.values().clone()));
    }

    /// Turns contributing on or off, and cancels a wish to finish first.
    pub(crate) fn set_contributing(&mut self, on: bool) {
        (self.finishing, self.to_finish) = (false, Vec::new());
        self.change_settings(&[("contributing".to_owned(), Some(on.into())), (FINISHING_KEY.to_owned(), None)]);
    }

    pub(crate) fn set_snooze(&mut self, until: Option<UnixMillis>) {
        self.snoozed_until = until;
        self.ctx.keep_settings(&[(SNOOZE_KEY.to_owned(), until.map(|until| until.0.into()))]);
        self.apply_policy();
    }

    pub(crate) fn apply_policy(&mut self) {
        let until = self.snoozed_until.map(|until| self.ctx.clock.to_moment(until));
        self.ctx.rules.handle_policy(policy_from(self.ctx.settings.values(), until, self.finishing), self.ctx.clock.moment());
    }
}
