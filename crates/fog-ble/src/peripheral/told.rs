//! Peripheral role on systems that report events in callbacks, including subscriptions and disconnections.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep, timeout};

use super::{
    ADVERTISE_AGAIN, Device, LOOK_AT_LINKS, Links, Notifier, Outgoing, Refusal, SETTING_UP, send_each,
};

/// Capacity of the event queue. Callbacks do not wait: an event that finds it full is refused.
pub(super) const QUEUE: usize = 64;
/// Silence after which a link is closed if its device is not subscribed, because no event tells that it is
/// gone. Each device sends something every 30 s.
const UNHEARD: Duration = Duration::from_secs(90);

/// Event that a system reports.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told<Id, Answer> {
    /// A device wrote.
    Write(Write<Id, Answer>),
    /// A device unsubscribed or is gone.
    Gone(Id),
}

/// A write by a device.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Write<Id, Answer> {
    pub(super) device: Id,
    /// Maximum size of a notification to this device, in bytes.
    pub(super) limit: usize,
    pub(super) offset: usize,
    pub(super) packet: Vec<u8>,
    /// Handle to answer the write; `None` when another write carries the answer.
    pub(super) answer: Option<Answer>,
}

/// Radio of the system.
pub(super) trait Radio: Notifier {
    type Id: Device;
    /// Handle that answers a write; every one has to be used.
    type Answer: Send;

    fn answer(&self, answer: Self::Answer, taken: Result<(), Refusal>);

    /// Devices that are subscribed now.
    fn subscribers(&self) -> HashSet<Self::Id>;

    /// Advertises the service unless that is done already. Failures are logged, and the call is repeated
    /// later.
    fn advertise(&self) -> impl Future<Output = ()> + Send;
}

/// Serves until the events end.
pub(super) async fn serve<R: Radio>(
    radio: &R,
    links: &Links<R::Id>,
    outgoing: Outgoing,
    told: mpsc::Receiver<Told<R::Id, R::Answer>>,
) {
    tokio::select! {
        () = hear(radio, links, told) => {}
        () = keep_advertising(radio, links) => {}
        () = send_each(radio, outgoing) => {}
    }
}

async fn hear<R: Radio>(radio: &R, links: &Links<R::Id>, mut told: mpsc::Receiver<Told<R::Id, R::Answer>>) {
    let mut tick = interval(LOOK_AT_LINKS);
    let mut heard = HashMap::new();
    loop {
        tokio::select! {
            next = told.recv() => match next {
                // One after the other, so that the packets of a device keep their order.
                Some(Told::Write(Write { device, limit, offset, packet, answer })) => {
                    let taken = links.written(&device, limit, offset, packet).await;
                    if taken.is_ok() {
                        heard.insert(device, Instant::now());
                    }
                    if let Some(answer) = answer {
                        radio.answer(answer, taken);
                    }
                }
                Some(Told::Gone(device)) => links.gone(&device).await,
                None => return,
            },
            _ = tick.tick() => {
                let (subscribers, open) = (radio.subscribers(), links.devices().await);
                heard.retain(|device, at| open.contains(device) && at.elapsed() < UNHEARD);
                for device in open.iter().filter(|device| !subscribers.contains(device) && !heard.contains_key(device)) {
                    links.gone(device).await;
                }
            }
        }
    }
}

async fn keep_advertising<R: Radio>(radio: &R, links: &Links<R::Id>) {
    loop {
        // A timeout and a change have the same effect.
        let _ = timeout(ADVERTISE_AGAIN, links.changed.notified()).await;
        sleep(SETTING_UP).await;
        radio.advertise().await;
    }
}

