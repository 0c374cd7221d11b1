//! Check of the promise of a service class.

use fog_types::job::Service;
use serde::{Deserialize, Serialize};

/// Outcome of a promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// There is no result yet, but still time.
    Open,
    /// The promise was kept.
    Kept,
    /// The promise was broken for this reason.
    Broken(String),
}

/// Judges the promise of a service class. `agreed` is the least number of devices that agreed on a task,
/// `finished_ms` the time at which the job finished, if it did, and `is_over` whether it has ended; times
/// are in milliseconds since 1970.
#[must_use]
pub fn judge_service(
    service: Service,
    agreed: u32,
    finished_ms: Option<i64>,
    is_over: bool,
    deadline_ms: i64,
    now_ms: i64,
) -> Kept {
    let most = service.replicas() / 2 + 1;
    match finished_ms {
        None if is_over => Kept::Broken("there is no result".to_owned()),
        None if now_ms > deadline_ms => Kept::Broken("the deadline passed without a result".to_owned()),
        None => Kept::Open,
        Some(at) if at > deadline_ms => Kept::Broken(format!(
            "the result came {} s after the deadline",
            (at - deadline_ms).max(1000) / 1000
        )),
        Some(_) if agreed < most => {
            Kept::Broken(format!("of one task {agreed} devices agreed on the result; {most} were promised"))
        }
        Some(_) => Kept::Kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_kept_or_it_is_said_why_not() {
        let judge = |agreed, at| judge_service(Service::Gold, agreed, at, at.is_none(), 10, 5);
        assert_eq!(judge(2, Some(5)), Kept::Kept);
        for (agreed, at) in [(1, Some(5)), (2, Some(11_000)), (2, None)] {
            assert!(matches!(judge(agreed, at), Kept::Broken(_)));
        }
        assert_eq!(judge_service(Service::Bronze, 1, Some(10), true, 10, 10), Kept::Kept);
        assert_eq!(judge_service(Service::Bronze, 0, None, false, 10, 9), Kept::Open);
        assert!(matches!(judge_service(Service::Bronze, 0, None, false, 10, 11), Kept::Broken(_)));
    }
}
