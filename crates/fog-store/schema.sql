-- Schema of the database, for people; the steps in src/migrations make it.

CREATE TABLE attempts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  idx INTEGER NOT NULL,
  started_ms INTEGER NOT NULL,
  ended_ms INTEGER,
  outcome TEXT NOT NULL DEFAULT 'running',
  detail TEXT NOT NULL DEFAULT '',
  units INTEGER NOT NULL DEFAULT 0,
  engine TEXT NOT NULL
) STRICT;

CREATE INDEX attempts_by_task ON attempts (job_id, idx, id);

CREATE INDEX attempts_running ON attempts (job_id, idx, id) WHERE outcome = 'running';

CREATE TABLE blob_sums (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  bytes INTEGER NOT NULL,
  pinned INTEGER NOT NULL
) STRICT;

CREATE TRIGGER blobs_deleted AFTER DELETE ON blobs BEGIN
  UPDATE blob_sums SET
    bytes = bytes - (max(OLD.size, 1) + 4095) / 4096 * 4096,
    pinned = pinned - CASE WHEN OLD.pins > 0 THEN (max(OLD.size, 1) + 4095) / 4096 * 4096 ELSE 0 END;
END;

CREATE TRIGGER blobs_inserted AFTER INSERT ON blobs BEGIN
  UPDATE blob_sums SET
    bytes = bytes + (max(NEW.size, 1) + 4095) / 4096 * 4096,
    pinned = pinned + CASE WHEN NEW.pins > 0 THEN (max(NEW.size, 1) + 4095) / 4096 * 4096 ELSE 0 END;
END;

CREATE TRIGGER blobs_pins_changed AFTER UPDATE OF pins ON blobs WHEN (OLD.pins > 0) <> (NEW.pins > 0) BEGIN
  UPDATE blob_sums SET pinned = pinned + CASE WHEN NEW.pins > 0 THEN 1 ELSE -1 END * ((max(NEW.size, 1) + 4095) / 4096 * 4096);
END;

