-- Jobs that other devices may run: the wish as JSON; NULL for jobs of this device alone.
ALTER TABLE jobs ADD COLUMN grid TEXT;
-- Devices that came to the result of a task.
ALTER TABLE tasks ADD COLUMN agreed INTEGER NOT NULL DEFAULT 1;

-- Work between devices in thousandths of a credit: what is put aside while a task is lent, and what its
-- receipt says.
CREATE TABLE credits (
  lease TEXT PRIMARY KEY,
  node TEXT NOT NULL,
  job_id INTEGER,                         -- of this device's jobs, when it pays
  is_earned INTEGER NOT NULL,
  reserved INTEGER NOT NULL,
  settled INTEGER,                        -- NULL while it is put aside
  at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE networks (
  name TEXT PRIMARY KEY,                  -- 'lan', 'open', or what a group is called
  sealed BLOB,                            -- a group's secret, sealed with this device's key
  joined_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE peers (
  node TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  addresses TEXT NOT NULL,                -- JSON
  evidence TEXT NOT NULL,                 -- what was seen of it; JSON
  seen_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Tasks of jobs of this device that another one has.
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

-- The newest state of such a task that has arrived here.
CREATE TABLE kept (
  job_id INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  units INTEGER NOT NULL,
  node TEXT NOT NULL,
  blob TEXT NOT NULL,
  PRIMARY KEY (job_id, idx),
  FOREIGN KEY (job_id, idx) REFERENCES tasks (job_id, idx) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Jobs of other devices that run here.
CREATE TABLE hosted (
  job_id INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
  lease TEXT NOT NULL UNIQUE,
  requester TEXT NOT NULL,
  offer TEXT NOT NULL,
  deadline_ms INTEGER NOT NULL,
  message BLOB,                           -- the signed result, or that it failed; sent until it is answered
  receipt BLOB
) STRICT;

-- Stored files that other devices may fetch, sealed.
CREATE TABLE contents (
  id TEXT PRIMARY KEY,
  blob TEXT NOT NULL REFERENCES blobs (id) ON DELETE CASCADE,
  size INTEGER NOT NULL,
  key BLOB NOT NULL,
  manifest BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX contents_by_blob ON contents (blob);
