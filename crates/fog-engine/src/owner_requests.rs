//! Wishes of the owner take effect at once even if they cannot be stored: the program must not act against
//! its owner because a disk is full. Unstored wishes are stored as soon as that works.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fog_api::{ApiError, JobSummary, Reply};
use fog_store::{Claim, StoreError};
use fog_types::{ErrorKind, HasKind, JobId, JobState, UnixMillis};
use serde_json::Value;

use crate::context::Context;
use crate::effects::Input;
use crate::errors::EngineError;

/// Interval of attempts to store pending wishes.
const STORE_AGAIN: Duration = Duration::from_secs(2);

/// Wishes and changes that are not in the database yet.
#[derive(Debug, Default)]
pub(crate) struct Unstored {
    settings: BTreeMap<String, Option<Value>>,
    jobs: BTreeMap<JobId, JobWish>,
    /// Networks that were left.
    networks: BTreeSet<String>,
    /// Tasks without a worker that the database still has as running, with the reason and whether they had
    /// saved progress.
    released: Vec<(Claim, String, bool)>,
    /// Wishes that the open transaction stores.
    storing: Wishes,
    /// Error of the database at the last attempt.
    why: String,
    tried: Option<Instant>,
}

/// Wishes that an open transaction stores.
#[derive(Debug, Default)]
struct Wishes {
    settings: BTreeMap<String, Option<Value>>,
    jobs: BTreeMap<JobId, JobWish>,
    networks: BTreeSet<String>,
    released: Vec<(Claim, String, bool)>,
}

/// Wish of the owner for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JobWish {
    State(JobState),
    Removed,
}

impl Unstored {
    /// Notes that the open transaction was stored.
    pub(crate) fn committed(&mut self) {
        self.storing = Wishes::default();
    }

    fn has_wishes(&self) -> bool {
        !(self.settings.is_empty() && self.jobs.is_empty() && self.networks.is_empty())
    }

    fn is_empty(&self) -> bool {
        !self.has_wishes() && self.released.is_empty()
    }

    /// Reason why wishes are not stored; empty when all are.
    pub(crate) fn problem(&self) -> String {
        if self.has_wishes() { self.why.clone() } else { String::new() }
    }

    /// Returns when the requests are stored again, and why; `None` when all are stored.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<(Instant, &'static str)> {
        (!self.is_empty()).then(|| {
            (self.tried.map_or(now, |at| at + STORE_AGAIN), "requests of the owner are stored again")
        })
    }

    /// Whether no task of a job may run.
    pub(crate) fn holds(&self, job: JobId) -> bool {
        self.jobs
            .get(&job)
            .is_some_and(|wish| !matches!(wish, JobWish::State(JobState::Queued | JobState::Running)))
    }

    /// Whether any job has a state that the database does not have.
    pub(crate) fn holds_any(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Whether a network was left that the database still has.
    pub(crate) fn has_left(&self, network: &str) -> bool {
        self.networks.contains(network)
    }

    /// Drops the wish to leave a network, because it is joined again.
    pub(crate) fn joins(&mut self, network: &str) {
        self.networks.remove(network);
    }

    /// State of a job as its owner wants it; `None` when the database has that state.
    pub(crate) fn state(&self, job: JobId) -> Option<Result<JobState, StoreError>> {
        self.jobs.get(&job).map(|wish| match wish {
            JobWish::State(state) => Ok(*state),
            JobWish::Removed => Err(StoreError::NoJob(job)),
        })
    }

    /// Applies the owner's wish to a summary. Returns false for a job that is to be removed.
    pub(crate) fn apply(&self, job: &mut JobSummary) -> bool {
        match self.jobs.get(&job.id) {
            Some(JobWish::State(state)) => job.state = *state,
            Some(JobWish::Removed) => return false,
            None => {}
        }
        true
    }
}

