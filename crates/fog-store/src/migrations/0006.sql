-- Tasks that wait and have a checkpoint, with its units: what is done of a job that stands still.
CREATE INDEX tasks_saved ON tasks (job_id, units) WHERE state = 'queued' AND units > 0;
