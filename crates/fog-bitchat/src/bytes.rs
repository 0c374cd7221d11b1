//! Reading what came from somewhere else, never past its end.

/// Why bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It ends too early.
    #[error("it ends too early")]
    Short,
    /// A part that must be there is missing.
    #[error("the field {0:#04x} is missing")]
    Missing(u8),
    /// A part is there twice, or one that is not known where none may be.
    #[error("the field {0:#04x} does not belong there")]
    Unexpected(u8),
    /// A part has a wrong length or value.
    #[error("the field {0:#04x} is not valid")]
    Invalid(u8),
    /// More than is taken.
    #[error("it is too long")]
    TooLong,
}

/// Takes bytes from the front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A field: type and length of one byte each.
    pub(crate) fn field8(&mut self) -> Result<(u8, &'a [u8]), WireError> {
        let kind = self.u8()?;
        let length = self.u8()?;
        Ok((kind, self.take(usize::from(length))?))
    }

    /// A field: a type of one byte, a length of two.
    pub(crate) fn field16(&mut self) -> Result<(u8, &'a [u8]), WireError> {
        let kind = self.u8()?;
        let length = self.u16()?;
        Ok((kind, self.take(usize::from(length))?))
    }
}

/// Appends a field with a length of one byte; what is longer than 255 bytes is a mistake of the caller.
pub(crate) fn put8(into: &mut Vec<u8>, kind: u8, value: &[u8]) -> Result<(), WireError> {
    let length = u8::try_from(value.len()).map_err(|_| WireError::TooLong)?;
    into.extend([kind, length]);
    into.extend_from_slice(value);
    Ok(())
}

/// Appends a field with a length of two bytes.
pub(crate) fn put16(into: &mut Vec<u8>, kind: u8, value: &[u8]) -> Result<(), WireError> {
    let length = u16::try_from(value.len()).map_err(|_| WireError::TooLong)?;
    into.push(kind);
    into.extend(length.to_be_bytes());
    into.extend_from_slice(value);
    Ok(())
}

/// Bits in as few bytes as say them, the lowest first; one at least.
pub(crate) fn bits(value: u64) -> Vec<u8> {
    let length = (8 - value.leading_zeros() as usize / 8).max(1);
    value.to_le_bytes()[..length].to_vec()
}

/// Bits from any number of bytes; those beyond the 64th are not known here.
pub(crate) fn from_bits(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

/// Fixed-size value of a field.
pub(crate) fn fixed<const N: usize>(kind: u8, value: &[u8]) -> Result<[u8; N], WireError> {
    value.try_into().map_err(|_| WireError::Invalid(kind))
}

/// Text of a field.
pub(crate) fn text(kind: u8, value: &[u8]) -> Result<String, WireError> {
    std::str::from_utf8(value).map(str::to_owned).map_err(|_| WireError::Invalid(kind))
}
