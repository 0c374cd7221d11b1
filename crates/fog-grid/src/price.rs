//! Price of work. A thousand million work units at the usual price cost one credit.

use fog_types::WorkUnits;

/// Maximum factor by which a bonus multiplies the price of a result.
const MAX_BONUS: f64 = 2.0;

/// Payment terms of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Price of a work unit, in tenths of the usual price.
    pub price_tenths: u16,
    /// Whether an early result is paid a bonus.
    pub has_bonus: bool,
}

impl Terms {
    /// Returns the price of `units` without a bonus, in thousandths of a credit, rounded up.
    #[must_use]
    pub fn base(self, units: WorkUnits) -> u64 {
        (units.0 as f64 * f64::from(self.price_tenths) / 1e7).ceil() as u64
    }

    /// Returns the price of a result in thousandths of a credit. `took_ms` is the time that the result
    /// took, `left_ms` the time left until its deadline. The bonus factor is sqrt((took + left) / took), at
    /// most 2, as in Folding@home.
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
        assert_eq!(
            (early.worth(giga, 100, 0), early.worth(giga, 100, 125), early.worth(giga, 0, i64::MAX)),
            (2500, 3750, 5000)
        );
        assert_eq!(early.worth(giga, 100, -50), 2500);
    }
}
