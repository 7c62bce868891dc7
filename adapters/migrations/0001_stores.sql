-- What every store keeps. SQLite and PostgreSQL read the same text: instants are nanoseconds
-- since 1970 in UTC, everything that has a shape of its own is JSON.

CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    status TEXT NOT NULL,
    patient TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- When a worker may claim it; NULL for what needs no worker.
    runnable_at BIGINT,
    job TEXT NOT NULL
);
-- Lists, newest first.
CREATE INDEX jobs_by_age ON jobs (created_at, id);
CREATE INDEX jobs_of_status ON jobs (status, created_at, id);
CREATE INDEX jobs_of_patient ON jobs (patient, created_at, id);
-- The queue, oldest first: as long as what waits, not as what was ever asked.
CREATE INDEX jobs_waiting ON jobs (created_at, id) WHERE runnable_at IS NOT NULL;

CREATE TABLE sessions (
    key TEXT NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    session TEXT NOT NULL
);
CREATE INDEX sessions_by_end ON sessions (expires_at);

CREATE TABLE audit (
    number BIGINT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    patient TEXT NOT NULL,
    job TEXT NOT NULL,
    -- As it was when the hash was made, to the letter.
    event TEXT NOT NULL
);
CREATE INDEX audit_of_patient ON audit (patient, number);
CREATE INDEX audit_of_job ON audit (job, number);
-- The newest link: whoever appends locks this one row, and a cut-off end is noticed.
CREATE TABLE audit_head (
    one BIGINT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO audit_head (one, number, hash) VALUES (1, 0, 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA');
