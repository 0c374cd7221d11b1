//! Start of the engine from its data folder.

use std::cell::RefCell;
use std::collections::BTreeMap;

use fog_api::settings::keys;
use fog_api::{Event, Status};
use fog_eligibility::Eligibility;
use fog_grid::Identity;
use fog_store::Store;
use fog_types::{JobId, Percent, TaskId, UnixMillis};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};

use crate::chat::Chat;
use crate::cleanup;
use crate::clock::Clock;
use crate::context::{CLOCK_KEY, Context, Load};
use crate::directory::Directory;
use crate::duty::policy::{Settings, policy_from};
use crate::duty::{Duty, FINISHING_KEY, SNOOZE_KEY, sensor_config, sensors};
use crate::effects::Effects;
use crate::event_loop::Engine;
use crate::exchange::Exchange;
use crate::handle::EngineConfig;
use crate::keychain::checkpoint_key;
use crate::message::EngineMessage;
use crate::network::Network;
use crate::owner_requests::Unstored;
use crate::payments::Payments;
use crate::tasks::{Tasks, run_now};
use crate::traffic::Traffic;

/// Reads the tasks from the value of [`FINISHING_KEY`].
fn tasks_in(value: &Value) -> Vec<TaskId> {
    let task = |pair: &Value| {
        Some(TaskId {
            job: JobId(pair.get(0)?.as_u64()?),
            index: u32::try_from(pair.get(1)?.as_u64()?).ok()?,
        })
    };
    value.as_array().into_iter().flatten().filter_map(task).collect()
}

impl Engine {
    pub(crate) fn new(
        config: EngineConfig,
        mut store: Store,
        clock: Clock,
        to_self: mpsc::Sender<EngineMessage>,
        events: broadcast::Sender<Event>,
    ) -> anyhow::Result<Self> {
        let stored = store.settings()?;
        let saved = stored.get(CLOCK_KEY).and_then(|state| serde_json::from_value(state.clone()).ok());
        let shift = clock.resume(saved.as_ref());
        let now = clock.unix();
        if shift != 0 {
            tracing::warn!(
                millis = shift,
                "the calendar was set since the last run; what waits moves with it"
            );
            store.shift_times(shift)?;
            cleanup::shift_times(store.folder(), shift);
        }
        let recovered = store.recover(now)?;
        let lost = store.sweep_blobs()?;
        if lost > 0 {
            tracing::warn!(
                lost,
                "stored files that the database does not know were moved to the folder 'set-aside'"
            );
        }
        cleanup::sweep_arrivals(store.folder());
        if recovered > 0 {
            tracing::info!(recovered, "tasks of the last run go back to the queue");
        }
        let settings = Settings::new(&stored);
        let snoozed_until = stored
            .get(SNOOZE_KEY)
            .and_then(Value::as_i64)
            .map(|until| UnixMillis(until.saturating_add(shift)));
        let snoozed_until = snoozed_until.filter(|until| *until > now);
        let sensors =
            sensors::start(sensor_config(&settings, &config), config.device.clone(), to_self.clone())?;
        let finishing = stored.contains_key(FINISHING_KEY) && settings.flag(keys::CONTRIBUTING);
        let policy =
            policy_from(settings.values(), snoozed_until.map(|until| clock.to_moment(until)), finishing);
        // Without a key, checkpoints would not be encrypted: none are taken, and the log, the status and
        // `fog doctor` say so.
        let key = checkpoint_key(store.folder(), true)
            .inspect_err(|error| tracing::error!(%error, "no checkpoints: their key cannot be had"));
        let key_problem = key.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let key = key.ok().flatten();
        let secret = key
            .as_ref()
            .map(|key| blake3::derive_key("fog-compute 2026-11 content of this device", key.as_slice()))
            .unwrap_or_default();
        let identity = key.as_ref().map(|key| {
            Identity::new(&blake3::derive_key("fog-compute 2026-11 identity of this device", key.as_slice()))
        });
        let began = clock.now();
        let ctx = Context {
            config,
            store,
            clock,
            to_self,
            out: Effects::default(),
            settings,
            unstored: Unstored::default(),
            rules: Eligibility::new(policy),
            key,
            key_problem,
            identity,
            secret,
            traffic: Traffic::default(),
            directory: Directory::default(),
            net: None,
            #[cfg(test)]
            in_memory: None,
            load: Load::default(),
            finishing,
            work_duty: watch::Sender::new(Percent::ZERO),
            began,
            random: RefCell::new(rand::make_rng()),
            is_stopping: false,
        };
        let to_finish =
            if finishing { stored.get(FINISHING_KEY).map(tasks_in).unwrap_or_default() } else { Vec::new() };
        let mut this = Self {
            ctx,
            duty: Duty::new(sensors, snoozed_until),
            tasks: Tasks::new(to_finish, run_now::stored(&stored), began),
            network: Network::new(),
            exchange: Exchange::new(),
            chat: Chat::default(),
            payments: Payments,
            events,
            last_status: Status::default(),
            last_status_at: None,
            is_status_due: true,
            last_chores: None,
            last_trim: None,
            last_measured: None,
            has_lost: false,
            sandbox: None,
            deadline: None,
            due: Some("the start"),
            overdue: 0,
            no_timeout_before: None,
            turns: BTreeMap::new(),
            last_tick: None,
            was_busy: false,
            gone: watch::Sender::new(None),
        };
        this.network.restore(&mut this.ctx)?;
        this.exchange.restore(&mut this.ctx)?;
        this.payments.restore(&mut this.ctx)?;
        this.ctx.traffic.move_by(shift, now);
        this.chat.clock_was_set(&mut this.ctx, shift);
        if let Some(until) = snoozed_until.filter(|_| shift != 0) {
            this.ctx.store.set_settings(&[(SNOOZE_KEY.to_owned(), Some(until.0.into()))])?;
        }
        this.ctx.remember_clock();
        this.chat.apply_settings(&mut this.ctx)?;
        Ok(this)
    }
}
