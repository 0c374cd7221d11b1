-- What is asked at every event is counted where it changes, by triggers, so that no question visits more rows
-- the more is stored.

-- Jobs that hold a stored file. A file that none holds may be given up for room.
ALTER TABLE blobs ADD COLUMN pins INTEGER NOT NULL DEFAULT 0;
UPDATE blobs SET pins = (SELECT count(*) FROM job_blobs WHERE blob = blobs.id);
CREATE INDEX blobs_unpinned ON blobs (used_ms) WHERE pins = 0;
CREATE TABLE blob_sums (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  bytes INTEGER NOT NULL,
  pinned INTEGER NOT NULL
) STRICT;
INSERT INTO blob_sums SELECT 1, coalesce(sum(size), 0), coalesce(sum(CASE WHEN pins > 0 THEN size ELSE 0 END), 0) FROM blobs;
CREATE TRIGGER blobs_inserted AFTER INSERT ON blobs BEGIN
  UPDATE blob_sums SET bytes = bytes + NEW.size, pinned = pinned + CASE WHEN NEW.pins > 0 THEN NEW.size ELSE 0 END;
END;
CREATE TRIGGER blobs_deleted AFTER DELETE ON blobs BEGIN
  UPDATE blob_sums SET bytes = bytes - OLD.size, pinned = pinned - CASE WHEN OLD.pins > 0 THEN OLD.size ELSE 0 END;
END;
CREATE TRIGGER blobs_pins_changed AFTER UPDATE OF pins ON blobs WHEN (OLD.pins > 0) <> (NEW.pins > 0) BEGIN
  UPDATE blob_sums SET pinned = pinned + CASE WHEN NEW.pins > 0 THEN NEW.size ELSE -NEW.size END;
END;
CREATE TRIGGER job_blobs_inserted AFTER INSERT ON job_blobs BEGIN
  UPDATE blobs SET pins = pins + 1 WHERE id = NEW.blob;
END;
CREATE TRIGGER job_blobs_deleted AFTER DELETE ON job_blobs BEGIN
  UPDATE blobs SET pins = pins - 1 WHERE id = OLD.blob;
END;