impl Context {
    /// Answer to a wish that is in effect.
    pub(crate) fn done(&self) -> Reply {
        let why = self.unstored.problem();
        if why.is_empty() {
            return Reply::Done;
        }
        Reply::NotStored { message: self.held(why) }
    }

    fn held(&self, why: impl std::fmt::Display) -> String {
        let folder = self.store.folder().display();
        format!(
            "done, and it holds while the engine runs, but it could not be stored in {folder} yet ({why}). It is stored as soon as that works; a restart before \
             that would forget it"
        )
    }

    /// Returns the error for a change of the chat thread that is in effect and could not be stored yet.
    pub(crate) fn not_stored_yet(&self, error: &StoreError) -> ApiError {
        EngineError::NotStoredYet { folder: self.store.folder().to_owned(), why: error.to_string() }.into()
    }

    pub(crate) fn not_stored(&mut self, error: &StoreError) {
        let why = error.to_string();
        if self.unstored.why != why {
            tracing::warn!(%error, "what was asked for holds, but cannot be stored yet");
        }
        self.unstored.why = why;
        self.unstored.tried = Some(self.now());
    }

    /// Changes settings and related stored values at once, and stores them now or later.
    pub(crate) fn keep_settings(&mut self, changes: &[(String, Option<Value>)]) {
        self.unstored.settings.extend(changes.iter().cloned());
        self.settings = self.settings.changed(changes);
        self.store_settings();
    }

    /// Gives up a change of a setting that is not stored: the stored value counts again.
    pub(crate) fn withdraw_setting(&mut self, key: &str) {
        self.unstored.settings.remove(key);
        let stored = self.store.settings().map(|all| all.get(key).cloned());
        match stored {
            Ok(value) => self.settings = self.settings.changed(&[(key.to_owned(), value)]),
            Err(error) => tracing::error!(%error, key, "a setting cannot be read"),
        }
    }

    fn store_settings(&mut self) -> bool {
        let all: Vec<_> =
            self.unstored.settings.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        match self.store.set_settings(&all) {
            Ok(()) => self.unstored.storing.settings.append(&mut self.unstored.settings),
            Err(error) => self.not_stored(&error),
        }
        self.unstored.settings.is_empty()
    }

