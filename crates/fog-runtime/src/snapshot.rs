//! State of a stopped task, without its module and inputs: whole, or the changes since the snapshot before.
//! `docs/checkpoint.md` describes the format.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::ops::Range;

use fog_types::WorkUnits;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use twox_hash::XxHash3_128;

use self::encoded::Encoded;
use self::reading::{ImageReader, Values};
use crate::wasi::WasiState;

pub(crate) mod encoded;
mod reading;

/// Version of the snapshot format, of the saved frames, and of the points at which a program is charged. A
/// snapshot of another version, or of another cost table, cannot be continued.
pub const SNAPSHOT_VERSION: u32 = 4;
/// Largest number of tables of a module: what the engine accepts.
const MOST_TABLES: usize = 100;
/// Largest number of memories and files of a snapshot, of stretches of all of them, of globals, and of
/// table entries. Many small items take many times their encoded size in memory.
const MOST_IMAGES: usize = 16;
const MOST_RUNS: usize = 6 << 20;
const MOST_GLOBALS: usize = 1_000_000;
const MOST_ENTRIES: usize = 10_000_000;

/// Size of the pages in which changes are found, bytes; pages of zeros are left out.
const PAGE: usize = 4 << 10;
/// Largest size up to which adjacent pages are compressed together, bytes.
const RUN: usize = 64 << 10;

/// State of a task between two of its instructions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    cost_version: u32,
    /// Id of the series of snapshots that it belongs to.
    series: u64,
    /// Position in the series: 0 is whole, a later one holds the changes since the one before.
    number: u32,
    /// Linear memories, then the files and the rest of the WASI state.
    images: Vec<Image>,
    /// Mutable globals by number.
    pub(crate) globals: Vec<(u32, Number)>,
    /// Saved frames of all active functions.
    #[serde(with = "serde_bytes")]
    pub(crate) frames: Vec<u8>,
    /// Units left of the slice, at most zero.
    pub(crate) left: i64,
    /// Total units of all slices so far.
    pub(crate) granted: u64,
    /// Milliseconds of running time so far.
    pub(crate) active_millis: u64,
    /// Tables of modules that change them: the number of each entry's function, 0 for null.
    pub(crate) tables: Vec<Vec<u32>>,
}

/// Value of a global, by its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Number {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
    /// Number of a function among the targets of references; 0 for null.
    Function(u32),
    /// Null of a reference type other than functions.
    Null,
}

/// Contents of a memory: stretches (runs) to be written one after the other over zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Image {
    bytes: u64,
    runs: Vec<Run>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    /// Number of its first page.
    page: u32,
    /// Length before compression in bytes, at most [`RUN`].
    length: u32,
    /// LZ4-compressed bytes; empty for zeros.
    content: ByteBuf,
}

/// Error of a snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The bytes are not a snapshot, or are damaged.
    #[error("the checkpoint's state is damaged: {0}")]
    Damaged(String),
    /// The snapshot is of another version of the format or of the cost table.
    #[error(
        "the checkpoint has format {version} with cost table {cost_version}; this program continues format {SNAPSHOT_VERSION} with cost table {}",
        fog_instrument::COST_VERSION
    )]
    Version {
        /// Format version of the snapshot.
        version: u32,
        /// Cost table version of the snapshot.
        cost_version: u32,
    },
}

fn damaged(what: &str) -> SnapshotError {
    SnapshotError::Damaged(what.to_owned())
}

/// State of a task besides its memories, files and saved frames.
pub(crate) struct Rest {
    pub(crate) globals: Vec<(u32, Number)>,
    pub(crate) left: i64,
    pub(crate) granted: u64,
    pub(crate) active_millis: u64,
    pub(crate) tables: Vec<Vec<u32>>,
}

impl Snapshot {
    /// Work units used when it was taken.
    #[must_use]
    pub fn units(&self) -> WorkUnits {
        units(self.granted, self.left)
    }

