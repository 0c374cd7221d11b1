//! Chat: states of the thread that are stored, and the requests that wait for that.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fog_api::{ApiError, Reply};
use fog_store::StoreError;

use crate::chat::errors::ChatError;
use crate::chat::{Change, Chat, ServiceCommand};
use crate::context::Context;
use crate::effects::Answer;

/// Name of the stored state of carried letters.
pub(crate) const LETTERS: &str = "letters";
/// Name of the stored state of bundles; `RATCHET` is that of the keys that seal messages in them.
pub(crate) const BUNDLES: &str = "bundles";
pub(crate) const RATCHET: &str = "ratchet";
/// Name of the stored state of groups; `LEFT` is that of the names of left groups.
pub(crate) const GROUPS: &str = "groups";
pub(crate) const LEFT: &str = "left groups";
/// Name of the stored state of the board; `WORDS` is that of statements about others.
pub(crate) const BOARD: &str = "board";
pub(crate) const WORDS: &str = "vouches";
/// Number of a change for which nobody waits.
pub(crate) const NOBODY_WAITS: u64 = 0;
/// Time between two attempts to store a state.
const STORE_AGAIN: Duration = Duration::from_secs(2);

/// Requests for changes that the thread carries out.
#[derive(Default)]
pub(crate) struct PendingChanges {
    /// Number of the last request.
    last: u64,
    /// Number of the change that the present command ordered.
    ordered: Option<u64>,
    waiting: BTreeMap<u64, (Reply, Answer)>,
    /// Number of the last request that the thread has.
    sent: u64,
}

impl PendingChanges {
    /// Notes that the thread has all requests.
    pub(crate) fn committed(&mut self) {
        self.sent = self.last;
    }

    /// Takes the answers to the requests that the thread does not get.
    pub(crate) fn rolled_back(&mut self) -> Vec<Answer> {
        let unsent = self.waiting.split_off(&(self.sent + 1));
        unsent.into_values().map(|(_, answer)| answer).collect()
    }
}

/// States of the thread whose transaction is open or failed.
#[derive(Default)]
pub(crate) struct UnsavedStates {
    storing: BTreeMap<&'static str, Vec<u8>>,
    unsaved: BTreeMap<&'static str, Vec<u8>>,
    /// Time of the last attempt to store them.
    tried: Option<Instant>,
}

impl UnsavedStates {
    pub(crate) fn committed(&mut self) {
        self.storing.clear();
    }

    /// Keeps the states of a transaction that failed. Returns whether there were any.
    pub(crate) fn rolled_back(&mut self) -> bool {
        let had_any = !self.storing.is_empty();
        self.unsaved.append(&mut self.storing);
        had_any
    }
}

impl Chat {
    /// Orders a change of groups or of the board. The present command is answered once it is stored.
    pub(crate) fn order_change(&mut self, change: Change) -> Result<(), ApiError> {
        let request = self.changes.last + 1;
        self.order(ServiceCommand::Change(request, change))?;
        self.changes.last = request;
        self.changes.ordered = Some(request);
        Ok(())
    }

    /// Answers a command, unless it ordered a change, which is answered once the change is stored.
    pub(crate) fn answer(&mut self, ctx: &mut Context, reply: Result<Reply, ApiError>, answer: Answer) {
        match (self.changes.ordered.take(), reply) {
            (Some(request), Ok(reply)) => drop(self.changes.waiting.insert(request, (reply, answer))),
            (_, reply) => ctx.out.answer(answer, reply),
        }
    }

    /// Answers the command whose change was carried out, or not.
    pub(crate) fn answer_change(&mut self, ctx: &mut Context, request: u64, result: Result<(), ApiError>) {
        if let Some((reply, answer)) = self.changes.waiting.remove(&request) {
            ctx.out.answer(answer, result.map(|()| reply));
        }
    }

    /// Answers the commands whose changes the thread will not report, because it ends.
    pub(crate) fn give_up_changes(&mut self, ctx: &mut Context) {
        for (_, answer) in std::mem::take(&mut self.changes.waiting).into_values() {
            ctx.out.answer(answer, Err(ChatError::SwitchedOff.into()));
        }
    }

    /// Forgets the states that could not be stored, when those of an identity are erased.
    pub(crate) fn states_lost(&mut self) {
        self.states = UnsavedStates::default();
    }

    /// Reads the stored state with this name.
    pub(crate) fn written(&self, ctx: &Context, name: &str) -> Result<Vec<u8>, StoreError> {
        let sealed = ctx.store.chat_state(name)?;
        Ok(self
            .vault
            .as_ref()
            .zip(sealed)
            .and_then(|(vault, sealed)| vault.open(name.as_bytes(), &sealed))
            .unwrap_or_default())
    }

    /// Stores the state under this name, now or later; nothing when there is no vault for it.
    pub(crate) fn store_state(
        &mut self,
        ctx: &mut Context,
        name: &'static str,
        state: Vec<u8>,
    ) -> Result<(), StoreError> {
        let Some(vault) = &self.vault else { return Ok(()) };
        let stored = ctx.store.put_chat_state(name, &vault.seal(name.as_bytes(), &state));
        self.states.unsaved.remove(name);
        if stored.is_err() {
            self.states.unsaved.insert(name, state);
            return stored;
        }
        self.states.storing.insert(name, state);
        if name == RATCHET
            && let Some(driver) = &self.driver
        {
            driver.order(ServiceCommand::RatchetStored(self.ratchet_turn));
        }
        Ok(())
    }

    /// Returns when the states that could not be stored are stored again, and why.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<(Instant, &'static str)> {
        let at = self.states.tried.map_or(now, |at| at + STORE_AGAIN);
        (!self.states.unsaved.is_empty()).then_some((at, "the state of chat is stored again"))
    }

    /// Stores the states that could not be stored before, if the next attempt is due.
    pub(crate) fn handle_timeout(&mut self, ctx: &mut Context) {
        let now = ctx.now();
        if self.poll_timeout(now).is_none_or(|(at, _)| at > now) {
            return;
        }
        self.states.tried = Some(now);
        for (name, state) in std::mem::take(&mut self.states.unsaved) {
            // The loop has said that nothing can be stored, and the next turn tries again.
            let _ = self.store_state(ctx, name, state);
        }
    }

    pub(crate) fn store_groups(&mut self, ctx: &mut Context, state: Vec<u8>) -> Result<(), StoreError> {
        let now = fog_bitchat::groups_in(&state);
        let stored = self.store_state(ctx, GROUPS, state);
        if self.groups_left(&now) {
            let names = serde_json::to_vec(&self.left).unwrap_or_default();
            self.store_state(ctx, LEFT, names)?;
        }
        if self.groups != now {
            self.groups = now;
            self.announce_chat();
        }
        stored
    }

    pub(crate) fn store_board(&mut self, ctx: &mut Context, state: Vec<u8>) -> Result<(), StoreError> {
        let now = fog_bitchat::notes_in(&state);
        let stored = self.store_state(ctx, BOARD, state);
        if self.board != now {
            self.board = now;
            self.announce_chat();
        }
        stored
    }
}
