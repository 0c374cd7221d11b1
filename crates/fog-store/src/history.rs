use fog_types::{Percent, UnixMillis, WorkUnits};
use rusqlite::{Connection, OptionalExtension, params};

use crate::tasks::QUARTER_MS;
use crate::transaction::Savepoint;
use crate::{Store, StoreError};

/// Summary of a span of time: about a minute, or less for the current one.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// End of the span.
    pub at: UnixMillis,
    /// Length of the span in milliseconds.
    pub span_millis: u64,
    /// Mean duty.
    pub duty: Percent,
    /// Milliseconds in which at least one task ran.
    pub worked_millis: u64,
    /// Work units done.
    pub units: WorkUnits,
    /// Processor temperature at the end, °C.
    pub cpu_temp: Option<f64>,
    /// Battery charge at the end, percent.
    pub battery: Option<f64>,
    /// Load of other programs at the end, percent.
    pub other_cpu: Option<f64>,
    /// First reason at the end, as the word of its rule; `idle` if no task waited, else empty.
    pub reason: String,
}

/// Settings key of the milliseconds by which the calendar was set since the first sample.
const SHIFT_KEY: &str = "_history_shift_ms";

/// Returns the milliseconds by which stored times of history differ from the calendar. This number changes
/// when the calendar is set, instead of very many rows.
pub(crate) fn history_shift(db: &Connection) -> Result<i64, StoreError> {
    let stored: Option<String> = db
        .prepare_cached("SELECT value FROM settings WHERE key = ?1")?
        .query_row([SHIFT_KEY], |row| row.get(0))
        .optional()?;
    Ok(stored.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// Moves history with the calendar after it was set, so that work of an hour ago stays an hour ago.
pub(crate) fn shift_history(db: &Connection, by_ms: i64) -> Result<(), StoreError> {
    let shift = history_shift(db)?.saturating_add(by_ms);
    db.execute(
        "INSERT INTO settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![SHIFT_KEY, shift.to_string()],
    )?;
    Ok(())
}

/// Returns the row of `results_by_quarter` for a time. The shift is rounded to quarters: midnight stays
/// between two.
pub(crate) fn quarter_of(at: UnixMillis, shift: i64) -> i64 {
    at.0.div_euclid(QUARTER_MS).saturating_sub(shift.saturating_add(QUARTER_MS / 2).div_euclid(QUARTER_MS))
}

/// Numbers of rows that [`Store::trim`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Number of samples of history, one per minute.
    pub samples: u32,
    /// Number of journal entries of all jobs.
    pub journal: u32,
    /// Number of settled receipts; the sums stay complete.
    pub credits: u32,
}

impl Default for Kept {
    fn default() -> Self {
        Self { samples: 400 * 24 * 60, journal: 300_000, credits: 50_000 }
    }
}

impl Store {
    /// Moves every stored time that something waits for after the calendar was set, so that it is as far
    /// away as before.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn shift_times(&mut self, by_ms: i64) -> Result<(), StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        // A sum beyond the largest integer becomes a real number, which CAST cuts to that integer.
        for (table, column, condition) in [
            ("tasks", "not_before_ms", "state = 'queued' AND not_before_ms > 0"),
            ("jobs", "deadline_ms", "state IN ('queued', 'running', 'paused')"),
            ("progress", "deadline_ms", "1"),
            // People read how long ago these times were.
            ("jobs", "created_ms", "1"),
            ("jobs", "finished_ms", "state IN ('finished', 'failed', 'cancelled')"),
            ("hosted", "deadline_ms", "1"),
            ("receipts", "at_ms", "1"),
            ("chat_messages", "stored_ms", "1"),
        ] {
            // The earliest time is 1, as 0 means that a task waits for nothing.
            transaction.execute(
                &format!(
                    "UPDATE {table} SET {column} = max(CAST({column} + ?1 AS INTEGER), 1) WHERE {condition}"
                ),
                [by_ms],
            )?;
        }
        // Evidence about other devices decays from the moved time on.
        transaction.execute(
            "UPDATE peers SET evidence = json_set(evidence, '$.at_ms', max(CAST(json_extract(evidence, '$.at_ms') + ?1 AS INTEGER), 1))
             WHERE json_valid(evidence) AND json_type(evidence, '$.at_ms') = 'integer'",
            [by_ms],
        )?;
        shift_history(&transaction, by_ms)?;
        transaction.commit()?;
        Ok(())
    }

    /// Adds a sample, in place of the one that ended at `before` if that was [kept](Self::keep_sample).
    /// [`Store::trim`] deletes old samples by number, so a clock that is wrong for a minute deletes none.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn add_sample(&mut self, sample: &Sample, before: Option<UnixMillis>) -> Result<(), StoreError> {
        let transaction = Savepoint::new(&self.db)?;
        write_sample(&transaction, sample, before)?;
        Ok(transaction.commit()?)
    }

    /// Stores the sample of a span that goes on, unsynced: a kill loses what came after, a power cut may
    /// lose this one too.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn keep_sample(&mut self, sample: &Sample, before: Option<UnixMillis>) -> Result<(), StoreError> {
        self.relaxed(|db| write_sample(db, sample, before))
    }

    /// Returns samples that ended after `since` and not after `now`, oldest first, merged into about
    /// `points`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn samples(
        &self,
        since: UnixMillis,
        now: UnixMillis,
        points: u32,
    ) -> Result<Vec<Sample>, StoreError> {
        let bucket = ((now.0 - since.0) / i64::from(points.max(1))).max(1);
        let shift = history_shift(&self.db)?;
        let stored = |at: UnixMillis| at.0.saturating_sub(shift);
        let mut query = self.db.prepare_cached(
            "SELECT max(at_ms), sum(span_ms), CAST(sum(duty * span_ms) / max(1, sum(span_ms)) AS INTEGER), sum(worked_ms), sum(units),
                    avg(cpu_temp), avg(battery), avg(other_cpu), reason
             FROM samples WHERE at_ms > ?1 AND at_ms <= ?3 GROUP BY (at_ms - ?1) / ?2 ORDER BY 1",
        )?;
        let rows = query.query_map(params![stored(since), bucket, stored(now)], |row| {
            Ok(Sample {
                at: UnixMillis(row.get::<_, i64>(0)?.saturating_add(shift)),
                span_millis: row.get(1)?,
                duty: Percent::new(row.get(2)?),
                worked_millis: row.get(3)?,
                units: WorkUnits(row.get(4)?),
                cpu_temp: row.get(5)?,
                battery: row.get(6)?,
                other_cpu: row.get(7)?,
                reason: row.get(8)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns the milliseconds worked, the work units and the number of results after `since` and until
    /// `now`; results count by whole quarters of an hour.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be read.
    pub fn totals_since(
        &self,
        since: UnixMillis,
        now: UnixMillis,
    ) -> Result<(u64, WorkUnits, u64), StoreError> {
        let shift = history_shift(&self.db)?;
        let (worked, units) = self
            .db
            .prepare_cached("SELECT coalesce(sum(worked_ms), 0), coalesce(sum(units), 0) FROM samples WHERE at_ms > ?1 AND at_ms <= ?2")?
            .query_row([since.0.saturating_sub(shift), now.0.saturating_sub(shift)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let results = self
            .db
            .prepare_cached(
                "SELECT coalesce(sum(results), 0) FROM results_by_quarter WHERE quarter BETWEEN ?1 AND ?2",
            )?
            .query_row([quarter_of(since, shift), quarter_of(now, shift)], |row| row.get(0))?;
        Ok((worked, WorkUnits(units), results))
    }

    /// Deletes the oldest rows of tables that only grow: samples, journal and receipts. Rows go by number,
    /// so that no clock decides. An index is read as far as rows are kept, so this is too slow for every
    /// event.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be changed.
    pub fn trim(&mut self, most: Kept) -> Result<(), StoreError> {
        self.relaxed(|db| {
            let older = |table: &str, key: &str, of: &str| {
                format!("DELETE FROM {table} WHERE {of} AND {key} < (SELECT {key} FROM {table} WHERE {of} ORDER BY {key} DESC LIMIT 1 OFFSET max(?1, 1) - 1)")
            };
            db.execute(&older("samples", "at_ms", "1"), [most.samples])?;
            // A row of results covers 15 minutes, so a fifteenth of the samples' number is kept.
            db.execute(&older("results_by_quarter", "quarter", "1"), [most.samples / 15 + 1])?;
            db.execute(&older("credits", "at_ms", "settled IS NOT NULL"), [most.credits])?;
            // Sequence numbers rise by one; entries of removed jobs are gone already, so slightly fewer are
            // kept.
            db.execute("DELETE FROM journal WHERE seq <= (SELECT max(seq) FROM journal) - ?1", [most.journal])?;
            Ok(())
        })
    }
}

fn write_sample(db: &Connection, sample: &Sample, before: Option<UnixMillis>) -> Result<(), StoreError> {
    let shift = history_shift(db)?;
    if let Some(before) = before {
        db.execute("DELETE FROM samples WHERE at_ms = ?1", [before.0.saturating_sub(shift)])?;
    }
    db.execute(
        "INSERT OR REPLACE INTO samples (at_ms, span_ms, duty, worked_ms, units, cpu_temp, battery, other_cpu, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            sample.at.0.saturating_sub(shift), sample.span_millis.cast_signed(), sample.duty.get(), sample.worked_millis.cast_signed(), i64::try_from(sample.units.0).unwrap_or(i64::MAX),
            sample.cpu_temp, sample.battery, sample.other_cpu, sample.reason
        ],
    )?;
    Ok(())
}