    /// Whether it can be continued without an earlier one.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.number == 0
    }

    /// Bytes of all linear memories together.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_sizes().fold(0, u64::saturating_add)
    }

    /// Whether bytes with this beginning are a whole snapshot; `None` when they are no snapshot.
    #[must_use]
    pub fn begins_whole(bytes: &[u8]) -> Option<bool> {
        let (_, _, _, number) = postcard::take_from_bytes::<(u32, u32, u64, u32)>(bytes).ok()?.0;
        Some(number == 0)
    }

    /// Encodes the snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] when it cannot be encoded, which does not happen in practice.
    pub fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        postcard::to_stdvec(self).map_err(|e| SnapshotError::Damaged(e.to_string()))
    }

    /// Decodes untrusted bytes.
    ///
    /// # Errors
    /// [`SnapshotError`]. Beside the size of `bytes`, at most some hundred MiB are allocated.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        Self::decode_from(bytes)
    }

    /// Decodes a snapshot piece by piece, without all its bytes in memory. Reads to its end, and one more
    /// byte to check that nothing follows.
    ///
    /// # Errors
    /// The same as for [`decode`](Self::decode); bytes that cannot be read count as missing.
    pub(crate) fn decode_from(from: impl Read) -> Result<Self, SnapshotError> {
        Self::read(from, true)
    }

    /// Decodes a snapshot without its contents: stretches, globals, frames and tables are read, checked and
    /// left out.
    ///
    /// # Errors
    /// The same as for [`decode`](Self::decode), and for a stretch at an impossible position. Stretches are
    /// not decompressed.
    pub(crate) fn outline_from(from: impl Read) -> Result<Self, SnapshotError> {
        Self::read(from, false)
    }

    fn read(from: impl Read, is_kept: bool) -> Result<Self, SnapshotError> {
        let mut from = Values::new(from);
        let (version, cost_version) = from.take::<(u32, u32)>()?;
        if (version, cost_version) != (SNAPSHOT_VERSION, fog_instrument::COST_VERSION) {
            return Err(SnapshotError::Version { version, cost_version });
        }
        let (series, number) = from.take::<(u64, u32)>()?;
        let mut runs_left = MOST_RUNS;
        let mut images = Vec::new();
        for _ in 0..from.take_count(MOST_IMAGES, "it has too many memories")? {
            let bytes = from.take()?;
            let count = from.take_count(runs_left, "it has too many stretches")?;
            runs_left -= count;
            let mut runs = Vec::new();
            for _ in 0..count {
                let run: Run = from.take()?;
                if is_kept { runs.push(run) } else { run.check(bytes)? }
            }
            images.push(Image { bytes, runs });
        }
        if images.is_empty() {
            return Err(damaged("it has no files"));
        }
        let (globals, _) = from.take_counted(MOST_GLOBALS, "it has too many globals", is_kept)?;
        let frames = from.take_bytes(is_kept)?;
        let (left, granted, active_millis) = from.take()?;
        let mut entries_left = MOST_ENTRIES;
        let mut tables = Vec::new();
        for _ in 0..from.take_count(MOST_TABLES, "it has too many tables")? {
            let (table, count) = from.take_counted(entries_left, "its tables are too large", is_kept)?;
            entries_left -= count;
            tables.push(table);
        }
        if !from.expect_end() {
            return Err(damaged("it is followed by something"));
        }
        Ok(Self {
            version,
            cost_version,
            series,
            number,
            images,
            globals,
            frames,
            left,
            granted,
            active_millis,
            tables,
        })
    }

    /// Whether it holds the changes since `before`.
    pub(crate) fn follows(&self, before: &Self) -> bool {
        self.series == before.series
            && before.number.checked_add(1) == Some(self.number)
            && self.images.len() == before.images.len()
    }

    /// Applies the changes in `next`.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] when `next` does not follow this snapshot.
    pub fn advance(&mut self, next: Self) -> Result<(), SnapshotError> {
        if !next.follows(self) {
            return Err(damaged("a part of it does not follow the one before"));
        }
        if self.runs() + next.runs() > MOST_RUNS {
            self.images.iter_mut().for_each(Image::leave_out_covered);
            if self.runs() + next.runs() > MOST_RUNS {
                return Err(damaged("it has too many stretches"));
            }
        }
        for (image, changed) in self.images.iter_mut().zip(next.images) {
            if changed.bytes < image.bytes {
                // The cut off content is gone; if the image grows again, later snapshots hold its pages.
                image.runs.retain(|run| u64::from(run.page) * (PAGE as u64) < changed.bytes);
            }
            image.bytes = changed.bytes;
            image.runs.extend(changed.runs);
        }
        let Self { number, globals, frames, left, granted, active_millis, tables, .. } = next;
        (self.number, self.globals, self.frames, self.tables) = (number, globals, frames, tables);
        (self.left, self.granted, self.active_millis) = (left, granted, active_millis);
        Ok(())
    }

    fn runs(&self) -> usize {
        self.images.iter().map(|image| image.runs.len()).sum()
    }

    /// Returns it as one whole snapshot.
    pub(crate) fn settled(mut self) -> Self {
        self.number = 0;
        self
    }

    pub(crate) fn memory_sizes(&self) -> impl Iterator<Item = u64> + '_ {
        self.images.iter().rev().skip(1).rev().map(|image| image.bytes)
    }

    /// Writes the content of memory `index`, which has at least the size given by the snapshot.
    pub(crate) fn fill(&self, index: usize, memory: &mut [u8]) -> Result<(), SnapshotError> {
        self.images.get(index).ok_or_else(|| damaged("a memory is missing"))?.fill(memory)
    }

    /// Frees the content that [`fill`](Self::fill) wrote.
    pub(crate) fn forget(&mut self, index: usize) {
        if let Some(image) = self.images.get_mut(index) {
            image.runs = Vec::new();
        }
    }

    /// Decodes the WASI state, of at most `limit` bytes. The encoded form is never in memory as a whole.
    pub(crate) fn wasi(&self, limit: u64) -> Result<WasiState, SnapshotError> {
        let image = self.images.last().ok_or_else(|| damaged("it has no files"))?;
        if image.bytes > limit {
            return Err(damaged("its files are larger than the task's"));
        }
        let mut reader = ImageReader::new(image)?;
        // Room for the longest piece of a file, name or text of a link.
        let mut scratch = vec![0; RUN];
        let state = postcard::from_io((&mut reader, &mut scratch)).map(|(state, _)| state);
        // A damaged stretch is a better reason than missing bytes.
        let left = reader.finish()?;
        let state = state.map_err(|e| SnapshotError::Damaged(e.to_string()))?;
        if left == 0 { Ok(state) } else { Err(damaged("its files are followed by something")) }
    }
}

