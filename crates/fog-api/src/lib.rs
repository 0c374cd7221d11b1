//! Contract with every front end: one [`Command`] in, one [`Reply`] out, one stream of [`Event`]s. The
//! types are plain data; no I/O, no engine types.
//!
//! New fields and variants are compatible changes; a test keeps old samples readable. Times are
//! milliseconds since 1970, UTC.

mod chat;
mod command;
mod error;
mod event;
mod network;
mod reply;
pub mod settings;
mod state;
mod verdict;
mod view;

pub use chat::{
    ChatFileView, ChatMessage, ChatView, GroupChange, GroupView, MemberView, NoteView, PersonChange,
    PersonLink, PersonView, RadioState, RadioView, ThreadView,
};
pub use command::{
    ChatCommand, Command, DutyCommand, JobAction, JobCommand, JobQuery, NetworkCommand, PlacementCommand,
    ResultPart, ResultPosition, Secret, SettingsCommand,
};
pub use error::{ApiError, TextValue};
pub use event::{Event, EventBody, Notice};
pub use fog_types::MessageState;
pub use network::{
    CreditView, GridView, JoinedNetwork, NetworkView, PeerCredit, PeerPath, PeerView, PlacementView,
    PlanPoint, PromiseView, ReachView, TaskPlace,
};
pub use reply::{CheckpointView, PROTOCOL_VERSION, Reply, Request, Response, ServerMessage};
pub use state::{Applied, apply};
pub use verdict::{EffectView, ReasonView, ResumeView, ValueView, VerdictView};
pub use view::{
    ActiveTask, AttemptView, Check, CheckState, EstimateView, Example, HistoryPoint, HistoryView, JobCounts,
    JobDetail, JobSummary, JournalLine, MemoryWait, OutputView, RenamedView, Snapshot, Status, THIS_DEVICE,
    TaskView, Today,
};
