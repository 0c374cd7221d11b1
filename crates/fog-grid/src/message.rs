//! Messages between nodes, and the bounds within which they are read.

mod content_link;
mod offer;
mod result;

pub use content_link::{ContentReply, ContentRequest};
pub use offer::{Answer, Decline, MAX_HOLDERS, TaskOffer};
pub use result::{MAX_LIST, MAX_NAMED, MAX_OUTPUTS, Receipt, TaskResult, list_to_bytes};

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::identity::Signed;
use crate::invite::GroupId;

/// Version of this protocol; nodes with different versions do not trade.
pub const VERSION: u16 = 1;
/// Maximum number of bytes of one message; enough for a job file of full size.
pub const MAX_MESSAGE: u32 = 2 << 20;
/// Maximum number of bytes of one message of a node that is not known to share a network. A greeting with
/// 16 groups takes 2 KiB, and the messages after a restart are small.
pub const MAX_STRANGER_MESSAGE: u32 = 64 << 10;
const MAX_TEXT: usize = 500;
const MAX_PROOFS: usize = 16;

/// Id of one attempt of one worker at one task, drawn by the requester.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId(pub [u8; 16]);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({self})")
    }
}

/// Capacity that a node lends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capacity {
    /// Number of tasks that run at once.
    pub slots: u16,
    /// Number of slots that are free now.
    pub free: u16,
    /// Bytes of memory for a task that comes now.
    pub memory: u64,
    /// Bytes of disk for the files of that task.
    pub disk: u64,
    /// Share of processor time in percent, 0 to 100; 0 while the node does not work.
    pub duty: u8,
    /// Measured work units per second of one task at full duty; 0 if not measured yet.
    pub speed: u64,
    /// Battery charge in percent; `None` if the node does not run on a battery.
    pub battery: Option<u8>,
    /// Probability in thousandths that the node works during the next hours, from its own past; 1000 if
    /// unknown.
    pub forecast: u16,
}

/// First message over a link, repeated when something in it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Protocol version of the sender, see [`VERSION`].
    pub version: u16,
    /// Name that the owner gave the device, up to 60 characters.
    pub name: String,
    /// Whether the sender joined its local network.
    pub lan: bool,
    /// Whether the sender joined the open network.
    pub open: bool,
    /// Proof of membership for each group of the sender, at most 16.
    #[serde(deserialize_with = "fog_types::bounded::list::<MAX_PROOFS, _, _>")]
    pub groups: Vec<(GroupId, [u8; 32])>,
    /// Capacity that the sender lends.
    pub capacity: Capacity,
    /// Whether the sender received the greeting of the receiver; if not, the receiver sends it. One side
    /// may have lost a connection while the other side did not notice.
    pub has_heard: bool,
    /// Clock of the sender in milliseconds since 1970; only compared and shown to people.
    pub clock_ms: i64,
}

/// Standing of a leased task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerState {
    /// The module and inputs are being fetched.
    Fetching,
    /// The task waits for a slot.
    Waiting,
    /// The task runs.
    Running,
    /// The task is paused: the device is in use, on battery or too warm.
    Paused,
}