#[cfg(test)]
impl Snapshot {
    /// Checks that it has the content of `taken`.
    pub(crate) fn assert_is(&self, taken: &Taken<'_>) {
        assert_eq!(self.images.len(), taken.images.len());
        for (number, (image, (_, source))) in self.images.iter().zip(&taken.images).enumerate() {
            let bytes = match source {
                Source::Memory(bytes) => bytes.to_vec(),
                Source::Wasi(state, _) => {
                    let mut bytes = Vec::new();
                    let mut keep = |page: &[u8]| {
                        bytes.extend_from_slice(page);
                        Ok(())
                    };
                    state.pages(PAGE, &mut keep).unwrap_or_default();
                    bytes
                }
            };
            let mut filled = vec![0xff; usize::try_from(image.bytes).unwrap_or(0)];
            image.fill(&mut filled).unwrap_or_default();
            let wrong = filled.iter().zip(bytes.iter()).filter(|(here, there)| here != there).count();
            assert_eq!(
                (filled.len(), wrong),
                (bytes.len(), 0),
                "image {number}: bytes, and bytes that are wrong"
            );
        }
    }
}

impl Image {
    /// Removes stretches whose pages are all written again by later ones.
    fn leave_out_covered(&mut self) {
        // Stretches beyond the largest memory are kept.
        let mut covered = vec![false; MOST_RUNS];
        let mut is_needed = vec![true; self.runs.len()];
        for (run, is_needed) in self.runs.iter().zip(&mut is_needed).rev() {
            let (first, length) = (run.page as usize, run.length as usize);
            *is_needed = covered
                .get(first..first.saturating_add(length.div_ceil(PAGE)))
                .is_none_or(|pages| pages.contains(&false));
            if let Some(pages) = covered.get_mut(first..first.saturating_add(length / PAGE)) {
                pages.fill(true);
            }
        }
        let mut is_needed = is_needed.into_iter();
        self.runs.retain(|_| is_needed.next().unwrap_or(true));
    }