-- What moves with every task of a job; the job's own row holds its whole job file, which would be written anew
-- each time. 'ready' tasks may start now, 'waiting' ones after their back-off.
CREATE TABLE progress (
  job_id INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
  priority INTEGER NOT NULL,
  deadline_ms INTEGER NOT NULL,
  is_runnable INTEGER NOT NULL,           -- the job is open, and this device runs it
  ready INTEGER NOT NULL DEFAULT 0,
  waiting INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0,
  finished INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  cancelled INTEGER NOT NULL DEFAULT 0,
  units INTEGER NOT NULL DEFAULT 0,
  failures_in_row INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO progress (job_id, priority, deadline_ms, is_runnable, ready, waiting, running, finished, failed, cancelled, units, failures_in_row)
  SELECT id, priority, deadline_ms, state IN ('queued', 'running') AND grid IS NULL,
    (SELECT count(*) FROM tasks WHERE job_id = jobs.id AND state = 'queued' AND not_before_ms = 0),
    (SELECT count(*) FROM tasks WHERE job_id = jobs.id AND state = 'queued' AND not_before_ms <> 0),
    (SELECT count(*) FROM tasks WHERE job_id = jobs.id AND state = 'running'),
    (SELECT count(*) FROM tasks WHERE job_id = jobs.id AND state = 'finished'),
    (SELECT count(*) FROM tasks WHERE job_id = jobs.id AND state = 'failed'),
    (SELECT count(*) FROM tasks WHERE job_id = jobs.id AND state = 'cancelled'),
    units, failures_in_row
  FROM jobs;
CREATE INDEX progress_next ON progress (priority DESC, deadline_ms, job_id) WHERE is_runnable = 1 AND ready > 0;
ALTER TABLE jobs DROP COLUMN tasks_finished;
ALTER TABLE jobs DROP COLUMN units;
ALTER TABLE jobs DROP COLUMN failures_in_row;
CREATE TRIGGER jobs_state_changed AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state BEGIN
  UPDATE progress SET is_runnable = (NEW.state IN ('queued', 'running') AND NEW.grid IS NULL) WHERE job_id = NEW.id;
  UPDATE job_sums SET number = number - 1 WHERE state = OLD.state;
  INSERT INTO job_sums VALUES (NEW.state, 1) ON CONFLICT (state) DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER tasks_state_changed AFTER UPDATE OF state, not_before_ms ON tasks
WHEN OLD.state <> NEW.state OR (OLD.not_before_ms = 0) <> (NEW.not_before_ms = 0) BEGIN
  UPDATE progress SET
    ready = ready + (NEW.state = 'queued' AND NEW.not_before_ms = 0) - (OLD.state = 'queued' AND OLD.not_before_ms = 0),
    waiting = waiting + (NEW.state = 'queued' AND NEW.not_before_ms <> 0) - (OLD.state = 'queued' AND OLD.not_before_ms <> 0),
    running = running + (NEW.state = 'running') - (OLD.state = 'running'),
    finished = finished + (NEW.state = 'finished') - (OLD.state = 'finished'),
    failed = failed + (NEW.state = 'failed') - (OLD.state = 'failed'),
    cancelled = cancelled + (NEW.state = 'cancelled') - (OLD.state = 'cancelled')
  WHERE job_id = NEW.job_id;
END;

-- Jobs by state.
CREATE TABLE job_sums (state TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO job_sums SELECT state, count(*) FROM jobs GROUP BY state;
CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs BEGIN
  INSERT INTO job_sums VALUES (NEW.state, 1) ON CONFLICT (state) DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs BEGIN
  UPDATE job_sums SET number = number - 1 WHERE state = OLD.state;
END;
CREATE INDEX jobs_by_deadline ON jobs (deadline_ms) WHERE state IN ('queued', 'running', 'paused');
CREATE INDEX jobs_by_end ON jobs (finished_ms) WHERE state IN ('finished', 'failed', 'cancelled');

DROP INDEX tasks_by_state;
CREATE INDEX tasks_ready ON tasks (job_id, idx) WHERE state = 'queued' AND not_before_ms = 0;
CREATE INDEX tasks_waiting ON tasks (not_before_ms, job_id, idx) WHERE state = 'queued' AND not_before_ms > 0;
CREATE INDEX tasks_running ON tasks (job_id, idx) WHERE state = 'running';
CREATE INDEX tasks_failed ON tasks (job_id, finished_ms) WHERE state = 'failed';
CREATE INDEX tasks_agreed ON tasks (finished_ms) WHERE state = 'finished' AND agreed >= 2;
CREATE INDEX attempts_running ON attempts (job_id, idx, id) WHERE outcome = 'running';
CREATE INDEX journal_checks ON journal (job_id) WHERE kind = 'checked';

-- Results by quarter of an hour since 1970: every time zone's midnight lies between two.
CREATE TABLE results_by_quarter (
  quarter INTEGER PRIMARY KEY,
  results INTEGER NOT NULL
) STRICT;
INSERT INTO results_by_quarter SELECT at_ms / 900000, count(*) FROM journal WHERE kind = 'result' GROUP BY 1;

-- Jobs that are gone; what hung on them follows in pieces, so that nobody waits for it.
CREATE TABLE removed_jobs (job_id INTEGER PRIMARY KEY) STRICT;

-- Sums of credits for each device, and under '' for all. They stay when old rows of 'credits' go.
CREATE TABLE credit_sums (
  node TEXT PRIMARY KEY,
  earned INTEGER NOT NULL DEFAULT 0,
  spent INTEGER NOT NULL DEFAULT 0,
  reserved INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO credit_sums
  SELECT node, CAST(total(CASE is_earned WHEN 1 THEN settled END) AS INTEGER), CAST(total(CASE is_earned WHEN 0 THEN settled END) AS INTEGER),
    CAST(total(reserved) AS INTEGER) FROM credits GROUP BY node;
INSERT INTO credit_sums
  SELECT '', CAST(total(earned) AS INTEGER), CAST(total(spent) AS INTEGER), CAST(total(reserved) AS INTEGER) FROM credit_sums;
CREATE INDEX credits_by_job ON credits (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX credits_open ON credits (lease) WHERE settled IS NULL;
CREATE INDEX credits_by_time ON credits (at_ms) WHERE settled IS NOT NULL;
-- An addition beyond the largest integer becomes a real number, which CAST cuts to that integer.
CREATE TRIGGER credits_inserted AFTER INSERT ON credits BEGIN
  INSERT OR IGNORE INTO credit_sums (node) VALUES (NEW.node);
  UPDATE credit_sums SET
    earned = CAST(earned + CASE NEW.is_earned WHEN 1 THEN coalesce(NEW.settled, 0) ELSE 0 END AS INTEGER),
    spent = CAST(spent + CASE NEW.is_earned WHEN 0 THEN coalesce(NEW.settled, 0) ELSE 0 END AS INTEGER),
    reserved = CAST(reserved + NEW.reserved AS INTEGER)
  WHERE node IN ('', NEW.node);
END;
CREATE TRIGGER credits_settled AFTER UPDATE OF reserved, settled ON credits BEGIN
  UPDATE credit_sums SET
    earned = CAST(earned + CASE NEW.is_earned WHEN 1 THEN coalesce(NEW.settled, 0) - coalesce(OLD.settled, 0) ELSE 0 END AS INTEGER),
    spent = CAST(spent + CASE NEW.is_earned WHEN 0 THEN coalesce(NEW.settled, 0) - coalesce(OLD.settled, 0) ELSE 0 END AS INTEGER),
    reserved = CAST(reserved + NEW.reserved - OLD.reserved AS INTEGER)
  WHERE node IN ('', NEW.node);
END;
CREATE TRIGGER credits_deleted AFTER DELETE ON credits WHEN OLD.settled IS NULL BEGIN
  UPDATE credit_sums SET reserved = reserved - OLD.reserved WHERE node IN ('', OLD.node);
END;

-- States of a hosted task that its requester was told of, the newest last.
CREATE TABLE shipped (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id INTEGER NOT NULL,
  blob TEXT NOT NULL
) STRICT;
CREATE INDEX shipped_by_job ON shipped (job_id, id);

-- Messages and bytes of files of each thread, and of all under '*' (no thread is called so).
CREATE TABLE chat_sums (
  thread TEXT PRIMARY KEY,
  messages INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO chat_sums SELECT thread, count(*), coalesce(sum(length(sealed) + coalesce(length(file), 0)), 0) FROM chat_messages GROUP BY thread;
INSERT INTO chat_sums SELECT '*', coalesce(sum(messages), 0), coalesce(sum(bytes), 0) FROM chat_sums;
CREATE INDEX chat_sums_by_messages ON chat_sums (messages);
CREATE INDEX chat_sums_by_bytes ON chat_sums (bytes);
CREATE TRIGGER chat_messages_inserted AFTER INSERT ON chat_messages BEGIN
  INSERT OR IGNORE INTO chat_sums (thread) VALUES (NEW.thread);
  UPDATE chat_sums SET messages = messages + 1, bytes = bytes + length(NEW.sealed) + coalesce(length(NEW.file), 0) WHERE thread IN ('*', NEW.thread);
END;
CREATE TRIGGER chat_messages_changed AFTER UPDATE OF thread, sealed, file ON chat_messages BEGIN
  INSERT OR IGNORE INTO chat_sums (thread) VALUES (NEW.thread);
  UPDATE chat_sums SET messages = messages - 1, bytes = bytes - length(OLD.sealed) - coalesce(length(OLD.file), 0) WHERE thread IN ('*', OLD.thread);
  UPDATE chat_sums SET messages = messages + 1, bytes = bytes + length(NEW.sealed) + coalesce(length(NEW.file), 0) WHERE thread IN ('*', NEW.thread);
END;
CREATE TRIGGER chat_messages_deleted AFTER DELETE ON chat_messages BEGIN
  UPDATE chat_sums SET messages = messages - 1, bytes = bytes - length(OLD.sealed) - coalesce(length(OLD.file), 0) WHERE thread IN ('*', OLD.thread);
  DELETE FROM chat_sums WHERE thread = OLD.thread AND messages <= 0 AND thread <> '*';
END;

-- The id of the open bytes where what is stored is sealed, as states of tasks are; the key of those is not stored.
ALTER TABLE contents ADD COLUMN open TEXT;
