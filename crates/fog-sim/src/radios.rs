//! Simulation of many moving radios that speak BitChat, in virtual time: the node of the product beside
//! plain flooding and direct delivery on the same walks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use fog_bitchat::{Capabilities, Config, Delivery, Event, Identity, Kind, LinkId, Node};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

/// Milliseconds of a step, of a packet on the air, and between two updates of the links.
const STEP: u64 = 10;
const AIR: u64 = 20;
const LOOK: u64 = 1_000;
/// Maximum number of hops of a flood: the TTL of the protocol.
const HOPS: usize = 7;
/// Upper bound on the number of radios.
const MOST: u64 = 1_000_000;
const START: u64 = 1_790_000_000_000;

/// Scenario of a radio simulation.
#[derive(Debug, Clone, Copy)]
pub struct Radios {
    /// Number of radios.
    pub radios: usize,
    /// Side of the square in which the radios walk, in metres.
    pub side: f64,
    /// Range of a radio in metres.
    pub range: f64,
    /// Maximum number of links of one radio.
    pub links: usize,
    /// Share of packets that are lost on the air.
    pub loss: f64,
    /// Seconds before the first text, in which radios get to know each other.
    pub warm_up: u64,
    /// Seconds after the warm-up.
    pub seconds: u64,
    /// Number of texts for everybody, and of texts for one person each, sent in the first third of
    /// `seconds`.
    pub texts: usize,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for Radios {
    /// Returns a walking crowd of a thousand radios on a square kilometre.
    fn default() -> Self {
        Self {
            radios: 1_000,
            side: 1_000.0,
            range: 50.0,
            links: 6,
            loss: 0.02,
            warm_up: 30,
            seconds: 90,
            texts: 30,
            seed: 1,
        }
    }
}

/// Figures of one way of passing texts on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Way {
    /// Share of the intended recipients that a text reached.
    pub delivered: f64,
    /// Median and 95th percentile of the delay in milliseconds.
    pub delay: (u64, u64),
    /// Number of packets on the air per text, counted on each link.
    pub transmissions: f64,
}

/// Report of a radio simulation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct RadioReport {
    /// Number of radios.
    pub radios: usize,
    /// Mean number of links of a radio.
    pub links: f64,
    /// Mean number of radios to which a path led when a text was sent.
    pub reachable: f64,
    /// Texts for everybody: by the node of the product, by a flood, and by direct delivery when author and
    /// recipient meet.
    pub room: [Way; 3],
    /// Texts for one person, by the same three ways; for the node, until the text was acknowledged.
    pub private: [Way; 3],
    /// Number of packets of every kind that a radio sent per second; most are announces and requests for
    /// what is missing.
    pub packets: f64,
}

/// Straight walk between random points at walking pace.
struct Walk {
    at: (f64, f64),
    to: (f64, f64),
    speed: f64,
}

type Links = Vec<BTreeSet<usize>>;

/// Returns the links of every radio in each second, the same for all ways.
fn walks(scenario: &Radios) -> Vec<Links> {
    let mut random = StdRng::seed_from_u64(scenario.seed);
    let point = |random: &mut StdRng| {
        (random.random_range(0.0..scenario.side), random.random_range(0.0..scenario.side))
    };
    let mut people: Vec<Walk> = (0..scenario.radios)
        .map(|_| Walk {
            at: point(&mut random),
            to: point(&mut random),
            speed: random.random_range(0.3..1.8),
        })
        .collect();
    let mut links: Links = vec![BTreeSet::new(); scenario.radios];
    let mut all = Vec::new();
    for _ in 0..=scenario.warm_up + scenario.seconds {
        for walk in &mut people {
            let (dx, dy) = (walk.to.0 - walk.at.0, walk.to.1 - walk.at.1);
            let left = dx.hypot(dy);
            if left <= walk.speed {
                (walk.at, walk.to) = (walk.to, point(&mut random));
            } else {
                walk.at = (walk.at.0 + dx / left * walk.speed, walk.at.1 + dy / left * walk.speed);
            }
        }
        let far =
            |a: usize, b: usize| (people[a].at.0 - people[b].at.0).hypot(people[a].at.1 - people[b].at.1);
        for (a, linked) in links.iter_mut().enumerate() {
            linked.retain(|b| far(a, *b) <= scenario.range);
        }
        let mut near: Vec<(u64, usize, usize)> = Vec::new();
        for a in 0..scenario.radios {
            near.extend(
                (a + 1..scenario.radios)
                    .filter(|b| far(a, *b) <= scenario.range)
                    .map(|b| ((far(a, b) * 1000.0) as u64, a, b)),
            );
        }
        near.sort_unstable();
        for (_, a, b) in near {
            if links[a].len() < scenario.links && links[b].len() < scenario.links {
                links[a].insert(b);
                links[b].insert(a);
            }
        }
        all.push(links.clone());
    }
    all
}

