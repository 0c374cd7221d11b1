//! Comparison of this clock with those of peers: which one is off, and by how much.

use super::{Event, LinkId, Node};
use crate::announce::Announce;
use crate::frame::Frame;
use crate::identity::PeerId;

/// Milliseconds by which the time of an announce may differ from this clock without proof; Android's bound.
pub(super) const MAX_ANNOUNCE_SKEW_MS: u64 = 600_000;
/// Difference in milliseconds from which a clock is reported; iPhones ignore this node from two minutes on.
pub(super) const CLOCK_WARN_MS: u64 = 90_000;
/// Clocks that differ by at most this many milliseconds agree.
const AGREE_MS: u64 = 120_000;
/// Change of a difference, in milliseconds, after which it is reported again.
const CHANGED_MS: u64 = 60_000;
/// Milliseconds for which the clock of a neighbour counts after its last announce.
const CLOCK_LIFE_MS: u64 = 600_000;
/// Maximum number of clocks that are compared at once.
const MAX_CLOCKS: usize = 9;
/// Maximum number of peers asked at once to prove that an announce of another time is no recording.
const MAX_DOUBTED: usize = 16;
/// Milliseconds within which a peer that is present has announced itself again.
const STILL_HERE_MS: u64 = 60_000;
/// Milliseconds in which a peer must prove that it is present.
const DOUBT_LIFE_MS: u64 = 20_000;

/// Difference between the clock of a neighbour and this one.
#[derive(Debug, Clone, Copy)]
struct Sample {
    peer: PeerId,
    offset: i64,
    /// Time on the announce that the difference was read from.
    announced: u64,
    heard: u64,
    /// Whether the announce is no recording: its time is now by this clock, or its author proved to be
    /// present.
    is_sure: bool,
}

/// Comparison of this clock with those of neighbours.
#[derive(Debug, Default)]
pub(super) struct ClockCheck {
    samples: Vec<Sample>,
    told: Option<(i64, u32)>,
}

impl ClockCheck {
    /// Adds the newest announce of a neighbour.
    fn add(&mut self, new: Sample) {
        let known = self.samples.iter().position(|known| known.peer == new.peer);
        if let Some(known) = known {
            let before = self.samples[known];
            // An older announce may be a recording, unless the clock of its author was corrected.
            if new.announced <= before.announced
                && (!new.is_sure || before.offset.unsigned_abs() <= MAX_ANNOUNCE_SKEW_MS)
            {
                return;
            }
            self.samples.remove(known);
        } else if self.samples.len() >= MAX_CLOCKS {
            let place = self.samples.iter().position(|known| !known.is_sure).unwrap_or(0);
            self.samples.remove(place);
        }
        self.samples.push(new);
    }

    /// Median of the differences, and number of clocks that agree with it. Of two medians, the smaller
    /// difference counts. Announces that may be recordings count only when there are no others.
    fn middle(&self) -> Option<(i64, u32)> {
        let has_sure = self.samples.iter().any(|sample| sample.is_sure);
        let mut offsets: Vec<i64> = self
            .samples
            .iter()
            .filter(|sample| sample.is_sure || !has_sure)
            .map(|sample| sample.offset)
            .collect();
        offsets.sort_unstable();
        let (low, high) =
            (*offsets.get(offsets.len().checked_sub(1)? / 2)?, *offsets.get(offsets.len() / 2)?);
        let middle = if low.unsigned_abs() <= high.unsigned_abs() { low } else { high };
        let agreeing = offsets.iter().filter(|offset| offset.abs_diff(middle) <= AGREE_MS).count();
        Some((middle, agreeing as u32))
    }