    fn fill(&self, target: &mut [u8]) -> Result<(), SnapshotError> {
        // The target may hold other bytes, such as the module's initial data.
        target.fill(0);
        let mut buffer = vec![0; RUN];
        for run in &self.runs {
            let at = run.page as usize * PAGE;
            let length = run.length as usize;
            let piece = buffer.get_mut(..length).ok_or_else(|| damaged("a stretch is too long"))?;
            run.decompress(piece)?;
            // Files may have become shorter since.
            let end = (at + length).min(target.len());
            if at < end {
                target[at..end].copy_from_slice(&piece[..end - at]);
            }
        }
        Ok(())
    }
}

impl Run {
    /// Checks that it lies within an image of `image` bytes. Decompressing would tell no more about its
    /// origin and take a thousand times as long as sending it.
    fn check(&self, image: u64) -> Result<(), SnapshotError> {
        match () {
            () if self.length as usize > RUN => Err(damaged("a stretch is too long")),
            () if u64::from(self.page) * PAGE as u64 >= image.max(1) => {
                Err(damaged("a stretch lies behind its memory"))
            }
            () => Ok(()),
        }
    }

    /// Decompresses it into `target`, which has its length.
    fn decompress(&self, target: &mut [u8]) -> Result<(), SnapshotError> {
        if self.content.is_empty() {
            target.fill(0);
            return Ok(());
        }
        let written = lz4_flex::block::decompress_into(&self.content, target)
            .map_err(|e| SnapshotError::Damaged(e.to_string()))?;
        if written == target.len() { Ok(()) } else { Err(damaged("a stretch is too short")) }
    }
}

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
    /// must encode like [`WasiState`].
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

/// Snapshot of a stopped task that is not compressed yet: it refers to memory, files and frames of the task
/// without copying them.
pub struct Taken<'a> {
    series: u64,
    number: u32,
    images: Vec<Shown<'a>>,
    frames: &'a [u8],
    rest: Rest,
}

/// An image: the ranges that are part of the snapshot, and the source of all its bytes.
type Shown<'a> = (Vec<Range<usize>>, Source<'a>);

enum Source<'a> {
    Memory(&'a [u8]),
    /// WASI state and its length in bytes; encoded page by page each time, because its files may take 1
    /// GiB.
    Wasi(Box<dyn Encoded + 'a>, usize),
}

impl Source<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::Wasi(_, bytes) => *bytes,
        }
    }

    /// Passes the bytes of each range to `take`, one after the other.
    fn ranges(
        &self,
        ranges: &[Range<usize>],
        mut take: impl FnMut(&Range<usize>, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => {
                ranges.iter().try_for_each(|range| take(range, bytes.get(range.clone()).unwrap_or_default()))
            }
            Self::Wasi(state, _) => {
                let mut ranges = ranges.iter().peekable();
                let (mut at, mut piece) = (0, Vec::with_capacity(RUN));
                // Ranges begin at page boundaries, and end at one or at the end of the image.
                state.pages(PAGE, &mut |page| {
                    if let Some(range) = ranges.peek().copied().filter(|range| range.contains(&at)) {
                        piece.extend_from_slice(page);
                        if at + page.len() >= range.end {
                            take(range, &piece)?;
                            piece.clear();
                            ranges.next();
                        }
                    }
                    at += page.len();
                    Ok(())
                })?;
                if ranges.next().is_some() {
                    Err(io::Error::other("the files changed while a checkpoint was taken"))
                } else {
                    Ok(())
                }
            }
        }
    }
}

/// Fields after the images in the encoding of a [`Snapshot`].
#[derive(Serialize)]
struct Tail<'a> {
    globals: &'a [(u32, Number)],
    #[serde(with = "serde_bytes")]
    frames: &'a [u8],
    left: i64,
    granted: u64,
    active_millis: u64,
    tables: &'a [Vec<u32>],
}

