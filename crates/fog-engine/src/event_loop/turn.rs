//! Turns of the event loop: one input, one transaction, then its effects.

use fog_api::{ApiError, Reply};
use fog_store::{Changes, StoreError};
use fog_types::NodeId;

use crate::effects::Effect;
use crate::event_loop::Engine;
use crate::exchange::Exchange;

impl Engine {
    /// Handles one input: all that follows from it is stored in one transaction, and happens then.
    pub(crate) fn turn(&mut self, work: impl FnOnce(&mut Self)) {
        if let Err(error) = self.ctx.store.begin() {
            tracing::error!(%error, "each change is stored by itself");
        }
        work(self);
        self.settle();
        match self.ctx.store.commit() {
            Ok(changes) => {
                if changes == Changes::Durable {
                    self.set_due("rows changed");
                }
                self.ctx.out.committed();
                self.ctx.unstored.committed();
                self.chat.committed();
                self.drain();
                if changes != Changes::None && std::mem::take(&mut self.has_lost) {
                    self.catch_up();
                }
            }
            Err(error) => self.roll_back(&error),
        }
    }

    /// Drops what an input would have had for effects, as its changes could not be stored.
    fn roll_back(&mut self, error: &StoreError) {
        // On a full disk this may be so for days.
        if !std::mem::replace(&mut self.has_lost, true) {
            tracing::error!(%error, "what comes in cannot be stored; nothing follows from it");
        }
        let (answers, made) = self.ctx.out.rolled_back();
        for path in made {
            // It may not have been made.
            let _ = std::fs::remove_file(path);
        }
        let (is_kept, unsent) = self.chat.rolled_back();
        for to in unsent {
            let _ = to.send(Err(ApiError::of(error)));
        }
        let is_other_identity = self.chat.is_unlike_rows();
        // Requests of the owner are in effect all the same, but for another identity.
        let is_wish = self.ctx.rolled_back(error) && !is_other_identity;
        for (to, reply) in answers {
            let reply = match *reply {
                // A network that was left is left.
                Ok(reply @ Reply::Network(_)) if is_wish => Ok(reply),
                Ok(Reply::Done | Reply::NotStored { .. }) if is_wish => Ok(self.ctx.done()),
                // So is what the chat thread did.
                Ok(_) if is_kept && !is_other_identity => Err(self.ctx.not_stored_yet(error)),
                Ok(_) => Err(ApiError::of(error)),
                Err(error) => Err(error),
            };
            // The front end may be gone.
            let _ = to.send(reply);
        }
        if is_other_identity {
            self.turn(|this| this.chat.reload(&mut this.ctx));
        }
        if self.network.is_unlike_rows(&self.ctx) {
            self.turn(|this| this.network.reload(&mut this.ctx));
        }
    }

    /// Compares tasks and exchange with the rows once those can be changed again: what was done meanwhile and
    /// not stored is done anew.
    fn catch_up(&mut self) {
        tracing::info!("changes are stored again; work goes on from what was stored");
        self.turn(|this| {
            let restored = this.tasks.catch_up(&mut this.ctx).and_then(|()| {
                this.exchange = Exchange::new();
                this.exchange.restore(&mut this.ctx)
            });
            // The new exchange has heard of nobody.
            let here: Vec<NodeId> = this.ctx.directory.peers.keys().copied().collect();
            for node in here {
                this.exchange.peer_up(&mut this.ctx, node);
                this.exchange.greet(&mut this.ctx, node);
            }
            if let Err(error) = restored {
                tracing::error!(%error, "what was stored cannot be read");
            }
        });
    }

    /// Carries out the effects of the handlers that have run.
    pub(crate) fn drain(&mut self) {
        while self.carry_out_next() {}
    }

    /// Carries out the next effect. Returns whether there was one.
    pub(crate) fn carry_out_next(&mut self) -> bool {
        let Some(effect) = self.ctx.out.pop() else { return false };
        match effect {
            // A send fails only without listeners; the next listener asks for a snapshot.
            Effect::Publish(event) => drop(self.events.send(event)),
            // The front end may be gone.
            Effect::Answer(to, reply) => drop(to.send(*reply)),
            Effect::Send(node, message) => {
                if let Some(net) = &self.ctx.net {
                    net.say(node, *message);
                }
            }
            // The thread may have ended.
            Effect::Signal(to) => drop(to.send(())),
            Effect::Noted(to) => drop(to.send(Ok(()))),
            // It counts until the next measurement.
            Effect::Delete(path) => fog_runtime::Checkpoint::remove(&path),
        }
        true
    }
}
