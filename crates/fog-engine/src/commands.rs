//! Commands of front ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use fog_api::{ApiError, Command, EventBody, Reply};
use fog_eligibility::Eligibility;
use fog_store::{PlacedFiles, Reader, Store};
use fog_types::{BlobId, ErrorKind, JobId, TaskId, UnixMillis};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::doctor;
use crate::duty::policy::policy_from;
use crate::duty::sensors::SensorOrder;
use crate::event_loop::{Engine, FINISHING_KEY, SNOOZE_KEY, sensor_config};
use crate::message::EngineMessage;
use crate::query::{self, to_api};
use crate::tasks::checkpoints::checkpoint_path;
use crate::tasks::submit::{self, Prepared, SubmitOptions};
use crate::tasks::{checkpoint_import, results};
use crate::views;

use crate::chat::ping::is_ping;
use crate::tasks::estimates;

impl Engine {
    pub(crate) fn command(&mut self, command: Command, answer: oneshot::Sender<Result<Reply, ApiError>>) {
        let reply = match command {
            Command::SubmitCheckpoint { path } => return self.submit_checkpoint(path.into(), answer),
            Command::Submit { job_file, folder, grid, deadline_seconds } => {
                return self.submit(job_file, folder.into(), SubmitOptions { grid, deadline_seconds }, answer);
            }
            Command::Estimate { job_file, folder, seconds, now } => {
                return self.estimate(job_file, folder.into(), estimates::Ask { seconds, now }, answer);
            }
            Command::Invite { group } => {
                let made = self.invite(group.as_deref());
                if made.is_ok() && self.is_about_to_listen() {
                    // An invitation without an address is useless.
                    let to = self.to_self.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        let _ = to.send(EngineMessage::Call(Box::new(Command::Invite { group }), answer)).await;
                    });
                    return;
                }
                made
            }
            Command::ChatMoveOut { path, passphrase } => return self.chat_move_out(path.into(), passphrase, answer),
            Command::ChatMoveIn { path, passphrase } => return self.chat_move_in(path.into(), passphrase, answer),
            Command::ChatSay { text, .. } if is_ping(&text) => return self.chat_ping(&text, answer),
            Command::PlanJob { id } => return self.plan_job(id, answer),
            Command::Plan { job_file, folder, grid } => return self.plan(&job_file, std::path::Path::new(&folder), grid, answer),
            Command::SubmitExample { name, grid, deadline_seconds } => {
                let found = self.config.examples.as_ref().map(|folder| folder.join(&name)).filter(|_| !name.contains(['/', '\\', '.']));
                match found.and_then(|folder| Some((std::fs::read_to_string(folder.join("job.toml")).ok()?, folder))) {
                    Some((text, folder)) => return self.submit(text, folder, SubmitOptions { grid, deadline_seconds }, answer),
                    None => Err(ApiError {
                        kind: ErrorKind::NotFound,
                        message: format!("there is no example named '{name}'; `fog submit --list-examples` shows them"),
                    }),
                }
            }
            Command::Output { id, index, path } => {
                return self.beside_job(id, answer, move |store| {
                    let bytes = results::output(store, id, index, &path)?.into_bytes()?;
                    let mime = crate::tasks::assemble::mime_of(&bytes).to_owned();
                    Ok(Reply::Bytes { mime, base64: base64::engine::general_purpose::STANDARD.encode(bytes) })
                });
            }
            Command::Log { id, index, stderr } => {
                return self.beside_job(id, answer, move |store| results::log(store, TaskId { job: id, index }, stderr));
            }
            Command::ReadResult { id, part, from, limit } => {
                return self.beside_job(id, answer, move |store| results::piece(store, id, &part, from, limit)?.read());
            }
            Command::Job { id, tasks_from } => {
                let withheld = self.grid.why_waiting(id).map(str::to_owned);
                let live = self.live_of(id);
                let wished = self.job_state(id).ok().filter(|_| self.unstored.holds(id));
                return self.beside(answer, move |store| query::job(store, id, tasks_from, withheld.as_deref(), &live, wished));
            }
            Command::Outputs { id, index, after } => {
                return self.beside(answer, move |store| query::outputs(store, TaskId { job: id, index }, &after));
            }
            Command::Renamed { id, index, from } => {
                return self.beside(answer, move |store| query::renamed(store, TaskId { job: id, index }, from));
            }
            Command::Checkpoint { id } => return self.checkpoint(id, answer),
            Command::ExportHistory { id, index, folder } => return self.export_history(id, index, folder.into(), answer),
            Command::ExportCheckpoint { id, index, path } => return self.export_checkpoint(id, index, path.into(), answer),
            Command::Export { id, folder } => {
                return self.beside_job(id, answer, move |store| results::export(store, id, PathBuf::from(folder))?.write());
            }
            other => self.answer(other),
        };
        // A send fails only when the front end is gone; the command was carried out.
        let _ = answer.send(reply);
    }

    /// Answers from the store and its files on another thread, so that the loop is not blocked.
    fn beside(&self, answer: oneshot::Sender<Result<Reply, ApiError>>, find: impl FnOnce(&Store) -> Result<Reply, ApiError> + Send + 'static) {
        let folder = self.store.folder().to_owned();
        // A send fails only when the front end is gone.
        tokio::task::spawn_blocking(move || drop(answer.send(Reader::open(&folder).map_err(to_api).and_then(|store| find(&store)))));
    }

    /// Answers as [`Engine::beside`] does, about one job.
    fn beside_job(&self, id: JobId, answer: oneshot::Sender<Result<Reply, ApiError>>, find: impl FnOnce(&Store) -> Result<Reply, ApiError> + Send + 'static) {
        self.beside(answer, move |store| results::of_job(store, id, find));
    }

    pub(crate) fn answer(&mut self, command: Command) -> Result<Reply, ApiError> {
        match command {
            Command::Snapshot => self.snapshot().map(|snapshot| Reply::Snapshot(Box::new(snapshot))),
            Command::SetContributing { on } => {
                if on {
                    self.set_snooze(None);
                }
                self.set_contributing(on);
                Ok(self.done())
            }
            Command::Snooze { minutes } => {
                let until = (minutes > 0).then(|| UnixMillis(self.clock.unix().0 + i64::from(minutes) * 60_000));
                self.set_snooze(until);
                Ok(self.done())
            }
            Command::FinishThenStop => {
                let finishing = self.settings.flag("contributing");
                let tasks = self.active.values().map(|active| active.claim.task).map(|task| serde_json::json!([task.job.0, task.index])).collect();
                self.keep_settings(&[(FINISHING_KEY.to_owned(), finishing.then_some(Value::Array(tasks)))]);
                (self.finishing, self.to_finish) = (finishing, Vec::new());
                self.apply_policy();
                Ok(self.done())
            }
            Command::Why { with } => self.why(&with),
            Command::Examples => Ok(Reply::Examples(self.config.examples.as_deref().map(crate::list_examples).unwrap_or_default())),
            Command::Jobs(query) => query::jobs(&self.store, &query).map(|mut jobs| {
                jobs.retain_mut(|job| self.unstored.apply(job));
                Reply::Jobs(jobs)
            }),
            Command::ChangeJob { id, action } => self.change_job(id, action),
            Command::Settings => Ok(Reply::Settings(self.settings.values().clone())),
            Command::SetSettings { changes } => self.set_settings(changes),
            Command::ResetSettings => {
                let all: Vec<_> = fog_api::settings::ALL.iter().filter(|s| s.key != "first_run_done").map(|s| (s.key.to_owned(), None)).collect();
                self.change_settings(&all);
                Ok(self.done())
            }
            Command::History { hours, points } => {
                let now = self.clock.unix();
                let since = UnixMillis(now.0 - i64::from(hours.min(24 * 400)) * 3_600_000);
                let samples = self.store.samples(since, now, points.clamp(1, 2000)).map_err(to_api)?;
                Ok(Reply::History(samples.into_iter().map(views::history_point).collect()))
            }
            Command::Doctor => Ok(Reply::Checks(doctor::checks(doctor::Known {
                readings: self.rules.readings(),
                data_folder: self.store.folder(),
                has_examples: self.config.examples.is_some(),
                rejected: self.filter.rejected(),
                faults: &self.sensor_faults,
                walls: self.walls,
                disk: self.store.disk_use().ok().map(|found| (found, self.settings.storage_cap())),
                key_problem: &self.key_problem,
                clocks: self.clock_view(),
            }))),
            Command::Network => Ok(Reply::Network(Box::new(self.network_view()))),
            Command::JoinNetwork { what } => self.join_network(&what),
            Command::LeaveNetwork { name } => self.leave_network(name.as_deref()),
            Command::Peers => self.peers(),
            Command::Places { id } => self.places(id),
            Command::Credits => self.credits(),
            Command::Metrics => self.metrics(),
            Command::Chat => Ok(Reply::Chat(Box::new(self.chat_view()))),
            Command::ChatThread { with, before, limit, search } => self.chat_thread(&with, before, limit, &search),
            Command::ChatSay { to, text } => self.chat_say(&to, &text),
            Command::ChatGive { to, name, base64 } => self.chat_give(&to, name, &base64),
            Command::ChatFile { row } => self.chat_file(row),
            Command::ChatSave { row, folder } => self.chat_save(row, folder.as_ref()),
            Command::ChatSeen { with } => self.chat_seen(&with),
            Command::ChatAgain { row } => self.chat_again(row),
            Command::ChatPerson { who, change } => self.chat_person(&who, change),
            Command::ChatGroup(change) => self.chat_group(change),
            Command::ChatPost { text, is_urgent, hours } => self.chat_post(&text, is_urgent, hours),
            Command::ChatTakeDown { id } => self.chat_take_down(&id),
            Command::ChatCard => self.chat_card(),
            Command::ChatScan { card } => self.chat_scan(&card),
            Command::ChatExport { with, path } => self.chat_export(&with, path.as_ref()),
            Command::ChatClear { with } => self.chat_clear(&with),
            Command::ChatWipe => self.chat_wipe(),
            Command::Shutdown => {
                self.is_stopping = true;
                Ok(Reply::Done)
            }
            _ => Err(ApiError { kind: ErrorKind::Unsupported, message: "this engine does not know that command".to_owned() }),
        }
    }

    pub(crate) fn submit(&self, text: String, folder: PathBuf, wish: SubmitOptions, answer: oneshot::Sender<Result<Reply, ApiError>>) {
        let (to, holds, place) = (self.to_self.clone(), self.store.holds(), self.copy_place());
        tokio::task::spawn_blocking(move || {
            let prepared =
                submit::prepare(&text, &folder, &place, &|| !answer.is_closed()).and_then(|prepared| prepared.with(wish)?.placed(&place.data_folder, &holds));
            let _ = to.blocking_send(EngineMessage::Prepared(Box::new(prepared), answer));
        });
    }

    fn submit_checkpoint(&self, path: PathBuf, answer: oneshot::Sender<Result<Reply, ApiError>>) {
        let (to, holds, key, place) = (self.to_self.clone(), self.store.holds(), self.key, self.copy_place());
        tokio::task::spawn_blocking(move || {
            let prepared = checkpoint_import::prepare(&path, &place, key).and_then(|prepared| prepared.placed(&place.data_folder, &holds));
            let _ = to.blocking_send(EngineMessage::Prepared(Box::new(prepared), answer));
        });
    }

    /// Places the copied blobs and accepts the job, which from then on survives a crash.
    pub(crate) fn accept(&mut self, prepared: Prepared) -> Result<Reply, ApiError> {
        let (now, cap) = (self.clock.unix(), self.settings.storage_cap());
        let fog_store::Blobs { module, stdin, inputs, items } = &prepared.blobs;
        let needed: Vec<BlobId> = std::iter::once(module).chain(stdin).chain(inputs.values()).chain(items).copied().collect();
        let placed = prepared.placed.map_or_else(|| PlacedFiles::place(self.store.folder(), &self.store.holds(), prepared.copied), Ok);
        placed.and_then(|placed| self.store.add_placed(&placed, &needed, cap, now)).map_err(to_api)?;
        for held in &prepared.held {
            self.store.add_rest(held, &[], now).map_err(to_api)?;
        }
        let owner = prepared.owner.unwrap_or_else(|| crate::tasks::scheduler::OWN_JOB.to_owned());
        let new = fog_store::NewJob { file: prepared.file, blobs: prepared.blobs, owner, grid: prepared.grid, now };
        let id = match prepared.hosted {
            Some(row) => self.store.insert_hosted_job(&new, row),
            None => self.store.insert_job(&new),
        };
        let id = id.map_err(to_api)?;
        if let Some(checkpoint) = prepared.checkpoint
            && let Err(error) = checkpoint.persist(checkpoint_path(self.store.folder(), TaskId { job: id, index: 0 }))
        {
            // The job is valid without the state and begins anew.
            tracing::error!(%error, "the state of a job that moved here is lost");
        }
        if prepared.grid.is_some() {
            self.sync_job(id).map_err(to_api)?;
        }
        let job = views::job_summary(&(&self.store.job(id).map_err(to_api)?).into());
        self.announce(EventBody::Job(job.clone()));
        let _ = self.sensors.try_send(SensorOrder::Now);
        Ok(Reply::Submitted { job })
    }

    pub(crate) fn why(&self, with: &[(String, String)]) -> Result<Reply, ApiError> {
        if with.is_empty() {
            return Ok(Reply::Verdict(views::verdict_view(self.rules.verdict(), &self.clock)));
        }
        let mut readings = self.rules.readings().clone();
        for (key, value) in with {
            readings.set(key, value).map_err(|e| ApiError { kind: ErrorKind::BadInput, message: e.to_string() })?;
        }
        let verdict = Eligibility::dry_run(self.rules.policy().clone(), &readings, self.clock.moment());
        Ok(Reply::Verdict(views::verdict_view(&verdict, &self.clock)))
    }

    pub(crate) fn set_settings(&mut self, changes: BTreeMap<String, Value>) -> Result<Reply, ApiError> {
        let bad = |message: String| ApiError { kind: ErrorKind::BadInput, message };
        let mut checked = Vec::new();
        for (key, value) in changes {
            let setting = fog_api::settings::find(&key).ok_or_else(|| bad(format!("there is no setting '{key}'; `fog settings list` shows them all")))?;
            let value = if value.is_null() { None } else { Some(setting.check(&value).map_err(bad)?) };
            checked.push((key, value));
        }
        let mut after = self.settings.values().clone();
        for (key, value) in &checked {
            match value {
                Some(value) => after.insert(key.clone(), value.clone()),
                None => after.remove(key),
            };
        }
        // A stored conflict from before it was refused must not block other changes.
        let is_changed = |conflict: &fog_api::settings::Conflict| conflict.keys.iter().any(|key| checked.iter().any(|(changed, _)| changed == key));
        if let Some(conflict) = fog_api::settings::conflicts(&after).into_iter().find(|conflict| conflict.is_refused && is_changed(conflict)) {
            return Err(bad(format!("{}. Nothing was changed", conflict.message)));
        }
        self.change_settings(&checked);
        Ok(self.done())
    }

    pub(crate) fn change_settings(&mut self, changes: &[(String, Option<Value>)]) {
        self.keep_settings(changes);
        self.apply_policy();
        let _ = self.sensors.try_send(SensorOrder::Configure(sensor_config(&self.settings, &self.config)));
        if let Err(error) = self.look_at_chat() {
            tracing::error!(%error, "chat does not follow the settings yet");
        }
        self.announce(EventBody::Settings(self.settings.values().clone()));
    }

    /// Turns contributing on or off, and cancels a wish to finish first.
    pub(crate) fn set_contributing(&mut self, on: bool) {
        (self.finishing, self.to_finish) = (false, Vec::new());
        self.change_settings(&[("contributing".to_owned(), Some(on.into())), (FINISHING_KEY.to_owned(), None)]);
    }

    pub(crate) fn set_snooze(&mut self, until: Option<UnixMillis>) {
        self.snoozed_until = until;
        self.keep_settings(&[(SNOOZE_KEY.to_owned(), until.map(|until| until.0.into()))]);
        self.apply_policy();
    }

    pub(crate) fn apply_policy(&mut self) {
        let until = self.snoozed_until.map(|until| self.clock.to_moment(until));
        self.rules.handle_policy(policy_from(self.settings.values(), until, self.finishing), self.clock.moment());
    }
}
