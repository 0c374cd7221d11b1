//! Chat: distance and route to a person. An answer takes up to ten seconds.

use fog_api::{ApiError, Reply};
use fog_bitchat::{Command, PeerId};
use fog_types::ErrorKind;

use crate::chat::errors::ChatError;
use crate::chat::{Chat, PendingPing, ServiceCommand};
use crate::context::Context;
use crate::effects::Answer;

/// Most pending requests; the mesh node accepts no more either.
const MAX_ASKED: usize = 16;

fn asked(text: &str) -> Option<(String, bool)> {
    match Command::parse(text.trim())? {
        Ok(Command::Ping(who)) => Some((who, false)),
        Ok(Command::Trace(who)) => Some((who, true)),
        _ => None,
    }
}

/// Whether a line is a ping or trace command.
pub(crate) fn is_ping(text: &str) -> bool {
    asked(text).is_some()
}

impl Chat {
    pub(crate) fn chat_ping(&mut self, ctx: &mut Context, text: &str, answer: Answer) {
        match self.ping(text) {
            Ok((whom, is_trace)) => self.pings.push(PendingPing { whom, is_trace, answer }),
            Err(error) => ctx.out.answer(answer, Err(error)),
        }
    }

    fn ping(&mut self, text: &str) -> Result<(PeerId, bool), ApiError> {
        self.needs_chat()?;
        self.pings.retain(|asker| !asker.answer.is_closed());
        let (who, is_trace) = asked(text).ok_or_else(|| ApiError::new(ErrorKind::Bug, "no question"))?;
        let whom = PeerId::parse(&self.resolve(&who)?).ok_or(ChatError::PingOfGroup)?;
        if self.pings.len() >= MAX_ASKED {
            return Err(ChatError::TooManyPings.into());
        }
        self.order(ServiceCommand::Ping(whom))?;
        Ok((whom, is_trace))
    }

    /// Answers the requests for a person, who replied or did not.
    pub(crate) fn pinged(
        &mut self,
        ctx: &mut Context,
        whom: PeerId,
        found: Option<(u8, u64, Option<Vec<PeerId>>)>,
    ) {
        let name = self.name_of(whom);
        let (theirs, others): (Vec<PendingPing>, Vec<PendingPing>) =
            std::mem::take(&mut self.pings).into_iter().partition(|asker| asker.whom == whom);
        self.pings = others;
        for PendingPing { is_trace, answer, .. } in theirs {
            let reply = match &found {
                None => Err(ChatError::NoAnswer { name: name.clone() }.into()),
                Some((hops, millis, way)) => {
                    let far = if *hops == 1 { "right here".to_owned() } else { format!("{hops} hops away") };
                    let way = match way {
                        _ if !is_trace => String::new(),
                        Some(way) => {
                            let names = std::iter::once("you".to_owned())
                                .chain(way.iter().map(|hop| self.name_of(*hop)))
                                .chain([name.clone()]);
                            format!("; the way: {}", names.collect::<Vec<_>>().join(" → "))
                        }
                        None => "; who is between does not say so".to_owned(),
                    };
                    Ok(Reply::ChatSaid {
                        messages: Vec::new(),
                        note: format!("{name} is {far}: {millis} ms there and back{way}"),
                    })
                }
            };
            ctx.out.answer(answer, reply);
        }
    }

    fn name_of(&self, peer: PeerId) -> String {
        let id = peer.to_string();
        self.people.get(&id).map_or(id, |known| known.view.label.clone())
    }
}
