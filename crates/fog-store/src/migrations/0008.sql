-- Receipts for results of other devices: each is sent until its worker has stored it.
CREATE TABLE receipts (
  lease TEXT NOT NULL PRIMARY KEY,
  node TEXT NOT NULL,
  message BLOB NOT NULL,
  -- Time at which the result was accepted, in milliseconds since 1970.
  at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX receipts_by_age ON receipts (at_ms);
