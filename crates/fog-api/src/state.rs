use crate::event::{Event, EventBody};
use crate::view::Snapshot;

/// Number of jobs in a snapshot, at most.
const MAX_JOBS: usize = 100;

/// Outcome of applying an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The event was applied; the state is current.
    Current,
    /// The event is older than the state; nothing was changed.
    Old,
    /// Events are missing in between: request a new snapshot.
    Gap,
}

/// Applies an event to a snapshot; front ends keep their state only through this function.
pub fn apply(state: &mut Snapshot, event: &Event) -> Applied {
    if matches!(event.body, EventBody::Missed) {
        return Applied::Gap;
    }
    if event.revision <= state.revision {
        return Applied::Old;
    }
    if event.revision != state.revision + 1 {
        return Applied::Gap;
    }
    state.revision = event.revision;
    match &event.body {
        EventBody::Status(status) => state.status = (**status).clone(),
        EventBody::Progress(task) => {
            let same = |a: &&mut crate::ActiveTask| a.job == task.job && a.index == task.index;
            if let Some(active) = state.status.active.iter_mut().find(same) {
                *active = task.clone();
            }
        }
        EventBody::Job(job) => match state.jobs.iter_mut().find(|known| known.id == job.id) {
            Some(known) => *known = job.clone(),
            None => {
                let place = state.jobs.partition_point(|known| known.id > job.id);
                state.jobs.insert(place, job.clone());
                state.jobs.truncate(MAX_JOBS);
            }
        },
        EventBody::JobRemoved(id) => state.jobs.retain(|job| job.id != *id),
        EventBody::Settings(settings) => state.settings.clone_from(settings),
        EventBody::Network(network) => state.network = (**network).clone(),
        EventBody::Chat(chat) => state.chat = (**chat).clone(),
        EventBody::ChatPerson(person) => state.chat.put_person(person),
        EventBody::ChatMessage(message) => state.chat.put_message(message),
        EventBody::TaskFinished { .. } | EventBody::Notice(_) | EventBody::Missed => {}
    }
    Applied::Current
}

#[cfg(test)]
mod tests {
    use fog_types::{JobId, JobState};

    use super::*;
    use crate::JobSummary;

    fn job(id: u64) -> JobSummary {
        JobSummary {
            id: JobId(id),
            name: "test".to_owned(),
            owner: "me".to_owned(),
            state: JobState::Queued,
            priority: 0,
            tasks_total: 1,
            tasks_finished: 0,
            units: 0,
            created_ms: 0,
            deadline_ms: 0,
            finished_ms: None,
            problem: String::new(),
            is_picture: false,
            is_grid: false,
        }
    }

    fn event(revision: u64, body: EventBody) -> Event {
        Event { revision, body }
    }

    #[test]
    fn events_in_order_keep_the_state_current() {
        let mut state = Snapshot::default();
        for id in 1..=3 {
            assert_eq!(apply(&mut state, &event(id, EventBody::Job(job(id)))), Applied::Current);
        }
        let changed = JobSummary { state: JobState::Finished, ..job(2) };
        apply(&mut state, &event(4, EventBody::Job(changed)));
        apply(&mut state, &event(5, EventBody::JobRemoved(JobId(1))));
        let seen: Vec<_> = state.jobs.iter().map(|job| (job.id.0, job.state)).collect();
        assert_eq!(seen, [(3, JobState::Queued), (2, JobState::Finished)]);
    }

    #[test]
    fn gaps_and_old_events_are_noticed_and_change_nothing() {
        let mut state = Snapshot { revision: 5, ..Snapshot::default() };
        let before = state.clone();
        assert_eq!(apply(&mut state, &event(5, EventBody::Job(job(1)))), Applied::Old);
        assert_eq!(apply(&mut state, &event(7, EventBody::Job(job(1)))), Applied::Gap);
        assert_eq!(apply(&mut state, &event(6, EventBody::Missed)), Applied::Gap);
        assert_eq!(state, before);
    }

    #[test]
    fn a_new_message_moves_its_thread_to_the_front_and_its_state_does_not() {
        use crate::{ChatMessage, MessageState};
        let mut state = Snapshot::default();
        let said = |row, with: &str, state| {
            EventBody::ChatMessage(Box::new(ChatMessage {
                row,
                with: with.to_owned(),
                state,
                ..ChatMessage::default()
            }))
        };
        let threads = |state: &Snapshot| {
            state.chat.threads.iter().map(|t| (t.with.clone(), t.unread)).collect::<Vec<_>>()
        };
        apply(&mut state, &event(1, said(1, "", MessageState::Received)));
        apply(&mut state, &event(2, said(2, "anna", MessageState::Queued)));
        apply(&mut state, &event(3, said(3, "", MessageState::Received)));
        assert_eq!(threads(&state), [(String::new(), 2), ("anna".to_owned(), 0)]);
        apply(&mut state, &event(4, said(2, "anna", MessageState::Delivered)));
        assert_eq!(threads(&state), [(String::new(), 2), ("anna".to_owned(), 0)]);
        assert_eq!(state.chat.threads[1].last.as_ref().map(|m| m.state), Some(MessageState::Delivered));
    }

    #[test]
    fn the_list_of_jobs_is_bounded() {
        let mut state = Snapshot::default();
        for id in 1..=300 {
            apply(&mut state, &event(id, EventBody::Job(job(id))));
        }
        assert_eq!((state.jobs.len(), state.jobs[0].id), (MAX_JOBS, JobId(300)));
    }
}
