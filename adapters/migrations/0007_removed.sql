-- The jobs whose files have to go: nothing is deleted only because no job is known for it, which
-- may be newer than a database that was restored.
CREATE TABLE removed_jobs (
    id TEXT NOT NULL PRIMARY KEY
);