CREATE TABLE blobs (
  id TEXT PRIMARY KEY,
  size INTEGER NOT NULL,
  used_ms INTEGER NOT NULL
, pins INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;

CREATE INDEX blobs_unpinned ON blobs (used_ms) WHERE pins = 0;

CREATE TABLE chat_keys (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  sealed BLOB NOT NULL
) STRICT;

CREATE TRIGGER chat_messages_changed AFTER UPDATE OF thread, sealed, file ON chat_messages BEGIN
  INSERT OR IGNORE INTO chat_sums (thread) VALUES (NEW.thread);
  UPDATE chat_sums SET messages = messages - 1, bytes = bytes - length(OLD.sealed) - coalesce(length(OLD.file), 0) WHERE thread IN ('*', OLD.thread);
  UPDATE chat_sums SET messages = messages + 1, bytes = bytes + length(NEW.sealed) + coalesce(length(NEW.file), 0) WHERE thread IN ('*', NEW.thread);
END;

CREATE TRIGGER chat_messages_deleted AFTER DELETE ON chat_messages BEGIN
  UPDATE chat_sums SET messages = messages - 1, bytes = bytes - length(OLD.sealed) - coalesce(length(OLD.file), 0) WHERE thread IN ('*', OLD.thread);
  DELETE FROM chat_sums WHERE thread = OLD.thread AND messages <= 0 AND thread <> '*';
END;

CREATE TRIGGER chat_messages_inserted AFTER INSERT ON chat_messages BEGIN
  INSERT OR IGNORE INTO chat_sums (thread) VALUES (NEW.thread);
  UPDATE chat_sums SET messages = messages + 1, bytes = bytes + length(NEW.sealed) + coalesce(length(NEW.file), 0) WHERE thread IN ('*', NEW.thread);
END;

CREATE TABLE chat_messages (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  thread TEXT NOT NULL,                   -- a peer id; '' for the room
  is_mine INTEGER NOT NULL,
  is_seen INTEGER NOT NULL,
  state TEXT NOT NULL,
  at_ms INTEGER NOT NULL,                 -- by its author's clock
  stored_ms INTEGER NOT NULL,
  mid TEXT NOT NULL,                      -- the protocol's id
  sealed BLOB NOT NULL,
  file BLOB                               -- sealed
) STRICT;

CREATE INDEX chat_messages_by_thread ON chat_messages (thread, id);

CREATE UNIQUE INDEX chat_messages_once ON chat_messages (thread, is_mine, mid);

CREATE INDEX chat_messages_waiting ON chat_messages (state) WHERE state IN ('queued', 'carried', 'sent');

CREATE TABLE chat_people (
  peer TEXT PRIMARY KEY,
  sealed BLOB NOT NULL,
  seen_ms INTEGER NOT NULL,
  is_marked INTEGER NOT NULL DEFAULT 0    -- as a favourite, verified or blocked: goes last
) STRICT, WITHOUT ROWID;

CREATE INDEX chat_people_by_use ON chat_people (is_marked, seen_ms);

CREATE TABLE chat_state (
  name TEXT PRIMARY KEY,
  sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE chat_sums (
  thread TEXT PRIMARY KEY,
  messages INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX chat_sums_by_bytes ON chat_sums (bytes);

CREATE INDEX chat_sums_by_messages ON chat_sums (messages);

CREATE TABLE chat_wiping (
  one INTEGER PRIMARY KEY CHECK (one = 1)
) STRICT;

CREATE TABLE contents (
  id TEXT PRIMARY KEY,
  blob TEXT NOT NULL REFERENCES blobs (id) ON DELETE CASCADE,
  size INTEGER NOT NULL,
  key BLOB NOT NULL,
  manifest BLOB NOT NULL
, open TEXT) STRICT, WITHOUT ROWID;

CREATE INDEX contents_by_blob ON contents (blob);

CREATE TABLE credit_sums (
  node TEXT PRIMARY KEY,
  earned INTEGER NOT NULL DEFAULT 0,
  spent INTEGER NOT NULL DEFAULT 0,
  reserved INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TRIGGER credits_deleted AFTER DELETE ON credits WHEN OLD.settled IS NULL BEGIN
  UPDATE credit_sums SET reserved = reserved - OLD.reserved WHERE node IN ('', OLD.node);
END;

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

CREATE TABLE credits (
  lease TEXT PRIMARY KEY,
  node TEXT NOT NULL,
  job_id INTEGER,                         -- of this device's jobs, when it pays
  is_earned INTEGER NOT NULL,
  reserved INTEGER NOT NULL,
  settled INTEGER,                        -- NULL while it is put aside
  at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX credits_by_job ON credits (job_id) WHERE job_id IS NOT NULL;

CREATE INDEX credits_by_time ON credits (at_ms) WHERE settled IS NOT NULL;

CREATE INDEX credits_open ON credits (lease) WHERE settled IS NULL;

CREATE TABLE hosted (
  job_id INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
  lease TEXT NOT NULL UNIQUE,
  requester TEXT NOT NULL,
  offer TEXT NOT NULL,
  deadline_ms INTEGER NOT NULL,
  message BLOB,                           -- the signed result, or that it failed; sent until it is answered
  receipt BLOB
) STRICT;

CREATE TRIGGER job_blobs_deleted AFTER DELETE ON job_blobs BEGIN
  UPDATE blobs SET pins = pins - 1 WHERE id = OLD.blob;
END;

CREATE TRIGGER job_blobs_inserted AFTER INSERT ON job_blobs BEGIN
  UPDATE blobs SET pins = pins + 1 WHERE id = NEW.blob;
END;

CREATE TABLE job_blobs (
  job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  blob TEXT NOT NULL,
  PRIMARY KEY (job_id, blob)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_blobs_by_blob ON job_blobs (blob);

CREATE TABLE job_sums (state TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs BEGIN
  UPDATE job_sums SET number = number - 1 WHERE state = OLD.state;
END;

CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs BEGIN
  INSERT INTO job_sums VALUES (NEW.state, 1) ON CONFLICT (state) DO UPDATE SET number = number + 1;
END;

CREATE TRIGGER jobs_state_changed AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state BEGIN
  UPDATE progress SET is_runnable = (NEW.state IN ('queued', 'running') AND NEW.grid IS NULL) WHERE job_id = NEW.id;
  UPDATE job_sums SET number = number - 1 WHERE state = OLD.state;
  INSERT INTO job_sums VALUES (NEW.state, 1) ON CONFLICT (state) DO UPDATE SET number = number + 1;
END;

CREATE TABLE jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  owner TEXT NOT NULL,
  spec TEXT NOT NULL,                     -- the job file's content as JSON
  blobs TEXT NOT NULL,                    -- which blob is the module, each input, stdin; JSON
  state TEXT NOT NULL,
  priority INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  deadline_ms INTEGER NOT NULL,
  finished_ms INTEGER,
  tasks_total INTEGER NOT NULL,
  problem TEXT NOT NULL DEFAULT ''
, grid TEXT, is_picture INTEGER NOT NULL DEFAULT 0) STRICT;

CREATE INDEX jobs_by_deadline ON jobs (deadline_ms) WHERE state IN ('queued', 'running', 'paused');

CREATE INDEX jobs_by_end ON jobs (finished_ms) WHERE state IN ('finished', 'failed', 'cancelled');

CREATE INDEX jobs_by_state ON jobs (state, priority DESC, id);

CREATE TABLE journal (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  job_id INTEGER,
  idx INTEGER,
  detail TEXT NOT NULL
) STRICT;

CREATE INDEX journal_by_job ON journal (job_id, seq);

CREATE INDEX journal_checks ON journal (job_id) WHERE kind = 'checked';

CREATE TABLE kept (
  job_id INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  units INTEGER NOT NULL,
  node TEXT NOT NULL,
  blob TEXT NOT NULL,
  PRIMARY KEY (job_id, idx),
  FOREIGN KEY (job_id, idx) REFERENCES tasks (job_id, idx) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
  lease TEXT PRIMARY KEY,
  job_id INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  node TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  offer TEXT NOT NULL,                    -- hash of the signed offer
  FOREIGN KEY (job_id, idx) REFERENCES tasks (job_id, idx) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX leases_by_task ON leases (job_id, idx);

CREATE TABLE let_go (job_id INTEGER PRIMARY KEY) STRICT;

CREATE TABLE networks (
  name TEXT PRIMARY KEY,                  -- 'lan', 'open', or what a group is called
  sealed BLOB,                            -- a group's secret, sealed with this device's key
  joined_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE outputs (
  job_id INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  path TEXT NOT NULL,
  blob TEXT NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (job_id, idx, path),
  FOREIGN KEY (job_id, idx) REFERENCES tasks (job_id, idx) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE peers (
  node TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  addresses TEXT NOT NULL,                -- JSON
  evidence TEXT NOT NULL,                 -- what was seen of it; JSON
  seen_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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

CREATE INDEX progress_next ON progress (priority DESC, deadline_ms, job_id) WHERE is_runnable = 1 AND ready > 0;

CREATE TABLE receipts (
  lease TEXT NOT NULL PRIMARY KEY,
  node TEXT NOT NULL,
  message BLOB NOT NULL,
  -- Time at which the result was accepted, in milliseconds since 1970.
  at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX receipts_by_age ON receipts (at_ms);

CREATE TABLE removed_jobs (job_id INTEGER PRIMARY KEY) STRICT;

CREATE TABLE renamed (
  job_id INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  name TEXT NOT NULL,
  kept TEXT NOT NULL DEFAULT '',
  reason TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (job_id, idx, seq),
  FOREIGN KEY (job_id, idx) REFERENCES tasks (job_id, idx) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE results_by_quarter (
  quarter INTEGER PRIMARY KEY,
  results INTEGER NOT NULL
) STRICT;

CREATE TABLE samples (
  at_ms INTEGER PRIMARY KEY,
  span_ms INTEGER NOT NULL,
  duty INTEGER NOT NULL,
  worked_ms INTEGER NOT NULL,
  units INTEGER NOT NULL,
  cpu_temp REAL,
  battery REAL,
  other_cpu REAL,
  reason TEXT NOT NULL
) STRICT;

CREATE TABLE schema_steps (step INTEGER PRIMARY KEY) STRICT;

CREATE TABLE settings (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL                     -- JSON
) STRICT, WITHOUT ROWID;

CREATE TABLE shipped (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id INTEGER NOT NULL,
  blob TEXT NOT NULL
) STRICT;

CREATE INDEX shipped_by_job ON shipped (job_id, id);

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

CREATE TABLE tasks (
  job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  idx INTEGER NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,    -- that failed
  not_before_ms INTEGER NOT NULL DEFAULT 0,
  permille INTEGER NOT NULL DEFAULT 0,
  exit_code INTEGER,
  units INTEGER NOT NULL DEFAULT 0,
  active_ms INTEGER NOT NULL DEFAULT 0,
  memory INTEGER NOT NULL DEFAULT 0,
  result_hash TEXT,
  stdout TEXT,                            -- blob
  stderr TEXT,                            -- blob
  stdout_dropped INTEGER NOT NULL DEFAULT 0,
  stderr_dropped INTEGER NOT NULL DEFAULT 0,
  problem TEXT NOT NULL DEFAULT '',
  started_ms INTEGER,
  finished_ms INTEGER, agreed INTEGER NOT NULL DEFAULT 1, renamed INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (job_id, idx)
) STRICT, WITHOUT ROWID;

CREATE INDEX tasks_agreed ON tasks (finished_ms) WHERE state = 'finished' AND agreed >= 2;

CREATE INDEX tasks_failed ON tasks (job_id, finished_ms) WHERE state = 'failed';

CREATE INDEX tasks_ready ON tasks (job_id, idx) WHERE state = 'queued' AND not_before_ms = 0;

CREATE INDEX tasks_running ON tasks (job_id, idx) WHERE state = 'running';

CREATE INDEX tasks_saved ON tasks (job_id, units) WHERE state = 'queued' AND units > 0;

CREATE INDEX tasks_waiting ON tasks (not_before_ms, job_id, idx) WHERE state = 'queued' AND not_before_ms > 0;

