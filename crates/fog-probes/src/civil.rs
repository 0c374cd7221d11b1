//! Local calendar time: minute of the week, and changes of the local clock.

use fog_eligibility::ZoneChange;
use jiff::Zoned;

/// Hours ahead in which a change of the clocks matters: the week plan looks no further.
const AHEAD_HOURS: i64 = 8 * 24;

/// Local time as minutes since Monday 00:00.
#[must_use]
pub fn minute_of_week(now: &Zoned) -> u16 {
    let day = now.weekday().to_monday_zero_offset().unsigned_abs();
    u16::from(day) * 1440 + u16::from(now.hour().unsigned_abs()) * 60 + u16::from(now.minute().unsigned_abs())
}

/// Next change of the local clock within eight days.
#[must_use]
pub fn zone_change(now: &Zoned) -> Option<ZoneChange> {
    let change = now.time_zone().following(now.timestamp()).next()?;
    let seconds = change.timestamp().as_second() - now.timestamp().as_second();
    if seconds > AHEAD_HOURS * 3600 {
        return None;
    }
    let by_seconds = change.offset().seconds() - now.offset().seconds();
    // Counted from the start of this minute, as `minute_of_week` does.
    let in_minutes = (seconds + i64::from(now.second())) / 60;
    Some(ZoneChange { in_minutes: u32::try_from(in_minutes).ok()?, by_minutes: by_seconds / 60 })
}

#[cfg(test)]
mod tests {
    use fog_eligibility::{HOURS_IN_WEEK, OFF_CELL, Policy};
    use jiff::civil::date;
    use jiff::tz::TimeZone;
    use jiff::{SignedDuration, ToSpan};

    use super::*;

    /// POSIX zones: Berlin, New York, Lord Howe (half an hour), Santiago (change at midnight), Tokyo (no
    /// change).
    const ZONES: [&str; 5] = [
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "EST5EDT,M3.2.0,M11.1.0",
        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        "<-04>4<-03>,M9.1.6/24,M4.1.6/24",
        "JST-9",
    ];

    /// A plan with nights off and one single hour off.
    fn plan() -> Policy {
        let mut week = [0; HOURS_IN_WEEK];
        for (hour, cell) in week.iter_mut().enumerate() {
            let is_off = hour % 24 < 6 || hour % 24 == 23 || hour == 6 * 24 + 12;
            *cell = if is_off { OFF_CELL } else { 0 };
        }
        Policy { week, ..Policy::default() }
    }

    /// Minutes until the plan switches, found by stepping the local clock minute by minute.
    fn by_waiting(policy: &Policy, now: &Zoned) -> u32 {
        let is_off = |at: &Zoned| policy.week[usize::from(minute_of_week(at) / 60)] == OFF_CELL;
        let before = is_off(now);
        (1..20_000)
            .find(|minutes| is_off(&now.checked_add(SignedDuration::from_mins(*minutes)).unwrap()) != before)
            .unwrap() as u32
    }

    #[test]
    fn the_plan_switches_when_the_clock_on_the_wall_says_so() {
        let policy = plan();
        let mut changes = 0;
        for zone in ZONES {
            let zone = TimeZone::posix(zone).unwrap();
            // Times some hours before, during and after every change within two years.
            let mut at = date(2026, 1, 1).at(0, 0, 0, 0).to_zoned(zone.clone()).unwrap();
            let end = at.checked_add(2.years()).unwrap();
            while let Some(change) =
                zone.following(at.timestamp()).next().filter(|change| change.timestamp() < end.timestamp())
            {
                changes += 1;
                at = change.timestamp().to_zoned(zone.clone());
                for minutes in (-1_500..=180).step_by(29) {
                    let now = at.checked_add(SignedDuration::from_mins(minutes)).unwrap();
                    let found = policy.minutes_until_switch(minute_of_week(&now), zone_change(&now));
                    assert_eq!(found, Some(by_waiting(&policy, &now)), "{now}");
                }
            }
            let now = date(2026, 6, 3).at(21, 15, 40, 0).to_zoned(zone).unwrap();
            assert_eq!(
                (zone_change(&now), policy.minutes_until_switch(minute_of_week(&now), None)),
                (None, Some(105)),
                "{now}"
            );
        }
        assert_eq!(changes, 16);
    }

    #[test]
    fn the_hour_that_is_left_out_is_not_waited_for() {
        let berlin = TimeZone::posix(ZONES[0]).unwrap();
        let eve =
            |year, month, day| date(year, month, day).at(20, 0, 30, 0).to_zoned(berlin.clone()).unwrap();
        // Work starts at 6:00 on Sunday, 10 hours ahead in any other night.
        let spring = eve(2026, 3, 28);
        assert_eq!(zone_change(&spring), Some(ZoneChange { in_minutes: 360, by_minutes: 60 }));
        let mut policy = plan();
        policy.week[5 * 24 + 20..6 * 24].fill(OFF_CELL);
        assert_eq!(policy.minutes_until_switch(minute_of_week(&spring), zone_change(&spring)), Some(9 * 60));
        let autumn = eve(2026, 10, 24);
        assert_eq!(policy.minutes_until_switch(minute_of_week(&autumn), zone_change(&autumn)), Some(11 * 60));
        // Only 2:00 to 3:00 is off, an hour that this night skips: the next one is a week later.
        let mut policy = Policy::default();
        policy.week[6 * 24 + 2] = OFF_CELL;
        assert_eq!(
            policy.minutes_until_switch(minute_of_week(&spring), zone_change(&spring)),
            Some(6 * 60 + 7 * 1440 - 60)
        );
    }
}
