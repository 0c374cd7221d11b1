//! Sentences about chat.

use fog_api::{ChatMessage, ChatView, PersonView};

use crate::Words;

/// Greatest difference of clocks, in milliseconds, that is not mentioned.
const CLOCK_OFF_MS: u64 = 60_000;

impl Words {
    /// Returns a sentence about wrong clocks of this device or of people nearby, and which is probably
    /// wrong.
    #[must_use]
    pub fn clocks(&self, chat: &ChatView) -> Option<String> {
        let off_ms = chat.clock_off_ms.filter(|off| off.unsigned_abs() >= CLOCK_OFF_MS)?;
        let span = self.span(off_ms.unsigned_abs() / 1000);
        let key = match (off_ms > 0, chat.clock_peers) {
            (true, 2..) => "chat-clock-slow",
            (false, 2..) => "chat-clock-fast",
            (true, _) => "chat-clock-behind-one",
            (false, _) => "chat-clock-ahead-of-one",
        };
        Some(self.with(key, &[("span", span.into()), ("n", f64::from(chat.clock_peers).into())]))
    }

    /// Returns a note about the difference of a person's clock from this one, if there is one.
    #[must_use]
    pub fn clock_of(&self, person: &PersonView) -> Option<String> {
        let off_ms = person.clock_off_ms.filter(|off| off.unsigned_abs() >= CLOCK_OFF_MS)?;
        let key = if off_ms > 0 { "chat-their-clock-ahead" } else { "chat-their-clock-behind" };
        Some(self.with(key, &[("span", self.span(off_ms.unsigned_abs() / 1000).into())]))
    }

    /// Returns the time that the author's clock showed, if it differed; `clock` formats a moment.
    #[must_use]
    pub fn stated(&self, message: &ChatMessage, clock: impl Fn(i64) -> String) -> Option<String> {
        Some(self.with("chat-stated", &[("time", clock(message.stated_ms?).into())]))
    }
}
