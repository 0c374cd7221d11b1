//! Snapshots that are not compressed yet, and their encoding.

use std::io;
use std::ops::Range;

use fog_types::WorkUnits;
use serde::Serialize;

use super::encoded::{self, Encoded};
use super::{Number, PAGE, RUN, Rest, SNAPSHOT_VERSION, Snapshot, SnapshotError, units};

/// Snapshot of a stopped task that is not compressed yet: it refers to memory, files and frames of the task
/// without copying them.
pub struct Taken<'a> {
    pub(super) series: u64,
    pub(super) number: u32,
    pub(super) images: Vec<Shown<'a>>,
    pub(super) frames: &'a [u8],
    pub(super) rest: Rest,
}

/// An image: the ranges that are part of the snapshot, and the source of all its bytes.
type Shown<'a> = (Vec<Range<usize>>, Source<'a>);

pub(super) enum Source<'a> {
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

/// Compresses a run into `content`, which is large enough; returns the length, 0 for zeros.
fn compress(bytes: &[u8], content: &mut [u8]) -> io::Result<usize> {
    if bytes.iter().all(|byte| *byte == 0) {
        Ok(0)
    } else {
        lz4_flex::block::compress_into(bytes, content).map_err(io::Error::other)
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