    /// Returns the difference and the number of clocks if they are to be reported anew.
    fn news(&mut self) -> Option<(i64, u32)> {
        let now = self.middle().filter(|(offset, _)| offset.unsigned_abs() > CLOCK_WARN_MS);
        let is_same = match (now, self.told) {
            (Some((offset, peers)), Some((told, told_peers))) => {
                offset.abs_diff(told) < CHANGED_MS && peers == told_peers
            }
            (None, None) => true,
            _ => false,
        };
        if is_same {
            return None;
        }
        self.told = now;
        Some(now.unwrap_or_default())
    }
}

/// An announce whose time is not now by this clock; its author is asked to prove that they are present.
pub(super) struct Doubted {
    peer: PeerId,
    frame: Frame,
    link: Option<LinkId>,
    since: u64,
}

/// Milliseconds by which `time` is ahead of `now`; `None` from the year 10000 on.
fn ahead(time: u64, now: u64) -> Option<i64> {
    const YEAR_10000: u64 = 253_402_300_800_000;
    (time < YEAR_10000).then(|| time.cast_signed() - now.min(YEAR_10000).cast_signed())
}

impl Node {
    /// Milliseconds by which a peer's clock is ahead of this one; 0 if unknown.
    pub(super) fn offset_of(&self, peer: PeerId) -> i64 {
        self.people.get(&peer).map_or(0, |known| known.clock_offset)
    }

    /// Current time by the clock of a peer.
    pub(super) fn now_of(&self, peer: PeerId, now: u64) -> u64 {
        now.saturating_add_signed(self.offset_of(peer))
    }

    /// Time for packets that others judge by their clocks: this clock, corrected if two or more neighbours
    /// agree that it is off.
    pub(super) fn agreed_now(&self, now: u64) -> u64 {
        let agreed = self
            .clock
            .middle()
            .filter(|(offset, peers)| *peers >= 2 && offset.unsigned_abs() > CLOCK_WARN_MS);
        now.saturating_add_signed(agreed.map_or(0, |(offset, _)| offset))
    }

    /// Learns the clock of the author of a genuine announce; returns whether the announce can be believed
    /// without proof.
    pub(super) fn learn_clock(&mut self, frame: &Frame, link: Option<LinkId>, now: u64) -> bool {
        let Some(offset) = ahead(frame.timestamp, now) else { return false };
        let known = self.people.get(&frame.sender);
        let is_now = offset.unsigned_abs() <= MAX_ANNOUNCE_SKEW_MS;
        let is_usual = known.is_some_and(|known| offset.abs_diff(known.clock_offset) <= MAX_ANNOUNCE_SKEW_MS);
        let is_old = known.is_some_and(|known| frame.timestamp < known.announced_at);
        let is_heard = known.is_some_and(|known| now.saturating_sub(known.believed) < STILL_HERE_MS);
        // An old announce: kept by others for latecomers, or a recording of an author who is heard at
        // another time.
        if !is_now && is_old && (is_usual || is_heard) {
            return false;
        }
        let is_sure = is_now || is_usual;
        if frame.ttl == crate::MAX_TTL {
            self.add_sample(frame, offset, is_sure, now);
        }
        if !is_sure {
            self.doubt(frame, link, now);
        }
        is_sure
    }

    fn add_sample(&mut self, frame: &Frame, offset: i64, is_sure: bool, now: u64) {
        self.clock.add(Sample {
            peer: frame.sender,
            offset,
            announced: frame.timestamp,
            heard: now,
            is_sure,
        });
        self.tell_clock();
    }

    fn tell_clock(&mut self) {
        if let Some((millis, peers)) = self.clock.news() {
            self.say(Event::ClockOff { millis, peers });
        }
    }

    /// Keeps an announce of another time and begins a session with its author: only a peer that is present
    /// can answer.
    fn doubt(&mut self, frame: &Frame, link: Option<LinkId>, now: u64) {
        let peer = frame.sender;
        if let Some(known) = self.doubted.iter_mut().find(|doubted| doubted.peer == peer) {
            // A copy straight from the author tells whose link it is.
            if frame.timestamp >= known.frame.timestamp && frame.ttl >= known.frame.ttl {
                (known.frame, known.link) = (frame.clone(), link);
            }
        } else {
            if self.doubted.len() >= MAX_DOUBTED {
                self.doubted.remove(0);
            }
            self.doubted.push(Doubted { peer, frame: frame.clone(), link, since: now });
        }
        self.begin_unasked(peer, link, now);
    }

