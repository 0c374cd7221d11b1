//! Readers of snapshots and images that never hold them in memory as a whole.

use std::io::{self, Read};

use serde::de::DeserializeOwned;

use super::{Image, PAGE, RUN, SnapshotError, damaged};

/// Reader of encoded values, one after the other.
pub(super) struct Values<R> {
    from: R,
    /// Buffer for the bytes of one value.
    scratch: Vec<u8>,
}

impl<R: Read> Values<R> {
    pub(super) fn new(from: R) -> Self {
        // The longest values are the contents of runs.
        Self { from, scratch: vec![0; lz4_flex::block::get_maximum_output_size(RUN)] }
    }

    pub(super) fn take<T: DeserializeOwned>(&mut self) -> Result<T, SnapshotError> {
        let taken = postcard::from_io((&mut self.from, &mut self.scratch));
        taken.map(|(value, _)| value).map_err(|e| SnapshotError::Damaged(e.to_string()))
    }

    /// Takes the length of a list, which is at most `most`.
    pub(super) fn take_count(&mut self, most: usize, otherwise: &str) -> Result<usize, SnapshotError> {
        let count: usize = self.take()?;
        if count > most { Err(damaged(otherwise)) } else { Ok(count) }
    }

    /// Takes a list of at most `most` values, with its length; returns an empty list if it is not to be
    /// kept.
    pub(super) fn take_counted<T: DeserializeOwned>(
        &mut self,
        most: usize,
        otherwise: &str,
        is_kept: bool,
    ) -> Result<(Vec<T>, usize), SnapshotError> {
        let count = self.take_count(most, otherwise)?;
        let mut list = Vec::new();
        for _ in 0..count {
            let value = self.take()?;
            if is_kept {
                list.push(value);
            }
        }
        Ok((list, count))
    }

    /// Takes bytes of any length; allocates only as they arrive, and nothing if they are not to be kept.
    pub(super) fn take_bytes(&mut self, is_kept: bool) -> Result<Vec<u8>, SnapshotError> {
        let length: u64 = self.take()?;
        let mut bytes = Vec::new();
        let mut from = (&mut self.from).take(length);
        let read = if is_kept {
            from.read_to_end(&mut bytes).map(|count| count as u64)
        } else {
            io::copy(&mut from, &mut io::sink())
        };
        let count = read.map_err(|e| SnapshotError::Damaged(e.to_string()))?;
        if count == length { Ok(bytes) } else { Err(damaged("its frames are cut off")) }
    }

    pub(super) fn expect_end(&mut self) -> bool {
        matches!(self.from.read(&mut [0]), Ok(0))
    }
}

/// Marks a page without a run, which holds zeros.
const NONE: u32 = u32::MAX;
/// Number of runs that are kept decompressed, for reads that alternate between them.
const KEPT: usize = 4;

/// Reader of the bytes of an image.
///
/// The reader stores for each page which run wrote it last: four bytes for 4 KiB. Runs are decompressed when they
/// are needed.
pub(super) struct ImageReader<'a> {
    image: &'a Image,
    /// Number of the last run that writes each page.
    last: Vec<u32>,
    kept: [Kept; KEPT],
    /// Index of the kept run that is replaced next.
    next: usize,
    at: u64,
    problem: Option<SnapshotError>,
}

struct Kept {
    run: u32,
    bytes: Vec<u8>,
}

impl<'a> ImageReader<'a> {
    /// Begins at the start of the image. The caller must bound the image's size.
    pub(super) fn new(image: &'a Image) -> Result<Self, SnapshotError> {
        let pages = usize::try_from(image.bytes.div_ceil(PAGE as u64))
            .map_err(|_| damaged("it is larger than memory"))?;
        let mut last = vec![NONE; pages];
        let mut cut = Vec::new();
        for (number, run) in (0..NONE).zip(&image.runs) {
            let (first, length) = (run.page as usize, run.length as usize);
            if length > RUN {
                return Err(damaged("a stretch is too long"));
            }
            // Files may have become shorter since.
            let end = (first + length.div_ceil(PAGE)).min(pages);
            let Some(written) = last.get_mut(first..end) else { continue };
            let needed = (end as u64 * PAGE as u64).min(image.bytes);
            let reached = u64::from(run.page) * PAGE as u64 + length as u64;
            if reached < needed && written.last().is_some_and(|below| *below != NONE) {
                cut.push((end - 1, number));
            }
            written.fill(number);
        }
        // An honest task writes whole pages, so that only the last run of a page matters.
        if cut.iter().any(|(page, number)| last.get(*page) == Some(number)) {
            return Err(damaged("a stretch ends within a page"));
        }
        let kept = std::array::from_fn(|_| Kept { run: NONE, bytes: Vec::new() });
        Ok(Self { image, last, kept, next: 0, at: 0, problem: None })
    }

