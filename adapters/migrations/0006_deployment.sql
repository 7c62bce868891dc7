-- What the jobs and their files know each other by: a server that is told the wrong database must
-- not take the files of another one for its own. One row at most.
CREATE TABLE deployment (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL
);