    /// A peer proved to be present: its announce is believed, whatever its clock shows.
    pub(super) fn proved_present(&mut self, peer: PeerId, now: u64) {
        let Some(place) = self.doubted.iter().position(|doubted| doubted.peer == peer) else { return };
        let Doubted { frame, link, .. } = self.doubted.remove(place);
        let (Ok(announce), Some(offset)) = (Announce::decode(frame.payload()), ahead(frame.timestamp, now))
        else {
            return;
        };
        // The author may have set their clock back: this counts as the newest announce.
        if let Some(known) = self.people.get_mut(&peer) {
            known.announced_at = known.announced_at.min(frame.timestamp);
        }
        if frame.ttl == crate::MAX_TTL {
            self.clock.samples.retain(|sample| sample.peer != peer);
            self.add_sample(&frame, offset, true, now);
        }
        self.believe(&frame, announce, link, now);
    }

    /// Drops doubted announces and clocks that are too old.
    pub(super) fn tidy_clocks(&mut self, now: u64) {
        self.doubted.retain(|doubted| now.saturating_sub(doubted.since) < DOUBT_LIFE_MS);
        let before = self.clock.samples.len();
        self.clock.samples.retain(|sample| now.saturating_sub(sample.heard) < CLOCK_LIFE_MS);
        if self.clock.samples.len() != before {
            self.tell_clock();
        }
    }

    /// Discards all known clocks, because this clock was set.
    pub(super) fn forget_clocks(&mut self) {
        self.clock.samples.clear();
        self.doubted.clear();
        self.tell_clock();
        for known in self.people.values_mut() {
            known.clock_offset = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n: u8, offset: i64, is_sure: bool) -> Sample {
        Sample {
            peer: PeerId([n; 8]),
            offset,
            announced: 1_000_000_000_000_u64.saturating_add_signed(offset),
            heard: 0,
            is_sure,
        }
    }

    #[test]
    fn the_middle_of_several_clocks_counts_and_how_many_agree() {
        let mut check = ClockCheck::default();
        check.add(sample(1, 3_600_000, true));
        assert_eq!(check.news(), Some((3_600_000, 1)));
        // Of two clocks that contradict each other, the one that agrees with this clock.
        check.add(sample(2, 0, true));
        assert_eq!(check.news(), Some((0, 0)));
        check.add(sample(3, 3_601_000, true));
        assert_eq!(check.news(), Some((3_600_000, 2)));
        check.add(sample(4, 3_602_000, true));
        assert_eq!(check.news(), Some((3_600_000, 3)), "more of them agree");
        check.add(sample(4, 3_602_500, true));
        assert_eq!(check.news(), None, "nothing that is new");
    }

    #[test]
    fn recordings_say_nothing_beside_somebody_who_is_there() {
        let mut check = ClockCheck::default();
        for n in 1..=9 {
            check.add(sample(n, -86_400_000, false));
        }
        assert_eq!(check.news(), Some((-86_400_000, 9)), "alone they are all there is");
        check.add(sample(20, 0, true));
        assert_eq!((check.news(), check.samples.len()), (Some((0, 0)), MAX_CLOCKS));
        // An older announce of the same peer does not count either.
        check.add(sample(20, -86_400_000, false));
        assert!(check.samples.iter().any(|sample| sample.peer == PeerId([20; 8]) && sample.offset == 0));
    }

    #[test]
    fn no_clock_shows_the_end_of_time() {
        assert_eq!((ahead(u64::MAX, 5), ahead(0, 5), ahead(5_000, 0)), (None, Some(-5), Some(5_000)));
    }
}
