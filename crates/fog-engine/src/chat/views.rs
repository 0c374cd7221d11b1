//! Chat: views for front ends.

use fog_api::{ChatMessage, ChatView, EventBody, PersonLink, PersonView, ThreadView};
use fog_store::ChatRow;
use fog_types::text::clean_lines;

use crate::chat::{Body, Chat};
use crate::context::Context;

impl Chat {
    pub(crate) fn chat_view(&self, ctx: &Context) -> ChatView {
        let keys = self.me.filter(|_| self.driver.is_some());
        let threads = ctx.store.chat_threads().unwrap_or_default();
        let radio = match &self.problem {
            None => self.radio.clone(),
            Some(problem) => fog_api::RadioView { problem: problem.message.clone(), ..self.radio.clone() },
        };
        ChatView {
            is_on: self.driver.is_some(),
            me: keys.map(|keys| keys.peer().to_string()).unwrap_or_default(),
            fingerprint: keys.map(|keys| fog_bitchat::fingerprint_text(&keys.noise)).unwrap_or_default(),
            nickname: self.nickname(ctx),
            radio,
            clock_off_ms: self.clock_off.map(|(millis, _)| millis),
            clock_peers: self.clock_off.map_or(0, |(_, peers)| peers),
            people: self.people.values().map(|known| self.person_view(ctx, &known.view)).collect(),
            groups: self.group_views(),
            board: self.note_views(ctx),
            carried: self.letters + self.bundles,
            threads: threads
                .into_iter()
                .map(|(unread, row)| ThreadView {
                    with: row.thread.clone(),
                    unread,
                    last: Some(self.message_view(&row)),
                })
                .collect(),
        }
    }

    /// View of a person. The last-seen time of a present person is now; it is not stored each time.
    fn person_view(&self, ctx: &Context, person: &PersonView) -> PersonView {
        let seen_ms = if person.link == PersonLink::Gone { person.seen_ms } else { ctx.clock.unix().0 };
        PersonView { seen_ms, ..person.clone() }
    }

    /// Marks the chat view for the next status. It is not sent at once, because strangers can make people
    /// come and go at will.
    pub(crate) fn announce_chat(&mut self) {
        self.is_view_due = true;
    }

    pub(crate) fn message_view(&self, row: &ChatRow) -> ChatMessage {
        let body: Body = self
            .vault
            .as_ref()
            .and_then(|vault| vault.open_value(&row.thread, &row.sealed))
            .unwrap_or_default();
        ChatMessage {
            row: row.id,
            with: row.thread.clone(),
            name: self.names.label(&body.from, &body.name),
            from: body.from,
            text: clean_lines(&body.text),
            at_ms: row.at.0,
            stated_ms: body.stated_ms,
            file: body.file,
            state: row.state,
        }
    }

    pub(crate) fn announce_message(&mut self, ctx: &mut Context, row: &ChatRow) -> ChatMessage {
        let message = self.message_view(row);
        ctx.announce(EventBody::ChatMessage(Box::new(message.clone())));
        message
    }
}