impl Taken<'_> {
    /// Work units used, as in [`Snapshot::units`].
    #[must_use]
    pub fn units(&self) -> WorkUnits {
        units(self.rest.granted, self.rest.left)
    }

    /// Whether it is whole, as in [`Snapshot::is_whole`].
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.number == 0
    }

    /// Bytes of all memories, as in [`Snapshot::memory_bytes`].
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.images.iter().rev().skip(1).map(|(_, source)| source.len() as u64).sum()
    }

    /// Writes the encoded [`Snapshot`] while compressing it, so that a reader can begin at once.
    ///
    /// # Errors
    /// The error of `out`.
    pub fn write(&self, mut out: impl io::Write) -> io::Result<()> {
        let put = |out: &mut dyn io::Write, encoded: postcard::Result<Vec<u8>>| {
            out.write_all(&encoded.map_err(io::Error::other)?)
        };
        // Reused, because new memory costs a page fault for every 4 KiB.
        let mut content = vec![0; lz4_flex::block::get_maximum_output_size(RUN)];
        put(
            &mut out,
            postcard::to_stdvec(&(
                SNAPSHOT_VERSION,
                fog_instrument::COST_VERSION,
                self.series,
                self.number,
                self.images.len(),
            )),
        )?;
        for (ranges, source) in &self.images {
            put(&mut out, postcard::to_stdvec(&(source.len() as u64, ranges.len())))?;
            source.ranges(ranges, |range, bytes| {
                let length = compress(bytes, &mut content)?;
                // The fields of a `Run`, without another copy of its content.
                put(
                    &mut out,
                    postcard::to_stdvec(&((range.start / PAGE) as u32, bytes.len() as u32, length)),
                )?;
                out.write_all(&content[..length])
            })?;
        }
        let Rest { globals, left, granted, active_millis, tables } = &self.rest;
        let tail = Tail {
            globals,
            frames: self.frames,
            left: *left,
            granted: *granted,
            active_millis: *active_millis,
            tables,
        };
        encoded::pages(&tail, RUN, |page| out.write_all(page)).map(drop)
    }

    /// Returns the compressed snapshot, independent of the task.
    ///
    /// # Errors
    /// [`SnapshotError`] when it cannot be encoded, which does not happen in practice.
    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).map_err(|e| SnapshotError::Damaged(e.to_string()))?;
        Snapshot::decode(&bytes)
    }
}