/// Text with its time in milliseconds from the start, its author, and its recipient unless it is for
/// everybody.
#[derive(Debug, Clone, Copy)]
struct Text {
    at: u64,
    from: usize,
    to: Option<usize>,
}

fn texts(scenario: &Radios) -> Vec<Text> {
    let mut random = StdRng::seed_from_u64(scenario.seed + 1);
    let span = scenario.seconds * 1_000 / 3;
    let mut some = |is_private: bool| -> Vec<Text> {
        let one = |n: usize| {
            let from = random.random_range(0..scenario.radios);
            let to = (from + random.random_range(1..scenario.radios)) % scenario.radios;
            Text {
                at: (scenario.warm_up * 1_000 + span * n as u64 / scenario.texts as u64) / STEP * STEP,
                from,
                to: is_private.then_some(to),
            }
        };
        (0..scenario.texts).map(one).collect()
    };
    let (room, private) = (some(false), some(true));
    [room, private].concat()
}

fn way(mut delays: Vec<u64>, wanted: usize, transmissions: u64, texts: usize) -> Way {
    delays.sort_unstable();
    let at = |share: f64| {
        delays
            .get(((delays.len() as f64 * share) as usize).min(delays.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0)
    };
    Way {
        delivered: delays.len() as f64 / wanted.max(1) as f64,
        delay: (at(0.5), at(0.95)),
        transmissions: transmissions as f64 / texts.max(1) as f64,
    }
}

/// Returns the radios within `hops` hops of one radio, with their number of hops.
fn reach(links: &Links, from: usize, hops: usize) -> BTreeMap<usize, usize> {
    let (mut found, mut queue) = (BTreeMap::from([(from, 0)]), VecDeque::from([(from, 0)]));
    while let Some((at, far)) = queue.pop_front() {
        if far < hops {
            for next in &links[at] {
                if !found.contains_key(next) {
                    found.insert(*next, far + 1);
                    queue.push_back((*next, far + 1));
                }
            }
        }
    }
    found
}

/// Simulates flooding: each radio that hears a text for the first time repeats it on all other links, and
/// none keeps it.
fn flood(scenario: &Radios, walks: &[Links], texts: &[Text]) -> Way {
    let (mut delays, mut wanted, mut sent) = (Vec::new(), 0, 0);
    for text in texts {
        let links = &walks[(text.at / 1_000) as usize];
        let found = reach(links, text.from, HOPS);
        sent += found
            .iter()
            .filter(|(_, far)| **far < HOPS)
            .map(|(node, far)| links[*node].len() - usize::from(*far > 0))
            .sum::<usize>() as u64;
        let heard = |node: &usize| found.get(node).filter(|far| **far > 0).map(|far| *far as u64 * AIR);
        match text.to {
            Some(to) => {
                wanted += 1;
                delays.extend(heard(&to));
            }
            None => {
                wanted += scenario.radios - 1;
                delays.extend((0..scenario.radios).filter_map(|node| heard(&node)));
            }
        }
    }
    way(delays, wanted, sent, texts.len())
}

/// Simulates direct delivery: the author keeps the text and hands it over when linked to a recipient.
fn direct(scenario: &Radios, walks: &[Links], texts: &[Text]) -> Way {
    let (mut delays, mut wanted) = (Vec::new(), 0);
    for text in texts {
        let begin = (text.at / 1_000) as usize;
        let met = |to: usize| {
            (begin..walks.len())
                .find(|second| walks[*second][text.from].contains(&to))
                .map(|second| (second - begin) as u64 * 1_000 + AIR)
        };
        let whom: Vec<usize> = text
            .to
            .map_or_else(|| (0..scenario.radios).filter(|node| *node != text.from).collect(), |to| vec![to]);
        wanted += whom.len();
        delays.extend(whom.into_iter().filter_map(met));
    }
    let sent = delays.len() as u64;
    way(delays, wanted, sent, texts.len())
}

struct Air {
    nodes: Vec<Node>,
    /// Time of arrival, order, receiver and sender of each packet.
    packets: BinaryHeap<Reverse<(u64, u64, usize, usize)>>,
    bytes: BTreeMap<u64, Vec<u8>>,
    next: u64,
    random: StdRng,
    /// Number of packets on the air by kind.
    sent: BTreeMap<u8, u64>,
}

fn identity(n: usize) -> Identity {
    let mut secret = [7; 32];
    // The number stays away from both ends, where X25519 sets some bits itself.
    secret[8..16].copy_from_slice(&(n as u64).to_le_bytes());
    let mut other = secret;
    other[31] = 9;
    Identity::new(secret, other)
}

/// Returns the id of a link at one end. The id is unique, as otherwise all radios would leave out the same
/// neighbour.
fn link(at: usize, to: usize) -> LinkId {
    LinkId(at as u64 * MOST + to as u64)
}

impl Air {
    fn new(scenario: &Radios) -> Self {
        let node = |n: usize| {
            let config = Config {
                nickname: format!("radio {n}"),
                capabilities: Capabilities::PRIVATE_MEDIA,
                ..Config::default()
            };
            let mut seed = [3; 32];
            seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
            Node::new(identity(n), config, seed)
        };
        let random = StdRng::seed_from_u64(scenario.seed + 2);
        Self {
            nodes: (0..scenario.radios).map(node).collect(),
            packets: BinaryHeap::new(),
            bytes: BTreeMap::new(),
            next: 0,
            random,
            sent: BTreeMap::new(),
        }
    }

    fn relink(&mut self, before: Option<&Links>, after: &Links, now: u64) {
        let nobody = BTreeSet::new();
        for (n, node) in self.nodes.iter_mut().enumerate() {
            let old = before.map_or(&nobody, |before| &before[n]);
            for gone in old.difference(&after[n]) {
                node.handle_link_down(link(n, *gone), now);
            }
            for new in after[n].difference(old) {
                node.handle_link_up(link(n, *new), 512, now);
            }
        }
    }

    fn step(&mut self, links: &Links, loss: f64, now: u64) {
        while let Some(Reverse((at, order, to, from))) =
            self.packets.peek().copied().filter(|Reverse((at, ..))| *at <= now)
        {
            self.packets.pop();
            let bytes = self.bytes.remove(&order).unwrap_or_default();
            if links[to].contains(&from) {
                self.nodes[to].handle_bytes(link(to, from), &bytes, at);
            }
        }
        for n in 0..self.nodes.len() {
            if self.nodes[n].poll_timeout() <= now {
                self.nodes[n].handle_timeout(now);
            }
            while let Some((link, bytes)) = self.nodes[n].poll_transmit(now) {
                *self.sent.entry(bytes.get(1).copied().unwrap_or_default()).or_default() += 1;
                if self.random.random_bool(loss) {
                    continue;
                }
                self.next += 1;
                self.packets.push(Reverse((now + AIR, self.next, (link.0 % MOST) as usize, n)));
                self.bytes.insert(self.next, bytes);
            }
        }
    }
}

/// Simulates the node of the product.
fn ours(scenario: &Radios, walks: &[Links], texts: &[Text]) -> (Way, Way, f64) {
    let mut air = Air::new(scenario);
    let by_peer: BTreeMap<_, usize> = air.nodes.iter().enumerate().map(|(n, node)| (node.me(), n)).collect();
    let (mut room, mut private) = (Vec::new(), Vec::new());
    let mut said: BTreeMap<String, u64> = BTreeMap::new();
    let end = (scenario.warm_up + scenario.seconds) * 1_000;
    for time in (0..end).step_by(STEP as usize) {
        let (now, second) = (START + time, (time / 1_000) as usize);
        if time.is_multiple_of(LOOK) {
            air.relink(second.checked_sub(1).map(|before| &walks[before]), &walks[second], now);
        }
        for (n, text) in texts.iter().enumerate().filter(|(_, text)| text.at == time) {
            let words = format!("text {n}");
            said.insert(words.clone(), time);
            match text.to {
                None => drop(air.nodes[text.from].say_to_all(&words, now)),
                Some(to) => {
                    let to = air.nodes[to].me();
                    // The text is refused only if a hundred wait already.
                    let _ = air.nodes[text.from].tell(to, words.clone(), words, now);
                }
            }
        }
        air.step(&walks[second], scenario.loss, now);
        for n in 0..air.nodes.len() {
            while let Some(event) = air.nodes[n].poll_event() {
                match event {
                    Event::Room { text, .. } => room.extend(said.get(&text).map(|at| time - at)),
                    Event::Private { from, id, .. } if by_peer.contains_key(&from) => {
                        air.nodes[n].confirm_stored(from, id, now)
                    }
                    Event::Delivery { id, state: Delivery::Delivered, .. } => {
                        private.extend(said.remove(&id).map(|at| time - at))
                    }
                    _ => {}
                }
            }
        }
    }
    let sent = |kinds: &[Kind]| kinds.iter().filter_map(|kind| air.sent.get(&kind.0)).sum::<u64>();
    let per_second = air.sent.values().sum::<u64>() as f64
        / scenario.radios as f64
        / (scenario.warm_up + scenario.seconds) as f64;
    let wanted = scenario.texts * (scenario.radios - 1);
    let room = way(room, wanted, sent(&[Kind::MESSAGE]), scenario.texts);
    (
        room,
        way(private, scenario.texts, sent(&[Kind::HANDSHAKE, Kind::ENCRYPTED]), scenario.texts),
        per_second,
    )
}

/// Runs all three ways.
#[must_use]
pub fn radios(scenario: &Radios) -> RadioReport {
    let (walks, texts) = (walks(scenario), texts(scenario));
    let (room, private): (Vec<Text>, Vec<Text>) = texts.iter().partition(|text| text.to.is_none());
    let (our_room, our_private, packets) = ours(scenario, &walks, &texts);
    let reachable = texts
        .iter()
        .map(|text| reach(&walks[(text.at / 1_000) as usize], text.from, usize::MAX).len() - 1)
        .sum::<usize>();
    let linked: usize = walks.iter().flatten().map(BTreeSet::len).sum();
    RadioReport {
        radios: scenario.radios,
        links: linked as f64 / (walks.len() * scenario.radios) as f64,
        reachable: reachable as f64 / texts.len() as f64,
        room: [our_room, flood(scenario, &walks, &room), direct(scenario, &walks, &room)],
        private: [our_private, flood(scenario, &walks, &private), direct(scenario, &walks, &private)],
        packets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_hears_what_a_flood_would_bring_with_fewer_packets() {
        let scenario =
            Radios { radios: 45, side: 190.0, warm_up: 20, seconds: 45, texts: 10, ..Radios::default() };
        let report = radios(&scenario);
        let [ours, flood, direct] = report.room;
        assert!(direct.delivered < flood.delivered, "the walks tell nothing apart: {report:?}");
        // All radios are within a few hops, so a flood misses almost none but takes more packets.
        assert!(
            ours.delivered >= flood.delivered * 0.95 && ours.transmissions < flood.transmissions,
            "{report:?}"
        );
        assert!(report.private[0].delivered > report.private[2].delivered, "{report:?}");
    }
}
