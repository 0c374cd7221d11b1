-- Files of a result that have another name there than their program gave them, or that were left out: then `kept` is empty.
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

-- How many they are, those of which only the number is known among them.
ALTER TABLE tasks ADD COLUMN renamed INTEGER NOT NULL DEFAULT 0;