fn units(granted: u64, left: i64) -> WorkUnits {
    WorkUnits(granted.saturating_add_signed(left.saturating_neg()))
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

/// Compresses a run into `content`, which is large enough; returns the length, 0 for zeros.
fn compress(bytes: &[u8], content: &mut [u8]) -> io::Result<usize> {
    if bytes.iter().all(|byte| *byte == 0) {
        Ok(0)
    } else {
        lz4_flex::block::compress_into(bytes, content).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rest() -> Rest {
        Rest {
            globals: vec![(3, Number::F64(7))],
            left: -4,
            granted: 10,
            active_millis: 5,
            tables: vec![vec![0, 7], vec![]],
        }
    }

    fn filled(snapshot: &Snapshot, bytes: usize) -> Vec<u8> {
        let mut memory = vec![0xff; bytes];
        snapshot.fill(0, &mut memory).unwrap();
        memory
    }

    proptest! {
        /// After any writes between snapshots, the series gives the last memory.
        #[test]
        fn a_row_of_snapshots_is_the_memory(writes in proptest::collection::vec(proptest::collection::vec((0_usize..330_000, 0_usize..9_000, any::<u8>()), 0..4), 1..9)) {
            let mut memory = vec![0_u8; 262_144];
            let mut tracker = Tracker::new();
            let mut row: Option<Snapshot> = None;
            for round in writes {
                for (at, length, value) in round {
                    if at >= 290_000 {
                        // Linear memory grows by pages of 64 KiB.
                        memory.resize((memory.len() + 65_536).min(1 << 20), 0);
                    }
                    if at % 8 == 3 {
                        // The WASI state becomes shorter, to any length, and longer again by zeros.
                        memory.truncate(length * 29);
                    }
                    let end = (at + length).min(memory.len());
                    if at < end {
                        memory[at..end].fill(value);
                    }
                }
                let snapshot = tracker.take(&[&memory], &[1, 2, 3], WasiState::default(), rest(), false).unwrap();
                let (whole, mut bytes) = (snapshot.is_whole(), Vec::new());
                snapshot.write(&mut bytes).unwrap();
                prop_assert_eq!(Snapshot::begins_whole(&bytes), Some(whole));
                let snapshot = Snapshot::decode(&bytes).unwrap();
                prop_assert_eq!(snapshot.encode().unwrap(), bytes);
                match &mut row {
                    None => row = Some(snapshot),
                    Some(row) => row.advance(snapshot).unwrap(),
                }
            }
            let row = row.unwrap();
            prop_assert_eq!(row.memory_bytes(), memory.len() as u64);
            prop_assert_eq!(filled(&row, memory.len()), memory);
            prop_assert_eq!(row.wasi(1 << 20).unwrap(), WasiState::default());
            prop_assert_eq!(row.units(), WorkUnits(14));
        }
    }

    #[test]
    fn only_what_changed_is_kept_and_nothing_out_of_turn_is_taken() {
        let mut memory: Vec<u8> =
            (0..4_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut tracker = Tracker::new();
        let mut take = |memory: &[u8], whole| {
            tracker
                .take(&[memory], &[1, 2, 3], WasiState::default(), rest(), whole)
                .unwrap()
                .snapshot()
                .unwrap()
        };
        let first = take(&memory, false);
        memory[1_000_000] ^= 1;
        let second = take(&memory, false);
        memory[2_000_000] ^= 1;
        let third = take(&memory, false);
        assert!(first.is_whole() && !second.is_whole());
        assert!(second.encode().unwrap().len() < 2 * PAGE, "{}", second.encode().unwrap().len());
        assert!(first.clone().advance(third.clone()).is_err(), "one is left out");
        let whole = take(&memory, true);
        assert!(whole.is_whole() && first.clone().advance(whole).is_err());
        let mut row = first;
        row.advance(second.clone()).unwrap();
        assert!(row.advance(second).is_err(), "twice the same");
        row.advance(third).unwrap();
        assert_eq!(filled(&row, memory.len()), memory);
    }

    #[test]
    fn sizes_and_tables_from_anywhere_are_bounded() {
        let mut whole = Tracker::new()
            .take(&[&[7; 10_000]], &[1, 2, 3], WasiState::default(), rest(), false)
            .unwrap()
            .snapshot()
            .unwrap();
        let image = whole.images[0].clone();
        whole.images.insert(0, Image { bytes: u64::MAX, ..image });
        assert_eq!(Snapshot::decode(&whole.encode().unwrap()).unwrap().memory_bytes(), u64::MAX);
        let refused = |snapshot: &Snapshot, what: &str| {
            let found = Snapshot::decode(&snapshot.encode().unwrap());
            assert!(
                matches!(&found, Err(SnapshotError::Damaged(why)) if why.contains(what)),
                "{what}: {found:?}"
            );
        };
        refused(&Snapshot { tables: vec![vec![]; MOST_TABLES + 1], ..whole.clone() }, "tables");
        refused(&Snapshot { tables: vec![vec![0; MOST_ENTRIES / 2 + 1]; 2], ..whole.clone() }, "tables");
        refused(&Snapshot { globals: vec![(0, Number::Null); MOST_GLOBALS + 1], ..whole.clone() }, "globals");
        refused(
            &Snapshot { images: vec![whole.images[1].clone(); MOST_IMAGES + 1], ..whole.clone() },
            "memories",
        );
        let run = Run { page: 0, length: 1, content: ByteBuf::new() };
        let image = Image { bytes: 4096, runs: vec![run; MOST_RUNS / 2 + 1] };
        refused(&Snapshot { images: vec![image.clone(), image.clone()], ..whole.clone() }, "stretches");
        // A series is bounded too: stretches that are written again count once.
        let runs = |page| Image {
            bytes: u64::MAX,
            runs: vec![Run { page, length: PAGE as u32, content: ByteBuf::new() }; MOST_RUNS / 2 + 1],
        };
        let row = |page, number| Snapshot { images: vec![runs(page)], number, ..whole.clone() };
        let mut settled = row(7, 0);
        settled.advance(row(7, 1)).unwrap();
        assert_eq!(settled.runs(), MOST_RUNS / 2 + 2);
        let mut beyond = row(u32::MAX, 0);
        assert!(matches!(beyond.advance(row(u32::MAX, 1)), Err(SnapshotError::Damaged(_))));
        whole.tables = vec![vec![]];
        let mut other = whole.encode().unwrap();
        other[0] = 1;
        assert!(matches!(Snapshot::decode(&other), Err(SnapshotError::Version { version: 1, .. })));
    }
}
