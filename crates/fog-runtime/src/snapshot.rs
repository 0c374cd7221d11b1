//! State of a stopped task, without its module and inputs: whole, or the changes since the snapshot before.
//! `docs/checkpoint.md` describes the format.

pub(crate) mod encoded;
mod image;
mod reading;
mod taken;
mod tracker;

use std::io::Read;

use fog_types::WorkUnits;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use self::reading::{ImageReader, Values};
pub use self::taken::Taken;
pub(crate) use self::tracker::Tracker;
use crate::wasi::WasiState;

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

fn units(granted: u64, left: i64) -> WorkUnits {
    WorkUnits(granted.saturating_add_signed(left.saturating_neg()))
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
