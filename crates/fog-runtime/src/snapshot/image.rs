//! Contents of memories: stretches that are written one after the other, each compressed.

use super::{Image, MOST_RUNS, PAGE, RUN, Run, SnapshotError, damaged};

impl Image {
    /// Removes stretches whose pages are all written again by later ones.
    pub(super) fn leave_out_covered(&mut self) {
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

    pub(super) fn fill(&self, target: &mut [u8]) -> Result<(), SnapshotError> {
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
    pub(super) fn check(&self, image: u64) -> Result<(), SnapshotError> {
        match () {
            () if self.length as usize > RUN => Err(damaged("a stretch is too long")),
            () if u64::from(self.page) * PAGE as u64 >= image.max(1) => {
                Err(damaged("a stretch lies behind its memory"))
            }
            () => Ok(()),
        }
    }

    /// Decompresses it into `target`, which has its length.
    pub(super) fn decompress(&self, target: &mut [u8]) -> Result<(), SnapshotError> {
        if self.content.is_empty() {
            target.fill(0);
            return Ok(());
        }
        let written = lz4_flex::block::decompress_into(&self.content, target)
            .map_err(|e| SnapshotError::Damaged(e.to_string()))?;
        if written == target.len() { Ok(()) } else { Err(damaged("a stretch is too short")) }
    }
}
