use super::Errno;
use crate::vfs::MAX_SAID_BYTES;

/// Linear memory of the job during one call; every access is checked.
pub(crate) struct GuestMemory<'m> {
    bytes: &'m mut [u8],
}

/// Largest number of buffers in one call, the usual `IOV_MAX`.
const MAX_IOVS: u32 = 1024;

impl<'m> GuestMemory<'m> {
    pub(crate) fn new(bytes: &'m mut [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn slice(&self, at: u32, len: u32) -> Result<&[u8], Errno> {
        self.bytes.get(at as usize..at as usize + len as usize).ok_or(Errno::Fault)
    }

    pub(crate) fn slice_mut(&mut self, at: u32, len: u32) -> Result<&mut [u8], Errno> {
        self.bytes.get_mut(at as usize..at as usize + len as usize).ok_or(Errno::Fault)
    }

    /// Reads a path or the text of a link. A longer text is refused unread, because reading it is not
    /// charged.
    pub(crate) fn text(&self, at: u32, len: u32) -> Result<&str, Errno> {
        if len as usize > MAX_SAID_BYTES {
            return Err(Errno::NameTooLong);
        }
        std::str::from_utf8(self.slice(at, len)?).map_err(|_| Errno::IlSeq)
    }

    pub(crate) fn put(&mut self, at: u32, bytes: &[u8]) -> Result<(), Errno> {
        let len = u32::try_from(bytes.len()).map_err(|_| Errno::Fault)?;
        self.slice_mut(at, len)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn put_u16(&mut self, at: u32, value: u16) -> Result<(), Errno> {
        self.put(at, &value.to_le_bytes())
    }

    pub(crate) fn put_u32(&mut self, at: u32, value: u32) -> Result<(), Errno> {
        self.put(at, &value.to_le_bytes())
    }

    pub(crate) fn put_u64(&mut self, at: u32, value: u64) -> Result<(), Errno> {
        self.put(at, &value.to_le_bytes())
    }

    pub(crate) fn u32_at(&self, at: u32) -> Result<u32, Errno> {
        let bytes = self.slice(at, 4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(crate) fn u64_at(&self, at: u32) -> Result<u64, Errno> {
        Ok(u64::from(self.u32_at(at)?) | u64::from(self.u32_at(offset(at, 4)?)?) << 32)
    }

    /// Reads the buffers of a read or write: address and length of each.
    pub(crate) fn iovs(&self, at: u32, count: u32) -> Result<Vec<(u32, u32)>, Errno> {
        if count > MAX_IOVS {
            return Err(Errno::Inval);
        }
        (0..count)
            .map(|i| {
                let entry = offset(at, i * 8)?;
                Ok((self.u32_at(entry)?, self.u32_at(offset(entry, 4)?)?))
            })
            .collect()
    }
}

pub(crate) fn offset(at: u32, by: u32) -> Result<u32, Errno> {
    at.checked_add(by).ok_or(Errno::Fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_beyond_all_bounds_is_not_looked_at() {
        // Invalid UTF-8, which only reading the whole text would find.
        let mut bytes = vec![b'a'; 1 << 20];
        bytes[(1 << 20) - 1] = 0xff;
        let memory = GuestMemory::new(&mut bytes);
        assert_eq!(memory.text(0, 1 << 20), Err(Errno::NameTooLong));
        assert_eq!(memory.text(0, MAX_SAID_BYTES as u32 + 1), Err(Errno::NameTooLong));
        assert_eq!(memory.text(0, MAX_SAID_BYTES as u32).map(str::len), Ok(MAX_SAID_BYTES));
        assert_eq!(memory.text((1 << 20) - 2, 2), Err(Errno::IlSeq));
    }
}
