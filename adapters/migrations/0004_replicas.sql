-- What every replica has to know alike: which clients may ask and who reviews, the keys that sign
-- tokens, and who guesses passwords.

CREATE TABLE clients (
    id TEXT NOT NULL PRIMARY KEY,
    -- As the directory file has it; of a secret the argon2id hash.
    registration TEXT NOT NULL
);

CREATE TABLE staff (
    username TEXT NOT NULL PRIMARY KEY,
    role TEXT NOT NULL,
    -- argon2id.
    password_hash TEXT NOT NULL
);

CREATE TABLE signing_keys (
    -- Seconds since 1970, 0 for the first: of two keys that two replicas make at once one stands.
    made BIGINT NOT NULL PRIMARY KEY,
    -- The private key under AES-256-GCM, by a secret that is not in the database.
    wrapped TEXT NOT NULL
);

CREATE TABLE guesses (
    -- The hash of a user name that somebody typed.
    account TEXT NOT NULL,
    -- From which network; '' stands for all of them together.
    place TEXT NOT NULL,
    wrong BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    -- 1 where the account's owner logged in.
    owners BIGINT NOT NULL,
    PRIMARY KEY (account, place)
);
CREATE INDEX guesses_by_age ON guesses (last_at);
