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
  tasks_finished INTEGER NOT NULL DEFAULT 0,
  units INTEGER NOT NULL DEFAULT 0,
  failures_in_row INTEGER NOT NULL DEFAULT 0,
  problem TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, priority DESC, id);

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
  finished_ms INTEGER,
  PRIMARY KEY (job_id, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX tasks_by_state ON tasks (state, job_id, idx);

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

CREATE TABLE outputs (
  job_id INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  path TEXT NOT NULL,
  blob TEXT NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (job_id, idx, path),
  FOREIGN KEY (job_id, idx) REFERENCES tasks (job_id, idx) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE blobs (
  id TEXT PRIMARY KEY,
  size INTEGER NOT NULL,
  used_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE job_blobs (
  job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  blob TEXT NOT NULL,
  PRIMARY KEY (job_id, blob)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_blobs_by_blob ON job_blobs (blob);

CREATE TABLE journal (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  job_id INTEGER,
  idx INTEGER,
  detail TEXT NOT NULL
) STRICT;
CREATE INDEX journal_by_job ON journal (job_id, seq);

CREATE TABLE settings (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL                     -- JSON
) STRICT, WITHOUT ROWID;

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