/// Message over a control link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Greeting with the name, networks and capacity of the sender.
    Hello(Hello),
    /// Offer of a task, to a worker.
    Offer(Box<Signed<TaskOffer>>),
    /// Answer to an offer, to a requester.
    Answer {
        /// Lease of the offer.
        lease: LeaseId,
        /// Answer of the worker.
        answer: Answer,
    },
    /// Progress of a leased task, to a requester.
    Heartbeat {
        /// Lease of the task.
        lease: LeaseId,
        /// Standing of the task.
        standing: WorkerState,
        /// Number of work units so far.
        units: u64,
        /// Progress in thousandths; `None` if unknown.
        permille: Option<u16>,
    },
    /// Checkpoint from which another worker could resume, to a requester.
    Saved {
        /// Lease of the task.
        lease: LeaseId,
        /// Number of work units that the checkpoint holds.
        units: u64,
        /// Content of the checkpoint.
        content: Content,
    },
    /// Result of a task, to a requester.
    Result(Box<Signed<TaskResult>>),
    /// Failure of a task at its worker, to a requester.
    Failed {
        /// Lease of the task.
        lease: LeaseId,
        /// Reason, in a sentence.
        problem: String,
        /// Whether the task would fail in the same way on another device.
        is_hopeless: bool,
    },
    /// Receipt of an accepted result, to a worker.
    Receipt(Box<Signed<Receipt>>),
    /// End of a lease that is not needed any more or whose result is not accepted, to a worker; nothing is
    /// owed.
    Release {
        /// Lease that is over.
        lease: LeaseId,
        /// Reason, in a sentence.
        why: String,
    },
    /// Request for the state at a mark of the history of a result, to the worker that handed it in.
    Prove {
        /// Lease of the result.
        lease: LeaseId,
        /// Number of the mark.
        mark: u64,
    },
    /// Answer to [`Message::Prove`], to a requester.
    Proof {
        /// Lease of the result.
        lease: LeaseId,
        /// Number of the mark.
        mark: u64,
        /// Content of the state; `None` if the worker did not keep it.
        state: Option<Content>,
    },
}

/// Reason for which bytes are not a valid message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The bytes cannot be decoded.
    #[error("the message cannot be read")]
    Malformed,
    /// A part of the message exceeds its bound.
    #[error("the message has {what} beyond all bounds")]
    Bounds {
        /// Part that exceeds its bound.
        what: &'static str,
    },
}

impl Message {
    /// Encodes the message as the bytes of a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // The types of this crate always encode.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Decodes a message from the bytes of a frame and checks its bounds.
    ///
    /// # Errors
    /// [`MessageError`] if the bytes cannot be decoded or exceed a bound.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_MESSAGE as usize {
            return Err(MessageError::Bounds { what: "a length" });
        }
        let message: Self = whole(bytes)?;
        let text = |text: &str| text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        let bounds = |what| Err(MessageError::Bounds { what });
        match &message {
            Self::Hello(hello) if hello.name.chars().count() > 60 || !text(&hello.name) => bounds("a name"),
            Self::Failed { problem: words, .. } | Self::Release { why: words, .. } if !text(words) => {
                bounds("a text")
            }
            _ => Ok(message),
        }
    }
}

