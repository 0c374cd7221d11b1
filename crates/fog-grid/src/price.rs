//! What work is worth. A thousand million work units at the usual price are one credit.

use fog_types::WorkUnits;

/// Most that an early result is paid, times the base.
const MAX_BONUS: f64 = 2.0;

/// How a job pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What a work unit is paid, in tenths of the usual price.
    pub price_tenths: u16,
    /// A result that comes early is paid more.
    pub has_bonus: bool,
}

impl Terms {
    /// Thousandths of a credit for so many units.
    #[must_use]
    pub fn base(self, units: WorkUnits) -> u64 {
        (units.0 as f64 * f64::from(self.price_tenths) / 1e7).ceil() as u64
    }

    /// Thousandths of a credit for a result that took so long and came with so much time left, in
    /// milliseconds. The bonus is the root of how many times over it would have been in time (the bonus of
    /// Folding@home), at most two.
    #[must_use]
    pub fn worth(self, units: WorkUnits, took_ms: i64, left_ms: i64) -> u64 {
        let (took, left) = (took_ms.max(1) as f64, left_ms.max(0) as f64);
        let bonus = if self.has_bonus { ((took + left) / took).sqrt().clamp(1.0, MAX_BONUS) } else { 1.0 };
        (self.base(units) as f64 * bonus).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_result_is_paid_more_but_never_more_than_double() {
        let plain = Terms { price_tenths: 10, has_bonus: false };
        let early = Terms { price_tenths: 25, has_bonus: true };
        let giga = WorkUnits(1_000_000_000);
        assert_eq!((plain.worth(giga, 10, 90), plain.worth(WorkUnits(1), 0, 0)), (1000, 1));
        assert_eq!((early.worth(giga, 100, 0), early.worth(giga, 100, 125), early.worth(giga, 0, i64::MAX)), (2500, 3750, 5000));
        assert_eq!(early.worth(giga, 100, -50), 2500);
    }
}
