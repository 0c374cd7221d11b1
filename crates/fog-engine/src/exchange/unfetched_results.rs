//! Results of hosted jobs that their requesters do not fetch: bounds on their size and age.

use std::time::Duration;

use fog_grid::Message;
use fog_store::StoreError;
use fog_types::job::MAX_DEADLINE_SECONDS;
use fog_types::{JobId, NodeId, UnixMillis};

use crate::context::Context;
use crate::exchange::{Exchange, Untaken};

/// Most results of one requester that wait to be fetched.
const MAX_UNTAKEN: usize = 1000;
/// Milliseconds after which a waiting result may be evicted when such results take too much.
const LONG_MS: i64 = 86_400_000;
/// Interval of checks for results to evict.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

impl Exchange {
    /// Latest deadline that is granted to an offer: the longest deadline of a job, from now.
    pub(crate) fn latest_deadline(&self, ctx: &Context) -> UnixMillis {
        UnixMillis(ctx.clock.unix().0.saturating_add_unsigned(MAX_DEADLINE_SECONDS * 1000))
    }

    /// Notes the bytes that a hosted job holds, whose end is reported from now on.
    pub(crate) fn note_untaken(&mut self, ctx: &mut Context, job: JobId) -> Result<(), StoreError> {
        let Some(hosted) = self.hosted.get_mut(&job).filter(|hosted| hosted.message.is_some()) else {
            return Ok(());
        };
        let bytes = ctx.store.bytes_held_by([job])?;
        let ended = match ctx.store.job(job) {
            Ok(row) => row.finished,
            Err(StoreError::NoJob(_)) => None,
            Err(error) => return Err(error),
        };
        hosted.untaken = Some(Untaken { since: ended.unwrap_or_else(|| ctx.clock.unix()), bytes });
        Ok(())
    }

    /// Whether unfetched results of a requester hold so much, a quarter of the storage, that no offers are
    /// accepted from it until it fetches some.
    pub(crate) fn holds_too_much(&self, ctx: &Context, requester: NodeId) -> Result<bool, StoreError> {
        let of = |hosted: &&crate::exchange::Hosted| hosted.requester == requester;
        let untaken = self.hosted.values().filter(of).filter_map(|hosted| hosted.untaken);
        let (count, bytes) =
            untaken.fold((0, 0u64), |(count, sum), one| (count + 1, sum.saturating_add(one.bytes)));
        if count >= MAX_UNTAKEN {
            return Ok(true);
        }
        let most = ctx.settings.storage_cap().0 / 4;
        // Jobs of one requester mostly share files.
        let jobs = || {
            self.hosted
                .iter()
                .filter(|(_, hosted)| hosted.requester == requester && hosted.untaken.is_some())
                .map(|(job, _)| *job)
        };
        Ok(bytes >= most && ctx.store.bytes_held_by(jobs())? >= most)
    }

    /// Evicts results that were not fetched for a day, if those of all requesters together hold more than
    /// half of the storage.
    pub(crate) fn look_at_untaken(&mut self, ctx: &mut Context) {
        if self.last_untaken.is_some_and(|last| ctx.since(last) < LOOK_AGAIN) {
            return;
        }
        self.last_untaken = Some(ctx.now());
        if let Err(error) = self.make_untaken_give_way(ctx) {
            tracing::warn!(%error, "results that nobody takes could not be given up");
        }
    }

    pub(crate) fn make_untaken_give_way(&mut self, ctx: &mut Context) -> Result<(), StoreError> {
        let now = ctx.clock.lived().0;
        let all = self
            .hosted
            .iter()
            .filter_map(|(job, hosted)| hosted.untaken.map(|untaken| (untaken.since, *job, untaken.bytes)));
        let mut old: Vec<(UnixMillis, JobId, u64)> =
            all.filter(|(since, _, bytes)| *bytes > 0 && now.saturating_sub(since.0) >= LONG_MS).collect();
        let most = ctx.settings.storage_cap().0 / 2;
        if old.iter().fold(0u64, |sum, (_, _, bytes)| sum.saturating_add(*bytes)) <= most {
            return Ok(());
        }
        let mut over = ctx.store.bytes_held_by(old.iter().map(|(_, job, _)| *job))?.saturating_sub(most);
        old.sort_unstable();
        // Shared files free less than this sum; further results are evicted at the next check.
        for (_, job, bytes) in old {
            if over == 0 {
                break;
            }
            self.give_way(ctx, job)?;
            over = over.saturating_sub(bytes);
        }
        Ok(())
    }

    /// Gives up the result of a hosted job. Its requester is told when it is connected, and runs the task
    /// again.
    fn give_way(&mut self, ctx: &mut Context, job: JobId) -> Result<(), StoreError> {
        let Some(hosted) = self.hosted.get(&job) else { return Ok(()) };
        let (lease, requester) = (hosted.lease, hosted.requester);
        tracing::info!(%job, "a result that was not fetched for a day gives way");
        let problem =
            "it was done, and its result was not fetched for so long that it gave way to others".to_owned();
        let message = Message::Failed { lease, problem, is_hopeless: false };
        ctx.store.give_up_hosted(job, &message.encode())?;
        self.resend_results(ctx, job, requester, &message)?;
        self.forget_history(ctx, job);
        Ok(())
    }
}