/// Decodes a value that takes all of the bytes.
fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, MessageError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(MessageError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::result::LATE_SECONDS;
    use super::*;
    use crate::content::{ContentId, ContentKey};
    use crate::identity::Identity;
    use fog_types::job::JobFile;
    use fog_types::{BlobId, ByteCount, Limits, NodeId, WorkUnits};
    use proptest::prelude::*;

    fn content() -> Content {
        Content { id: ContentId([1; 32]), blob: BlobId([2; 32]), size: 3, key: ContentKey([4; 32]) }
    }

    fn offer() -> TaskOffer {
        let mut file = JobFile::for_module("primes", "module.wasm");
        file.inputs.insert("a.txt".to_owned(), "a.txt".to_owned());
        TaskOffer {
            lease: LeaseId([9; 16]),
            requester: Identity::new(&[1; 32]).node(),
            worker: NodeId([2; 32]),
            file,
            module: content(),
            stdin: None,
            inputs: vec![("a.txt".to_owned(), content())],
            checkpoint: Some((5, content())),
            left_ms: 7,
            tags: vec!["maths".to_owned()],
            holders: vec![NodeId([3; 32])],
            price_tenths: 10,
            has_bonus: false,
        }
    }

    #[test]
    fn an_offer_comes_back_from_the_wire() {
        let me = Identity::new(&[1; 32]);
        let message = Message::Offer(Box::new(me.sign(&offer())));
        let Ok(Message::Offer(signed)) = Message::decode(&message.encode()) else { panic!() };
        assert_eq!(signed.open(me.node()), Ok(offer()));
        assert_eq!(offer().check(), Ok(()));
        assert_eq!(offer().contents().count(), 3);
    }

    #[test]
    fn an_offer_that_is_not_one_task_is_refused() {
        let mut many = offer();
        many.file.map = fog_types::job::Map::Range { from: 0, to: 2 };
        let mut other = offer();
        other.inputs[0].0 = "b.txt".to_owned();
        let mut stdin = offer();
        stdin.stdin = Some(content());
        for bad in [many, other, stdin] {
            assert!(bad.check().is_err());
        }
    }

    #[test]
    fn an_offer_whose_numbers_are_beyond_all_bounds_is_refused() {
        let mut huge = offer();
        huge.inputs[0].1.size = u64::MAX;
        let mut ahead = offer();
        ahead.checkpoint = Some((ahead.file.limits.units.0 + 1, content()));
        for bad in [huge, ahead] {
            assert!(bad.check().is_err());
        }
    }

    #[test]
    fn a_state_that_its_task_cannot_have_is_refused() {
        let mut small = offer();
        (small.file.limits.memory, small.file.limits.disk) = (ByteCount::mib(2), ByteCount(0));
        let with = |size| TaskOffer { checkpoint: Some((5, Content { size, ..content() })), ..small.clone() };
        let most = small.file.limits.state_size().0;
        assert!(most < 200 << 20, "{most}");
        assert_eq!(with(most).check(), Ok(()));
        for size in [most + 1, 9_000_000_000] {
            assert_eq!(
                with(size).check(),
                Err("the state it brings is larger than one of its task can be".to_owned())
            );
        }
    }

    #[test]
    fn lists_are_bounded_before_they_are_read() {
        let me = Identity::new(&[1; 32]);
        let mut map = offer();
        map.file.map = fog_types::job::Map::Inputs(vec![String::new(); 2_000_000]);
        let mut args = offer();
        args.file.args = vec![String::new(); 2_000_000];
        let mut tags = offer();
        tags.tags = vec![String::new(); 9];
        for bad in [map, args, tags] {
            assert_eq!(me.sign(&bad).open(me.node()), Err(crate::identity::SignedError::Malformed));
        }
        // The lease is known without decoding the rest, which is enough to decline the offer.
        let mut other = offer();
        other.lease = LeaseId([5; 16]);
        assert_eq!(me.sign(&other).claimed_lease(), Some(LeaseId([5; 16])));
    }

    fn result() -> TaskResult {
        TaskResult {
            lease: LeaseId([9; 16]),
            worker: NodeId([2; 32]),
            offer: [0; 32],
            units: WorkUnits(5),
            active_ms: 1,
            memory: 1,
            hash: "a".repeat(64),
            stdout: (content(), 0),
            stderr: (content(), 0),
            outputs: vec![("a".to_owned(), content()), ("b/c".to_owned(), content())],
            list: None,
            history: None,
        }
    }

    #[test]
    fn a_request_with_more_bytes_than_it_has_is_malformed() {
        let request = ContentRequest { id: ContentId([1; 32]), from: Some(0), count: 1 }.encode();
        assert!(ContentRequest::decode(&request).is_ok());
        assert_eq!(
            ContentRequest::decode(&[request.as_slice(), &[0]].concat()),
            Err(MessageError::Malformed)
        );
    }

    #[test]
    fn a_result_has_plain_paths_each_once_and_no_number_beyond_its_job() {
        assert_eq!(result().check(), Ok(()));
        assert_eq!(result().check_against(&Limits::default()), Ok(()));
        for paths in [["a", "a"], ["a", "a/b"], ["a", "../b"], ["a", "/b"]] {
            let outputs = paths.iter().map(|path| ((*path).to_owned(), content())).collect();
            assert!(TaskResult { outputs, ..result() }.check().is_err(), "{paths:?}");
        }
        let limits = Limits { units: WorkUnits(u64::MAX), ..Limits::default() };
        for (bad, limits) in [
            (TaskResult { units: WorkUnits(limits.units.0), ..result() }, limits.clone()),
            (TaskResult { units: WorkUnits(Limits::default().units.0 + 1), ..result() }, Limits::default()),
            (TaskResult { memory: u64::MAX, ..result() }, limits.clone()),
            (TaskResult { active_ms: u64::MAX, ..result() }, limits.clone()),
            (
                TaskResult { active_ms: (limits.wall_seconds + 2 * LATE_SECONDS) * 1000, ..result() },
                limits.clone(),
            ),
            (TaskResult { stdout: (content(), u64::MAX), ..result() }, limits.clone()),
            (
                TaskResult {
                    outputs: vec![("a".to_owned(), Content { size: u64::MAX, ..content() }); 2],
                    ..result()
                },
                limits,
            ),
        ] {
            assert!(bad.check_against(&limits).is_err(), "{bad:?}");
        }
        assert!(TaskResult { hash: "\u{e9}".repeat(32), ..result() }.check().is_err());
    }

    #[test]
    fn a_result_with_very_many_files_has_a_list_of_them() {
        let files = |count: usize, long: usize| -> Vec<(String, Content)> {
            (0..count).map(|n| (format!("{n:0long$}"), content())).collect()
        };
        let short = TaskResult { outputs: Vec::new(), list: Some(content()), ..result() };
        assert_eq!(short.check(), Ok(()));
        // The second list has as many files as the runtime lets a task leave, with paths of 8 MB in all.
        for (count, long) in [(12_000, 6), (MAX_OUTPUTS, 160)] {
            let bytes = list_to_bytes(files(count, long));
            assert!(bytes.len() as u64 <= MAX_LIST, "{}", bytes.len());
            let whole = short.clone().with_list(&bytes).unwrap();
            assert_eq!((whole.outputs.len(), whole.list), (count, None));
        }
        // Lists with too many files, a bad path or damage are refused, and so is a list beside named files.
        assert!(short.clone().with_list(&list_to_bytes(files(MAX_OUTPUTS + 1, 6))).is_err());
        assert!(short.clone().with_list(&list_to_bytes(vec![("../a".to_owned(), content())])).is_err());
        assert!(short.clone().with_list(&[list_to_bytes(files(2, 3)), vec![0]].concat()).is_err());
        assert!(short.clone().with_list(&[255; 9]).is_err());
        assert!(TaskResult { list: Some(content()), ..result() }.check().is_err());
        assert!(
            TaskResult { list: Some(Content { size: MAX_LIST + 1, ..content() }), ..short.clone() }
                .check()
                .is_err()
        );
        // A result message names few files, so that it stays short.
        let me = Identity::new(&[1; 32]);
        let open =
            |count| me.sign(&TaskResult { outputs: files(count, 6), ..result() }).open(me.node()).is_ok();
        assert!(open(MAX_NAMED) && !open(MAX_NAMED + 1));
    }

    #[test]
    fn texts_have_bounds() {
        let long = Message::Failed { lease: LeaseId([0; 16]), problem: "x".repeat(501), is_hopeless: false };
        assert!(Message::decode(&long.encode()).is_err());
        let bell = Message::Release { lease: LeaseId([0; 16]), why: "\u{7}".to_owned() };
        assert!(Message::decode(&bell.encode()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Message::decode(&bytes);
            let _ = ContentRequest::decode(&bytes);
            let _ = ContentReply::decode(&bytes);
        }

        #[test]
        fn a_damaged_offer_is_read_or_refused(at in 0usize..400, bit in 0u8..8) {
            let mut bytes = Message::Offer(Box::new(Identity::new(&[1; 32]).sign(&offer()))).encode();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(Message::Offer(signed)) = Message::decode(&bytes) {
                prop_assert!(signed.open(offer().requester).is_err());
            }
        }
    }
}