    /// Returns the number of bytes that were not read, or the problem that stopped reading.
    pub(super) fn finish(self) -> Result<u64, SnapshotError> {
        match self.problem {
            Some(problem) => Err(problem),
            None => Ok(self.image.bytes - self.at),
        }
    }

    /// Decompressed bytes of a run of the image.
    fn run(&mut self, number: u32) -> Result<&[u8], SnapshotError> {
        let place = match self.kept.iter().position(|kept| kept.run == number) {
            Some(place) => place,
            None => {
                let place = self.next;
                self.next = (place + 1) % KEPT;
                let run =
                    self.image.runs.get(number as usize).ok_or_else(|| damaged("a stretch is missing"))?;
                let kept = &mut self.kept[place];
                kept.bytes.resize(run.length as usize, 0);
                kept.run = NONE;
                run.decompress(&mut kept.bytes)?;
                kept.run = number;
                place
            }
        };
        Ok(&self.kept[place].bytes)
    }
}

impl Read for ImageReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (page, offset) = ((self.at / PAGE as u64) as usize, (self.at % PAGE as u64) as usize);
        let left = usize::try_from(self.image.bytes - self.at).unwrap_or(usize::MAX);
        let count = buffer.len().min(left).min(PAGE - offset);
        let Some(number) = self.last.get(page).copied().filter(|_| count > 0) else { return Ok(0) };
        let target = &mut buffer[..count];
        if number == NONE {
            target.fill(0);
        } else {
            let first = self.image.runs.get(number as usize).map_or(0, |run| run.page as usize);
            let from = (page - first) * PAGE + offset;
            match self.run(number) {
                Ok(bytes) => {
                    let bytes = bytes.get(from..).unwrap_or_default();
                    let there = bytes.len().min(count);
                    target[..there].copy_from_slice(&bytes[..there]);
                    target[there..].fill(0);
                }
                Err(problem) => {
                    self.problem = Some(problem);
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        }
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use proptest::prelude::*;
    use serde_bytes::ByteBuf;

    use super::super::Run;
    use super::*;

    fn run(page: u32, length: usize, value: u8) -> Run {
        let bytes: Vec<u8> = (0..length).map(|at| value.wrapping_add((at / PAGE) as u8)).collect();
        let content = if value == 0 { Vec::new() } else { lz4_flex::block::compress(&bytes) };
        Run { page, length: length as u32, content: ByteBuf::from(content) }
    }

    proptest! {
        /// Reading in any pieces gives the same bytes as filling.
        #[test]
        fn reading_is_filling(
            runs in proptest::collection::vec((0_u32..40, 1_usize..=16, any::<u8>()), 0..40),
            bytes in 0_usize..170_000,
            parts in proptest::collection::vec(1_usize..20_000, 1..9),
        ) {
            let image = Image { bytes: bytes as u64, runs: runs.into_iter().map(|(page, pages, value)| run(page, pages * PAGE, value)).collect() };
            let mut filled = vec![1; bytes];
            image.fill(&mut filled).unwrap();
            let mut reader = ImageReader::new(&image).unwrap();
            let mut read = Vec::new();
            for part in parts.iter().cycle() {
                let mut buffer = vec![2; *part];
                let count = reader.read(&mut buffer).unwrap();
                if count == 0 {
                    break;
                }
                read.extend_from_slice(&buffer[..count]);
            }
            prop_assert!(read == filled);
            prop_assert_eq!(reader.finish().unwrap(), 0);
        }
    }

    #[test]
    fn what_no_task_writes_is_refused() {
        let of = |bytes, runs: Vec<Run>| {
            ImageReader::new(&Image { bytes, runs }).err().map(|problem| problem.to_string())
        };
        assert!(of(9000, vec![run(0, 3 * PAGE, 7), run(2, 300, 9)]).unwrap().contains("within a page"));
        assert_eq!(of(2 * PAGE as u64 + 300, vec![run(0, 3 * PAGE, 7), run(2, 300, 9)]), None);
        assert_eq!(of(9000, vec![run(0, 3 * PAGE, 7), run(2, 300, 9), run(2, PAGE, 9)]), None);
        assert!(of(9000, vec![Run { length: RUN as u32 + 1, ..run(0, 5, 1) }]).unwrap().contains("too long"));
        // Runs far behind the end, and empty runs.
        assert_eq!(of(9000, vec![run(u32::MAX, 300, 7), run(0, 0, 0), run(3, 0, 0)]), None);
        let image = Image { bytes: 9000, runs: vec![Run { length: 77, ..run(0, 300, 1) }] };
        let mut reader = ImageReader::new(&image).unwrap();
        assert!(reader.read(&mut [0; 10]).is_err());
        assert!(reader.finish().is_err());
    }
}
