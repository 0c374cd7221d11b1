//! Chat: slash commands in the text of a message.

use fog_api::{ApiError, PersonChange, PersonLink, Reply};
use fog_bitchat::COMMANDS;
use fog_types::ErrorKind;

use crate::chat::Chat;
use crate::context::Context;

impl Chat {
    pub(crate) fn slash(
        &mut self,
        ctx: &mut Context,
        to: &str,
        command: fog_bitchat::Command,
    ) -> Result<Reply, ApiError> {
        use fog_bitchat::Command as C;
        let note = |note: String| Ok(Reply::ChatSaid { messages: Vec::new(), note });
        match command {
            C::Message { to, text } => {
                let thread = self.resolve(&to)?;
                match text {
                    Some(text) => Ok(Reply::ChatSaid {
                        messages: self.say_in(ctx, &thread, &text)?,
                        note: String::new(),
                    }),
                    None => note(format!("open the chat with {to} to write to them")),
                }
            }
            C::Who => {
                let here = self
                    .people
                    .values()
                    .map(|known| &known.view)
                    .filter(|person| person.link != PersonLink::Gone);
                let names: Vec<&str> = here.map(|person| person.label.as_str()).collect();
                note(if names.is_empty() {
                    "nobody else is here".to_owned()
                } else {
                    format!("here: {}", names.join(", "))
                })
            }
            C::Clear => {
                self.chat_clear(ctx, to)?;
                note("the messages of this view are deleted on this device".to_owned())
            }
            C::Hug(whom) => self.gesture(ctx, to, &whom, fog_bitchat::hug),
            C::Slap(whom) => self.gesture(ctx, to, &whom, fog_bitchat::slap),
            C::Block(None) => {
                let names: Vec<&str> = self
                    .people
                    .values()
                    .filter(|known| known.view.is_blocked)
                    .map(|known| known.view.label.as_str())
                    .collect();
                note(if names.is_empty() {
                    "nobody is blocked".to_owned()
                } else {
                    format!("blocked: {}", names.join(", "))
                })
            }
            C::Block(Some(who)) => {
                self.mark(ctx, &who, PersonChange::Blocked(true), "is blocked; what they say is not shown")
            }
            C::Unblock(who) => self.mark(ctx, &who, PersonChange::Blocked(false), "is not blocked any more"),
            C::Favourite(who) => self.mark(ctx, &who, PersonChange::Favourite(true), "is a favourite"),
            C::NoFavourite(who) => {
                self.mark(ctx, &who, PersonChange::Favourite(false), "is no favourite any more")
            }
            C::Help => note(COMMANDS.map(|(usage, what)| format!("{usage}: {what}")).join("\n")),
            C::Group(verb) => self.group_command(ctx, to, verb),
            C::Ping(_) | C::Trace(_) => Err(ApiError::new(ErrorKind::Bug, "this is answered elsewhere")),
        }
    }

    fn gesture(
        &mut self,
        ctx: &mut Context,
        to: &str,
        whom: &str,
        words: fn(&str, &str) -> String,
    ) -> Result<Reply, ApiError> {
        let thread = self.thread_of(to)?;
        let text = words(&self.nickname(ctx), whom);
        Ok(Reply::ChatSaid { messages: self.say_in(ctx, &thread, &text)?, note: String::new() })
    }

    fn mark(
        &mut self,
        ctx: &mut Context,
        who: &str,
        change: PersonChange,
        what: &str,
    ) -> Result<Reply, ApiError> {
        self.chat_person(ctx, who, change)?;
        Ok(Reply::ChatSaid { messages: Vec::new(), note: format!("{who} {what}") })
    }
}
