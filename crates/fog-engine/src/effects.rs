//! Effects of handlers: what they want to happen outside the engine, once their changes are stored.

use std::collections::VecDeque;

use fog_api::{ApiError, Event, EventBody, Reply};
use fog_grid::Message;
use fog_types::NodeId;
use tokio::sync::oneshot;

/// Sender of the answer to a command.
pub(crate) type Answer = oneshot::Sender<Result<Reply, ApiError>>;

/// One effect of a handler.
pub(crate) enum Effect {
    /// An event for all front ends.
    Publish(Event),
    /// The answer to a command.
    Answer(Answer, Box<Result<Reply, ApiError>>),
    /// A message to another node.
    Send(NodeId, Box<Message>),
    /// A signal to a thread that waits until its message was handled.
    Signal(oneshot::Sender<()>),
}

/// Effects in the order in which they were requested.
#[derive(Default)]
pub(crate) struct Effects {
    queue: VecDeque<Effect>,
    /// Number of the last event.
    revision: u64,
}

impl Effects {
    /// Requests an event for all front ends.
    pub(crate) fn publish(&mut self, body: EventBody) {
        self.revision += 1;
        self.queue.push_back(Effect::Publish(Event { revision: self.revision, body }));
    }

    /// Requests that a command is answered.
    pub(crate) fn answer(&mut self, to: Answer, reply: Result<Reply, ApiError>) {
        self.queue.push_back(Effect::Answer(to, Box::new(reply)));
    }

    /// Requests that a message is sent to a node.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.queue.push_back(Effect::Send(to, Box::new(message)));
    }

    /// Requests that a waiting thread goes on.
    pub(crate) fn signal(&mut self, to: oneshot::Sender<()>) {
        self.queue.push_back(Effect::Signal(to));
    }

    /// Number of the last event, which a snapshot includes.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes the next effect.
    pub(crate) fn pop(&mut self) -> Option<Effect> {
        self.queue.pop_front()
    }
}
