-- The queue in a fair order, and what is asked of all jobs without reading them all: how many are
-- open, and which are in their state for too long.

-- Who asked.
ALTER TABLE jobs ADD COLUMN client TEXT;
-- Since when it is in its state. NULL in rows of an older version, until this one fills them in.
ALTER TABLE jobs ADD COLUMN since BIGINT;
-- Its place in the queue, from when a worker could first claim it.
ALTER TABLE jobs ADD COLUMN turn BIGINT;
-- The same, where the client's next job has to keep its distance from it.
ALTER TABLE jobs ADD COLUMN client_turn BIGINT;
UPDATE jobs SET turn = created_at, client_turn = created_at WHERE runnable_at IS NOT NULL;

DROP INDEX jobs_waiting;
CREATE INDEX jobs_waiting ON jobs (turn, id) WHERE runnable_at IS NOT NULL;
CREATE INDEX jobs_waiting_of_client ON jobs (client, client_turn) WHERE runnable_at IS NOT NULL;
CREATE INDEX jobs_waiting_of_patient ON jobs (patient, turn) WHERE runnable_at IS NOT NULL;
CREATE INDEX jobs_open_of_client ON jobs (client) WHERE status IN ('awaiting-input', 'requested', 'retrieved');
CREATE INDEX jobs_open_of_patient ON jobs (patient) WHERE status IN ('awaiting-input', 'requested', 'retrieved');
CREATE INDEX jobs_by_end ON jobs (status, since);
CREATE INDEX jobs_of_older_version ON jobs (id) WHERE since IS NULL;
