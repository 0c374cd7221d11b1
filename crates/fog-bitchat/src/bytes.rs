//! Reading and writing of wire fields; no read goes past the end of the input.

/// Reasons why bytes cannot be decoded or encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The input ends too early.
    #[error("it ends too early")]
    Short,
    /// A required field is missing.
    #[error("the field {0:#04x} is missing")]
    Missing(u8),
    /// A field is repeated, or unknown where unknown fields are not allowed.
    #[error("the field {0:#04x} does not belong there")]
    Unexpected(u8),
    /// A field has a wrong length or value.
    #[error("the field {0:#04x} is not valid")]
    Invalid(u8),
    /// The input or a part of it is longer than allowed.
    #[error("it is too long")]
    TooLong,
}

/// Reader that takes bytes from the front of a slice.
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

    /// Reads a field: one byte for the type, one for the length, then the value.
    pub(crate) fn field8(&mut self) -> Result<(u8, &'a [u8]), WireError> {
        let kind = self.u8()?;
        let length = self.u8()?;
        Ok((kind, self.take(usize::from(length))?))
    }

    /// Reads a field: one byte for the type, two for the length, then the value.
    pub(crate) fn field16(&mut self) -> Result<(u8, &'a [u8]), WireError> {
        let kind = self.u8()?;
        let length = self.u16()?;
        Ok((kind, self.take(usize::from(length))?))
    }
}

/// Appends a field with a length of one byte; a value longer than 255 bytes is an error.
pub(crate) fn put8(into: &mut Vec<u8>, kind: u8, value: &[u8]) -> Result<(), WireError> {
    let length = u8::try_from(value.len()).map_err(|_| WireError::TooLong)?;
    into.extend([kind, length]);
    into.extend_from_slice(value);
    Ok(())
}

/// Appends a field with a length of two bytes; a value longer than 65,535 bytes is an error.
pub(crate) fn put16(into: &mut Vec<u8>, kind: u8, value: &[u8]) -> Result<(), WireError> {
    let length = u16::try_from(value.len()).map_err(|_| WireError::TooLong)?;
    into.push(kind);
    into.extend(length.to_be_bytes());
    into.extend_from_slice(value);
    Ok(())
}

/// Encodes bits in as few bytes as possible, at least one, lowest byte first.
pub(crate) fn bits(value: u64) -> Vec<u8> {
    let length = (8 - value.leading_zeros() as usize / 8).max(1);
    value.to_le_bytes()[..length].to_vec()
}

/// Decodes bits from any number of bytes; bits above the 64th are ignored.
pub(crate) fn from_bits(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

/// Value of a field of fixed size.
pub(crate) fn fixed<const N: usize>(kind: u8, value: &[u8]) -> Result<[u8; N], WireError> {
    value.try_into().map_err(|_| WireError::Invalid(kind))
}

/// UTF-8 text of a field.
pub(crate) fn text(kind: u8, value: &[u8]) -> Result<String, WireError> {
    std::str::from_utf8(value).map(str::to_owned).map_err(|_| WireError::Invalid(kind))
}
