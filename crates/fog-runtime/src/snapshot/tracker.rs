//! Changes between the snapshots of one task.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

use twox_hash::XxHash3_128;

use super::encoded::Encoded;
use super::taken::{Source, Taken};
use super::{PAGE, RUN, Rest};

/// Finder of the changes between snapshots of one task.
///
/// Pages are compared by XXH3 hashes with a secret seed of this process, so that a job cannot make two
/// pages with the same hash. An accidental collision (2^-128) would only harm the job itself.
pub(crate) struct Tracker {
    seed: u64,
    series: u64,
    next: u32,
    /// Hashes of all pages that each image has had in the series.
    known: Vec<Vec<u128>>,
    zeros: u128,
}

impl Tracker {
    /// Draws its seeds, so it must be called before the sandbox is entered.
    pub(crate) fn new() -> Self {
        let random = || RandomState::new().build_hasher().finish();
        let seed = random();
        Self {
            seed,
            series: random(),
            next: 0,
            known: Vec::new(),
            zeros: XxHash3_128::oneshot_with_seed(seed, &[0; PAGE]),
        }
    }

    /// Takes a snapshot: whole if asked for or the first, otherwise with the changes since the last. `wasi`
    /// must encode like [`WasiState`](crate::wasi::WasiState).
    pub(crate) fn take<'a>(
        &mut self,
        memories: &[&'a [u8]],
        frames: &'a [u8],
        wasi: impl Encoded + 'a,
        rest: Rest,
        whole: bool,
    ) -> Result<Taken<'a>, String> {
        if whole || self.next == 0 {
            (self.next, self.series) = (0, self.series.wrapping_add(1));
            self.known = vec![Vec::new(); memories.len() + 1];
        }
        let (seed, zeros) = (self.seed, self.zeros);
        let mut images = Vec::with_capacity(self.known.len());
        for (memory, known) in memories.iter().zip(&mut self.known) {
            let mut changes = Changes::new(known, seed, zeros);
            memory.chunks(PAGE).for_each(|page| changes.page(page));
            images.push((changes.finish(memory.len()), Source::Memory(memory)));
        }
        if let Some(known) = self.known.last_mut() {
            let mut changes = Changes::new(known, seed, zeros);
            let bytes = wasi.pages(PAGE, &mut |page| {
                changes.page(page);
                Ok(())
            });
            let bytes = bytes.map_err(|e| e.to_string())?;
            images.push((changes.finish(bytes), Source::Wasi(Box::new(wasi), bytes)));
        }
        let number = self.next;
        // So long a series does not occur; starting again with a whole snapshot is always correct.
        self.next = self.next.checked_add(1).unwrap_or(0);
        Ok(Taken { series: self.series, number, images, frames, rest })
    }
}

/// Finds the ranges of bytes that changed, page by page.
struct Changes<'a> {
    known: &'a mut Vec<u128>,
    seed: u64,
    zeros: u128,
    number: usize,
    pending: Option<(usize, usize)>,
    ranges: Vec<Range<usize>>,
}

impl<'a> Changes<'a> {
    fn new(known: &'a mut Vec<u128>, seed: u64, zeros: u128) -> Self {
        Self { known, seed, zeros, number: 0, pending: None, ranges: Vec::new() }
    }

    /// Adds the next page; only the last one may be shorter.
    fn page(&mut self, page: &[u8]) {
        let hash = XxHash3_128::oneshot_with_seed(self.seed, page);
        let number = self.number;
        self.number += 1;
        if self.known.len() <= number {
            // A new page is compared with zeros, so the first snapshot leaves zeros out.
            self.known.push(self.zeros);
        }
        if std::mem::replace(&mut self.known[number], hash) == hash {
            return self.close();
        }
        match &mut self.pending {
            Some((first, end)) if (number - *first) * PAGE < RUN => *end = number + 1,
            _ => {
                self.close();
                self.pending = Some((number, number + 1));
            }
        }
    }

    fn close(&mut self) {
        if let Some((first, end)) = self.pending.take() {
            self.ranges.push(first * PAGE..end * PAGE);
        }
    }

    /// Returns the ranges of an image of `bytes` bytes.
    fn finish(mut self, bytes: usize) -> Vec<Range<usize>> {
        self.close();
        if let Some(last) = self.ranges.last_mut() {
            last.end = last.end.min(bytes);
        }
        // A reader of the series still has the pages behind the end. If such a page comes back, it must
        // count as changed whatever it holds; no page has this hash except by accident.
        self.known[self.number..].fill(!self.zeros);
        self.ranges
    }
}