    /// Changes the state of a job, in the database now or later. Returns whether the state was different.
    pub(crate) fn wish_job(&mut self, id: JobId, to: JobState) -> Result<bool, StoreError> {
        match self.store.set_job_state(id, to, "", self.clock.unix()) {
            Ok(is_changed) => {
                self.unstored.storing.jobs.insert(id, JobWish::State(to));
                Ok(self.unstored.jobs.remove(&id).is_some() || is_changed)
            }
            Err(error) if error.kind() == ErrorKind::Storage => {
                self.unstored.jobs.insert(id, JobWish::State(to));
                self.not_stored(&error);
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn remove_job(&mut self, id: JobId) -> Result<(), StoreError> {
        let removed = match self.unstored.jobs.get(&id) {
            // The job has not ended in the database.
            Some(_) => {
                self.unstored.jobs.insert(id, JobWish::Removed);
                return Ok(());
            }
            None => self.store.remove_jobs(UnixMillis(i64::MAX), Some(id)),
        };
        match removed {
            Err(error) if error.kind() == ErrorKind::Storage => {
                self.unstored.jobs.insert(id, JobWish::Removed);
                self.not_stored(&error);
                Ok(())
            }
            other => {
                self.unstored.storing.jobs.insert(id, JobWish::Removed);
                other.map(drop)
            }
        }
    }

    /// Puts the task of an ended worker back into the queue, now or later.
    pub(crate) fn put_back(&mut self, claim: Claim, why: &str, has_advanced: bool) {
        if let Err(error) = self.store.release_task(claim, why, has_advanced, self.clock.unix()) {
            tracing::error!(%error, task = %claim.task, "a task could not be put back yet");
            self.unstored.released.push((claim, why.to_owned(), has_advanced));
            let now = self.now();
            self.unstored.tried.get_or_insert(now);
        } else {
            self.unstored.storing.released.push((claim, why.to_owned(), has_advanced));
        }
    }

    /// Notes networks that were left but could not be removed from the database.
    pub(crate) fn leave_later(&mut self, names: Vec<String>, error: &StoreError) {
        self.unstored.networks.extend(names);
        self.not_stored(error);
    }

    /// Stores pending wishes if the next attempt is due.
    pub(crate) fn store_wishes(&mut self) {
        let now = self.now();
        if self.unstored.poll_timeout(now).is_none_or(|(at, _)| at > now) {
            return;
        }
        self.unstored.tried = Some(self.now());
        let had_wishes = self.unstored.has_wishes();
        if let Err(error) = self.try_to_store() {
            return self.not_stored(&error);
        }
        let storing = std::mem::take(&mut self.unstored.storing);
        self.unstored = Unstored { storing, ..Unstored::default() };
        if had_wishes {
            tracing::info!("what was asked for is stored now");
        }
    }

    /// Makes a last attempt to store pending wishes.
    pub(crate) fn store_wishes_now(&mut self) {
        self.unstored.tried = None;
        self.store_wishes();
        if self.unstored.has_wishes() {
            tracing::error!(
                why = self.unstored.why,
                "what was asked for last could not be stored; the next start does not know it"
            );
        }
    }

    fn try_to_store(&mut self) -> Result<(), StoreError> {
        let now = self.clock.unix();
        let all: Vec<_> =
            self.unstored.settings.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        self.store.set_settings(&all)?;
        self.unstored.storing.settings.append(&mut self.unstored.settings);
        for name in self.unstored.networks.clone() {
            self.store.remove_network(Some(&name))?;
            self.unstored.networks.remove(&name);
            self.unstored.storing.networks.insert(name);
        }
        while let Some((claim, why, has_advanced)) = self.unstored.released.first().cloned() {
            self.store.release_task(claim, &why, has_advanced, now)?;
            self.unstored.storing.released.push(self.unstored.released.remove(0));
        }
        for (id, wish) in self.unstored.jobs.clone() {
            let stored = match wish {
                JobWish::State(to) => self.store.set_job_state(id, to, "", now).map(drop),
                JobWish::Removed => self
                    .store
                    .set_job_state(id, JobState::Cancelled, "", now)
                    .and_then(|_| self.store.remove_jobs(UnixMillis(i64::MAX), Some(id)).map(drop)),
            };
            match stored {
                Ok(()) | Err(StoreError::NoJob(_)) => {
                    self.unstored.jobs.remove(&id);
                    self.unstored.storing.jobs.insert(id, wish);
                }
                Err(error) => return Err(error),
            }
            self.out.input(Input::JobChanged(id));
        }
        Ok(())
    }

    /// Notes that the open transaction could not be stored. Returns whether it had wishes of the owner; they
    /// are in effect, and are stored later.
    pub(crate) fn rolled_back(&mut self, error: &StoreError) -> bool {
        let Wishes { settings, jobs, networks, released } = std::mem::take(&mut self.unstored.storing);
        let is_wish = !(settings.is_empty() && jobs.is_empty() && networks.is_empty());
        let unstored = &mut self.unstored;
        // What was asked for later counts.
        for (key, value) in settings {
            unstored.settings.entry(key).or_insert(value);
        }
        for (id, wish) in jobs {
            unstored.jobs.entry(id).or_insert(wish);
        }
        unstored.networks.extend(networks);
        unstored.released.extend(released);
        if !unstored.is_empty() {
            self.not_stored(error);
        }
        is_wish
    }

    /// Notes that a network was left, which the open transaction stores.
    pub(crate) fn note_left(&mut self, names: Vec<String>) {
        self.unstored.storing.networks.extend(names);
    }
}