/// Joins the parts of long writes that came at once, each with its offset. The answer goes with the last
/// packet; it is returned as the error when the parts do not fit.
#[cfg(any(target_os = "macos", test))]
pub(super) fn put_together<Id: Device, Answer>(
    pieces: Vec<Write<Id, Answer>>,
    answer: Answer,
) -> Result<Vec<Write<Id, Answer>>, Answer> {
    /// Maximum size of an attribute, in bytes.
    const LONGEST: usize = 512;
    let mut packets: Vec<Write<Id, Answer>> = Vec::new();
    for piece in pieces {
        match packets.last_mut() {
            _ if piece.offset == 0 => packets.push(piece),
            Some(begun)
                if begun.device == piece.device
                    && begun.packet.len() == piece.offset
                    && piece.offset + piece.packet.len() <= LONGEST =>
            {
                begun.packet.extend(piece.packet);
            }
            _ => return Err(answer),
        }
    }
    match packets.last_mut() {
        Some(last) => {
            last.answer = Some(answer);
            Ok(packets)
        }
        None => Err(answer),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use fog_transport::PacketLink;
    use tokio::sync::oneshot;

    use super::super::{MAX_LINKS, Writers};
    use super::*;
    use crate::News;

    type Answered = Result<(), Refusal>;

    #[derive(Default)]
    struct Fake {
        sent: Mutex<Vec<Vec<u8>>>,
        subscribers: Mutex<HashSet<u32>>,
        advertised: Mutex<usize>,
    }

    impl Notifier for Fake {
        async fn notify(&self, packet: Vec<u8>) {
            self.sent.lock().unwrap().push(packet);
        }
    }

    impl Radio for Fake {
        type Id = u32;
        type Answer = oneshot::Sender<Answered>;

        fn answer(&self, answer: Self::Answer, taken: Answered) {
            answer.send(taken).unwrap();
        }

        fn subscribers(&self) -> HashSet<u32> {
            self.subscribers.lock().unwrap().clone()
        }

        async fn advertise(&self) {
            *self.advertised.lock().unwrap() += 1;
        }
    }

    struct World {
        radio: Arc<Fake>,
        told: mpsc::Sender<Told<u32, oneshot::Sender<Answered>>>,
        news: mpsc::Receiver<News>,
        writers: Writers<u32>,
    }

    impl World {
        fn new() -> Self {
            let (radio, writers) = (Arc::new(Fake::default()), Writers::default());
            let ((to, news), (told, hears)) = (mpsc::channel(16), mpsc::channel(QUEUE));
            let (links, outgoing) = Links::new(to, writers.clone());
            let serving = radio.clone();
            tokio::spawn(async move { serve(&*serving, &links, outgoing, hears).await });
            Self { radio, told, news, writers }
        }

        async fn write(&self, device: u32, offset: usize, packet: &[u8]) -> Answered {
            let (answer, answered) = oneshot::channel();
            self.told
                .send(Told::Write(Write {
                    device,
                    limit: 100,
                    offset,
                    packet: packet.to_vec(),
                    answer: Some(answer),
                }))
                .await
                .unwrap();
            answered.await.unwrap()
        }

        async fn link(&mut self, device: u32) -> PacketLink {
            assert_eq!(self.write(device, 0, &[1]).await, Ok(()));
            let Some(News::Link(mut link)) = self.news.recv().await else { panic!("no link") };
            assert_eq!(link.inbound.recv().await, Some(vec![1]));
            link
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_writes_is_linked_and_what_is_for_all_goes_out_once() {
        let mut world = World::new();
        let (mut a, b) = (world.link(1).await, world.link(2).await);
        assert_eq!((a.limit, a.is_radio, a.is_sure), (100, true, false));
        assert_eq!(world.write(1, 0, b"more").await, Ok(()));
        assert_eq!(a.inbound.recv().await, Some(b"more".to_vec()));
        for link in [&a, &b] {
            link.out.send(b"to all".to_vec()).await.unwrap();
        }
        a.out.send(b"to one".to_vec()).await.unwrap();
        sleep(Duration::from_secs(5)).await;
        let mut sent = world.radio.sent.lock().unwrap().clone();
        sent.sort();
        assert_eq!(sent, [b"to all".to_vec(), b"to one".to_vec()]);
        assert!(*world.radio.advertised.lock().unwrap() > 0, "somebody came");
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_too_many_links_and_links_nobody_reads_are_refused() {
        let mut world = World::new();
        assert_eq!(
            (world.write(1, 7, b"x").await, world.write(1, 0, b"").await),
            (Err(Refusal::NotAPacket), Err(Refusal::NotAPacket))
        );
        let mut links = Vec::new();
        for device in 0..MAX_LINKS as u32 {
            links.push(world.link(device).await);
        }
        assert_eq!(world.write(100, 0, b"x").await, Err(Refusal::Busy));
        let mut given = 0;
        while world.write(0, 0, b"x").await.is_ok() {
            given += 1;
        }
        assert!((1..20).contains(&given), "{given} packets wait at most");
        assert!(!world.writers.lock().unwrap().contains(&0), "the link that nobody read is closed");
        assert_eq!(world.write(100, 0, b"x").await, Ok(()), "and its place is free");
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_ends_with_its_device_or_when_nothing_is_heard_or_here() {
        let mut world = World::new();
        let (mut goes, mut quiet, mut stays, closed) =
            (world.link(1).await, world.link(2).await, world.link(3).await, world.link(4).await);
        world.radio.subscribers.lock().unwrap().extend([1, 3]);
        world.told.send(Told::Gone(1)).await.unwrap();
        assert_eq!(goes.inbound.recv().await, None);
        drop(closed);
        assert_eq!(world.write(4, 0, b"again").await, Ok(()));
        let Some(News::Link(mut again)) = world.news.recv().await else { panic!("no second link") };
        assert_eq!(again.inbound.recv().await, Some(b"again".to_vec()));
        assert_eq!(*world.writers.lock().unwrap(), [2, 3, 4].into());
        assert_eq!(
            timeout(UNHEARD * 2, quiet.inbound.recv()).await,
            Ok(None),
            "it did not subscribe, and says nothing"
        );
        assert!(timeout(Duration::from_secs(10), stays.inbound.recv()).await.is_err());
    }

    #[test]
    fn pieces_are_put_together_when_they_fit() {
        let piece = |device: u32, offset, bytes: &[u8]| Write {
            device,
            limit: 20,
            offset,
            packet: bytes.to_vec(),
            answer: None,
        };
        let whole = put_together(vec![piece(1, 0, b"ab"), piece(1, 2, b"cd"), piece(1, 0, b"e")], 9).unwrap();
        let told: Vec<(&[u8], Option<i32>)> =
            whole.iter().map(|write| (write.packet.as_slice(), write.answer)).collect();
        assert_eq!(told, [(b"abcd".as_slice(), None), (b"e", Some(9))]);
        for wrong in [
            vec![],
            vec![piece(1, 1, b"a")],
            vec![piece(1, 0, b"a"), piece(2, 1, b"b")],
            vec![piece(1, 0, b"a"), piece(1, 2, b"b")],
        ] {
            assert_eq!(put_together(wrong, 9), Err(9));
        }
        let long = [0; 300];
        assert_eq!(put_together(vec![piece(1, 0, &long), piece(1, 300, &long)], 9), Err(9));
    }
}
