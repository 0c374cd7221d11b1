use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Number of deterministic steps of metered Wasm; the same for a job on every processor and engine.
///
/// The rewritten module counts them itself; a versioned table gives the cost of each instruction
/// (`fog-instrument`, `docs/checkpoint.md`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkUnits(pub u64);

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

/// Default block size of ext4, APFS and NTFS.
const BLOCK: u64 = 4096;

/// Returns the bytes that a file of `size` bytes takes on disk: whole blocks of 4096, at least one.
/// Everything that counts against the storage cap is counted so.
#[must_use]
pub fn on_disk(size: u64) -> u64 {
    size.max(1).checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// A whole percentage from 0 to 100; larger values become 100.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub struct Percent(u8);

/// Milliseconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl Percent {
    /// The smallest percentage, 0.
    pub const ZERO: Self = Self(0);
    /// The largest percentage, 100.
    pub const FULL: Self = Self(100);

    /// Creates a percentage; values above 100 become 100.
    #[must_use]
    pub const fn new(value: u8) -> Self {
        Self(if value > 100 { 100 } else { value })
    }

    /// Returns the number, 0 to 100.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl From<u8> for Percent {
    fn from(value: u8) -> Self {
        Self::new(value)
    }
}

impl From<Percent> for u8 {
    fn from(value: Percent) -> Self {
        value.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

impl ByteCount {
    /// Returns `n` mebibytes (1,048,576 bytes each), capped at the largest number.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 20))
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if value < 1024.0 {
                return if unit == "B" { write!(f, "{value} B") } else { write!(f, "{value:.1} {unit}") };
            }
            value /= 1024.0;
        }
        write!(f, "{value:.1} TiB")
    }
}

/// Parses a number of bytes with an optional unit: `512`, `64 KiB`, `10MB`, `1.5GiB`. Fractions are rounded
/// down to whole bytes.
impl FromStr for ByteCount {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || {
            format!("'{}' is not a size, such as 64MiB or 1.5GiB", text.chars().take(40).collect::<String>())
        };
        let text_trimmed = text.trim();
        let split =
            text_trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text_trimmed.len());
        let (whole, part) = text_trimmed[..split]
            .split_once('.')
            .map_or((&text_trimmed[..split], None), |(whole, part)| (whole, Some(part)));
        let number: u64 = whole.parse().map_err(|_| bad())?;
        let factor: u64 = match text_trimmed[split..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            _ => return Err(bad()),
        };
        let part = match part {
            None => 0,
            // A byte has no fraction.
            Some(part) if factor > 1 && (1..=9).contains(&part.len()) => {
                let digits: u64 = part.parse().map_err(|_| bad())?;
                (u128::from(digits) * u128::from(factor) / 10_u128.pow(part.len() as u32)) as u64
            }
            Some(_) => return Err(bad()),
        };
        number.checked_mul(factor).and_then(|whole| whole.checked_add(part)).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for WorkUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0 as f64;
        match self.0 {
            0..=9_999 => write!(f, "{} units", self.0),
            10_000..=9_999_999 => write!(f, "{:.0} k units", n / 1e3),
            10_000_000..=9_999_999_999 => write!(f, "{:.1} M units", n / 1e6),
            _ => write!(f, "{:.1} G units", n / 1e9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_whole_blocks() {
        let sizes = [0, 1, 4095, 4096, 4097, 1 << 40, u64::MAX - 4095, u64::MAX - 4094, u64::MAX];
        let taken = [4096, 4096, 4096, 4096, 8192, 1 << 40, u64::MAX - 4095, u64::MAX, u64::MAX];
        assert_eq!(sizes.map(on_disk), taken);
    }

    #[test]
    fn sizes_read_with_and_without_units() {
        assert_eq!("512".parse(), Ok(ByteCount(512)));
        assert_eq!("64 KiB".parse(), Ok(ByteCount(65_536)));
        assert_eq!("2gib".parse(), Ok(ByteCount(2 << 30)));
        assert_eq!("1.5GiB".parse(), Ok(ByteCount(3 << 29)));
        assert_eq!("0.25 kb".parse(), Ok(ByteCount(250)));
        for wrong in [
            "1.5",
            "1.5 B",
            "1.GiB",
            ".5GiB",
            "1.5.5GiB",
            ".",
            "1,5GiB",
            "1.0000000001GiB",
            "-1.5GiB",
            "18446744073709551615.5",
        ] {
            assert!(wrong.parse::<ByteCount>().is_err(), "{wrong}");
        }
        assert!("12 bananas".parse::<ByteCount>().is_err());
        assert!("99999999999999999999".parse::<ByteCount>().is_err());
        assert!("18446744073709551615 GiB".parse::<ByteCount>().is_err());
    }

    #[test]
    fn percent_never_exceeds_a_hundred() {
        assert_eq!(Percent::new(250), Percent::FULL);
        assert_eq!(Percent::from(30).get(), 30);
    }
}
