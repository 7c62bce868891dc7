-- What can be used once. Of codes, tokens and jtis only hashes are kept.

CREATE TABLE codes (
    code TEXT NOT NULL PRIMARY KEY,
    -- 1 once it was.
    used BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    code_grant TEXT NOT NULL
);
CREATE INDEX codes_by_end ON codes (expires_at);

-- One row for a refresh family, or for the memory that its grant was revoked: whoever changes
-- either changes this row, so that of a revocation and a rotation one comes first.
CREATE TABLE grants (
    id TEXT NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL,
    -- The only token that can be traded; NULL when the grant was revoked.
    newest TEXT UNIQUE,
    family TEXT
);
CREATE INDEX grants_by_end ON grants (expires_at);

-- Every token of a family, so that a replaced one is recognised.
CREATE TABLE refresh_tokens (
    token TEXT NOT NULL PRIMARY KEY,
    grant_id TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX refresh_tokens_of_grant ON refresh_tokens (grant_id);
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (expires_at);

CREATE TABLE jtis (
    client TEXT NOT NULL,
    jti TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (client, jti)
);
CREATE INDEX jtis_by_end ON jtis (expires_at);
