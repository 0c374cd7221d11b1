//! Encoding of values that are too large to be held in memory twice.

use std::io;

use serde::Serialize;

/// Encodes `value` in pages of `size` bytes, of which the last may be shorter, and passes them to `take`.
/// Returns the total length.
///
/// # Errors
/// The error of `take`, or of encoding.
pub(crate) fn pages(
    value: &impl Serialize,
    size: usize,
    take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<usize> {
    let mut failure = None;
    let pages = Pages { page: Vec::with_capacity(size), size, bytes: 0, take, failure: &mut failure };
    let encoded = postcard::serialize_with_flavor(value, pages);
    match failure {
        Some(error) => Err(error),
        None => encoded.map_err(io::Error::other),
    }
}

/// Length of the encoded form of `value` in bytes.
///
/// # Errors
/// The error of encoding.
pub(crate) fn length(value: &impl Serialize) -> io::Result<usize> {
    pages(value, 1 << 16, |_| Ok(()))
}

/// A value that can only be encoded.
pub(crate) trait Encoded {
    /// Encodes the value like [`pages`].
    fn pages(&self, size: usize, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<usize>;
}

impl<T: Serialize> Encoded for T {
    fn pages(&self, size: usize, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<usize> {
        pages(self, size, take)
    }
}

struct Pages<'a, F> {
    page: Vec<u8>,
    size: usize,
    bytes: usize,
    take: F,
    /// Error of `take`, which the encoder cannot return.
    failure: &'a mut Option<io::Error>,
}

impl<F: FnMut(&[u8]) -> io::Result<()>> Pages<'_, F> {
    fn hand_over(&mut self, page: &[u8]) -> postcard::Result<()> {
        self.bytes += page.len();
        (self.take)(page).map_err(|error| {
            *self.failure = Some(error);
            postcard::Error::SerializeBufferFull
        })
    }

    fn hand_over_own(&mut self) -> postcard::Result<()> {
        let mut page = std::mem::take(&mut self.page);
        let done = self.hand_over(&page);
        page.clear();
        self.page = page;
        done
    }
}

impl<F: FnMut(&[u8]) -> io::Result<()>> postcard::ser_flavors::Flavor for Pages<'_, F> {
    type Output = usize;

    fn try_extend(&mut self, mut data: &[u8]) -> postcard::Result<()> {
        while !data.is_empty() {
            // Whole pages are passed on without a copy.
            while self.page.is_empty()
                && let Some((page, rest)) = data.split_at_checked(self.size)
            {
                self.hand_over(page)?;
                data = rest;
            }
            let (part, rest) = data.split_at(data.len().min(self.size - self.page.len()));
            self.page.extend_from_slice(part);
            data = rest;
            if self.page.len() == self.size {
                self.hand_over_own()?;
            }
        }
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.try_extend(&[data])
    }

    fn finalize(mut self) -> postcard::Result<usize> {
        if !self.page.is_empty() {
            self.hand_over_own()?;
        }
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use super::*;

    #[test]
    fn pages_are_the_encoded_form() {
        for lengths in [vec![], vec![0, 1, 99, 100, 101, 3], vec![1000, 7, 100, 200, 98]] {
            let value: Vec<serde_bytes::ByteBuf> =
                lengths.into_iter().map(|length: usize| vec![length as u8; length].into()).collect();
            let mut all = Vec::new();
            let mut ends = 0;
            let count = pages(&value, 100, |page| {
                assert!(ends == 0 && !page.is_empty());
                ends += usize::from(page.len() < 100);
                all.extend_from_slice(page);
                Ok(())
            });
            assert_eq!((count.unwrap(), &all), (all.len(), &postcard::to_stdvec(&value).unwrap()));
            assert_eq!(length(&value).unwrap(), all.len());
        }
        let refused = pages(&vec![1_u8; 500], 100, |_| Err(io::ErrorKind::BrokenPipe.into()));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
