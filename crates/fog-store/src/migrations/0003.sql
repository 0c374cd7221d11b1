-- Chat. What was said and who people are is sealed; the key lies in the one row of chat_keys, sealed with this
-- device's key, so that without that row nothing of it can be read any more.
CREATE TABLE chat_keys (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  sealed BLOB NOT NULL
) STRICT;

-- A row while everything is being deleted: whoever finds it goes on.
CREATE TABLE chat_wiping (
  one INTEGER PRIMARY KEY CHECK (one = 1)
) STRICT;

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

-- What the protocol has to know after a start: groups, what is carried for others, one-time keys.
CREATE TABLE chat_state (
  name TEXT PRIMARY KEY,
  sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
