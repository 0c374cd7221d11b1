-- Files count with the whole blocks that they take on the disk (4096 bytes, one at least), as `on_disk` does: of many
-- small ones that is most of what they take.
DROP TRIGGER blobs_inserted;
DROP TRIGGER blobs_deleted;
DROP TRIGGER blobs_pins_changed;
UPDATE blob_sums SET
  bytes = (SELECT coalesce(sum((max(size, 1) + 4095) / 4096 * 4096), 0) FROM blobs),
  pinned = (SELECT coalesce(sum((max(size, 1) + 4095) / 4096 * 4096), 0) FROM blobs WHERE pins > 0);
CREATE TRIGGER blobs_inserted AFTER INSERT ON blobs BEGIN
  UPDATE blob_sums SET
    bytes = bytes + (max(NEW.size, 1) + 4095) / 4096 * 4096,
    pinned = pinned + CASE WHEN NEW.pins > 0 THEN (max(NEW.size, 1) + 4095) / 4096 * 4096 ELSE 0 END;
END;
CREATE TRIGGER blobs_deleted AFTER DELETE ON blobs BEGIN
  UPDATE blob_sums SET
    bytes = bytes - (max(OLD.size, 1) + 4095) / 4096 * 4096,
    pinned = pinned - CASE WHEN OLD.pins > 0 THEN (max(OLD.size, 1) + 4095) / 4096 * 4096 ELSE 0 END;
END;
CREATE TRIGGER blobs_pins_changed AFTER UPDATE OF pins ON blobs WHEN (OLD.pins > 0) <> (NEW.pins > 0) BEGIN
  UPDATE blob_sums SET pinned = pinned + CASE WHEN NEW.pins > 0 THEN 1 ELSE -1 END * ((max(NEW.size, 1) + 4095) / 4096 * 4096);
END;

-- Jobs of other devices that are done with: what holds their files, and the names of these, follow in pieces.
CREATE TABLE let_go (job_id INTEGER PRIMARY KEY) STRICT;
INSERT INTO let_go SELECT job_id FROM hosted WHERE receipt IS NOT NULL;

-- What lists show of a job lies beside its job file, which can be long.
ALTER TABLE jobs ADD COLUMN is_picture INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET is_picture = json_type(spec, '$.assemble.tiles') IS NOT NULL;
