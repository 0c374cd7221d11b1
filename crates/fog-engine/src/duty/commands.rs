//! Commands about when this device works, and about settings.

use std::collections::BTreeMap;

use fog_api::settings::keys;
use fog_api::{ApiError, DutyCommand, EventBody, Reply, SettingsCommand, settings};
use fog_eligibility::Eligibility;
use fog_types::{ErrorKind, UnixMillis};
use serde_json::Value;

use crate::context::Context;
use crate::duty::errors::DutyError;
use crate::duty::policy::policy_from;
use crate::duty::sensors::SensorOrder;
use crate::duty::{Duty, FINISHING_KEY, SNOOZE_KEY, sensor_config};
use crate::effects::Input;
use crate::views;

impl Duty {
    pub(crate) fn command(&mut self, ctx: &mut Context, command: DutyCommand) -> Result<Reply, ApiError> {
        match command {
            DutyCommand::SetContributing { on } => {
                if on {
                    self.set_snooze(ctx, None);
                }
                self.set_contributing(ctx, on);
            }
            DutyCommand::Snooze { minutes } => {
                let until =
                    (minutes > 0).then(|| UnixMillis(ctx.clock.unix().0 + i64::from(minutes) * 60_000));
                self.set_snooze(ctx, until);
            }
            DutyCommand::FinishThenStop => {
                let finishing = ctx.settings.flag(keys::CONTRIBUTING);
                let tasks =
                    ctx.load.running.iter().map(|task| serde_json::json!([task.job.0, task.index])).collect();
                ctx.keep_settings(&[(FINISHING_KEY.to_owned(), finishing.then_some(Value::Array(tasks)))]);
                ctx.finishing = finishing;
                ctx.out.input(Input::FinishingChanged);
                self.apply_policy(ctx);
            }
            DutyCommand::Why { with } => return self.why(ctx, &with),
        }
        Ok(ctx.done())
    }

    pub(crate) fn settings_command(
        &mut self,
        ctx: &mut Context,
        command: SettingsCommand,
    ) -> Result<Reply, ApiError> {
        match command {
            SettingsCommand::Get => Ok(Reply::Settings(ctx.settings.values().clone())),
            SettingsCommand::Set { changes } => self.set_settings(ctx, changes),
            SettingsCommand::Reset => {
                let all: Vec<_> = settings::ALL
                    .iter()
                    .filter(|s| s.key != keys::FIRST_RUN_DONE.key())
                    .map(|s| (s.key.to_owned(), None))
                    .collect();
                self.change_settings(ctx, &all);
                Ok(ctx.done())
            }
        }
    }

    pub(crate) fn why(&self, ctx: &Context, with: &[(String, String)]) -> Result<Reply, ApiError> {
        if with.is_empty() {
            return Ok(Reply::Verdict(views::verdict_view(ctx.rules.verdict(), &ctx.clock)));
        }
        let mut readings = ctx.rules.readings().clone();
        for (key, value) in with {
            readings.set(key, value).map_err(|e| ApiError::new(ErrorKind::BadInput, e))?;
        }
        let verdict = Eligibility::dry_run(ctx.rules.policy().clone(), &readings, ctx.clock.moment());
        Ok(Reply::Verdict(views::verdict_view(&verdict, &ctx.clock)))
    }

    pub(crate) fn set_settings(
        &mut self,
        ctx: &mut Context,
        changes: BTreeMap<String, Value>,
    ) -> Result<Reply, ApiError> {
        let mut checked = Vec::new();
        for (key, value) in changes {
            let setting =
                settings::find(&key).ok_or_else(|| DutyError::UnknownSetting { key: key.clone() })?;
            let value = if value.is_null() {
                None
            } else {
                Some(setting.check(&value).map_err(|why| ApiError::new(ErrorKind::BadInput, why))?)
            };
            checked.push((key, value));
        }
        let mut after = ctx.settings.values().clone();
        for (key, value) in &checked {
            match value {
                Some(value) => after.insert(key.clone(), value.clone()),
                None => after.remove(key),
            };
        }
        // A stored conflict from before it was refused must not block other changes.
        let is_changed = |conflict: &settings::Conflict| {
            conflict.keys.iter().any(|key| checked.iter().any(|(changed, _)| changed == key))
        };
        if let Some(conflict) = settings::conflicts(&after)
            .into_iter()
            .find(|conflict| conflict.is_refused && is_changed(conflict))
        {
            return Err(DutyError::ConflictingSettings { why: conflict.message }.into());
        }
        self.change_settings(ctx, &checked);
        Ok(ctx.done())
    }

    pub(crate) fn change_settings(&mut self, ctx: &mut Context, changes: &[(String, Option<Value>)]) {
        ctx.keep_settings(changes);
        self.apply_policy(ctx);
        let _ = self.sensors.try_send(SensorOrder::Configure(sensor_config(&ctx.settings, &ctx.config)));
        ctx.out.input(Input::SettingsChanged);
        ctx.announce(EventBody::Settings(ctx.settings.values().clone()));
    }

    /// Turns contributing on or off, and cancels a wish to finish first.
    pub(crate) fn set_contributing(&mut self, ctx: &mut Context, on: bool) {
        ctx.finishing = false;
        ctx.out.input(Input::FinishingChanged);
        self.change_settings(
            ctx,
            &[(keys::CONTRIBUTING.key().to_owned(), Some(on.into())), (FINISHING_KEY.to_owned(), None)],
        );
    }

    pub(crate) fn set_snooze(&mut self, ctx: &mut Context, until: Option<UnixMillis>) {
        self.snoozed_until = until;
        ctx.keep_settings(&[(SNOOZE_KEY.to_owned(), until.map(|until| until.0.into()))]);
        self.apply_policy(ctx);
    }

    pub(crate) fn apply_policy(&mut self, ctx: &mut Context) {
        let until = self.snoozed_until.map(|until| ctx.clock.to_moment(until));
        ctx.rules.handle_policy(policy_from(ctx.settings.values(), until, ctx.finishing), ctx.clock.moment());
    }
}
