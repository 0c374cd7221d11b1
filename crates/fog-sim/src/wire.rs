//! Sizes of the product's messages.

use fog_grid::{
    Answer, Capacity, Content, ContentId, ContentKey, GroupId, Hello, Identity, LeaseId, Message, Receipt,
    TaskOffer, TaskResult, VERSION, WorkerState,
};
use fog_types::job::JobFile;
use fog_types::{BlobId, NodeId, WorkUnits};

/// Bytes of each message on the wire, including its frame and the overhead of the layers below.
pub(crate) struct Sizes {
    pub(crate) hello: f64,
    offer: f64,
    pub(crate) answer: f64,
    pub(crate) heartbeat: f64,
    pub(crate) saved: f64,
    pub(crate) result: f64,
    receipt: f64,
    release: f64,
}

/// Bytes of the length before each frame, and of encryption and packet headers.
const AROUND: f64 = 4.0 + 60.0;

impl Sizes {
    pub(crate) fn measure() -> Self {
        let me = Identity::new(&[1; 32]);
        let (lease, node) = (LeaseId([200; 16]), NodeId([2; 32]));
        let content = Content {
            id: ContentId([200; 32]),
            blob: BlobId([200; 32]),
            size: 1 << 20,
            key: ContentKey([200; 32]),
        };
        let size = |message: Message| message.encode().len() as f64 + AROUND;
        let offer = TaskOffer {
            lease,
            requester: me.node(),
            worker: node,
            file: JobFile::for_module("simulated", "module.wasm"),
            module: content,
            stdin: None,
            inputs: vec![("item".to_owned(), content)],
            checkpoint: None,
            left_ms: 1 << 40,
            tags: Vec::new(),
            holders: vec![node; 4],
            price_tenths: 10,
            has_bonus: false,
        };
        let result = TaskResult {
            lease,
            worker: me.node(),
            offer: [200; 32],
            units: WorkUnits(1 << 40),
            active_ms: 1 << 20,
            memory: 1 << 27,
            hash: "a".repeat(64),
            stdout: (content, 0),
            stderr: (content, 0),
            outputs: vec![("result.bin".to_owned(), content)],
            list: None,
            history: None,
        };
        let receipt = Receipt {
            lease,
            requester: me.node(),
            worker: node,
            result: [200; 32],
            units: WorkUnits(1 << 40),
            credit: 1 << 20,
            at_ms: 1 << 40,
        };
        let hello = Hello {
            version: VERSION,
            name: "somebody's laptop".to_owned(),
            lan: false,
            open: false,
            groups: vec![(GroupId([200; 32]), [200; 32])],
            capacity: Capacity::default(),
            has_heard: true,
            clock_ms: 1 << 40,
        };
        Self {
            hello: size(Message::Hello(hello)),
            offer: size(Message::Offer(Box::new(me.sign(&offer)))),
            answer: size(Message::Answer { lease, answer: Answer::Accepted }),
            heartbeat: size(Message::Heartbeat {
                lease,
                standing: WorkerState::Running,
                units: 1 << 40,
                permille: Some(500),
            }),
            saved: size(Message::Saved { lease, units: 1 << 40, content }),
            result: size(Message::Result(Box::new(me.sign(&result)))),
            receipt: size(Message::Receipt(Box::new(me.sign(&receipt)))),
            release: size(Message::Release { lease, why: "it is not needed any more".to_owned() }),
        }
    }

    pub(crate) fn to_device(&self, is_offer: bool, is_receipt: bool) -> f64 {
        if is_offer {
            self.offer
        } else if is_receipt {
            self.receipt
        } else {
            self.release
        }
    }
}
