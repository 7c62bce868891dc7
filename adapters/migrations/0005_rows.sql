-- Lists that go on behind a row that cannot be read, and questions to the audit log.

DROP INDEX jobs_by_end;
CREATE INDEX jobs_by_end ON jobs (status, since, id);

CREATE INDEX audit_of_actor ON audit (actor, number);
CREATE INDEX audit_of_action ON audit (action, number);
