-- Keys. Times are microseconds since 1970, in UTC. A text that is NULL is not set.
CREATE TABLE api_key (
    digest         BLOB NOT NULL CHECK (length(digest) = 32), -- SHA-256 of the key
    key_id         TEXT NOT NULL CHECK (length(key_id) = 8 AND key_id NOT GLOB '*[^0-9A-Za-z]*'),
    client         TEXT NOT NULL CHECK (client <> ''),
    name           TEXT,                                             -- of the client, for people
    scopes         TEXT NOT NULL DEFAULT '',                         -- separated by single blanks
    metadata       TEXT CHECK (metadata IS NULL OR json_type(metadata) = 'object'), -- an object of strings
    prefix         TEXT,                                             -- of a successor
    note           TEXT,
    created        INTEGER NOT NULL CHECK (created >= 0),
    issued_by      TEXT,
    not_before     INTEGER CHECK (not_before >= 0),
    expires        INTEGER CHECK (expires >= 0),
    rotated        INTEGER CHECK (rotated >= 0),
    retires        INTEGER CHECK (retires >= 0),                     -- end of the overlap after a rotation
    replaced_by    TEXT,                                             -- key_id of the successor
    rotated_reason TEXT,
    paused         INTEGER CHECK (paused >= 0),
    revoked        INTEGER CHECK (revoked >= 0),
    revoked_by     TEXT,
    revoked_reason TEXT,
    version        INTEGER NOT NULL DEFAULT 0,                       -- of the last write. The triggers set it
    -- The first of several times. A time that is not set is the largest number.
    ends           INTEGER AS (min(ifnull(expires, 9223372036854775807), ifnull(retires, 9223372036854775807))),
    dead           INTEGER AS (min(ifnull(expires, 9223372036854775807), ifnull(retires, 9223372036854775807),
                                   ifnull(revoked, 9223372036854775807)))
) STRICT;

CREATE UNIQUE INDEX api_key_digest ON api_key (digest);
CREATE UNIQUE INDEX api_key_id ON api_key (key_id);
CREATE INDEX api_key_client ON api_key (client, key_id);
CREATE INDEX api_key_version ON api_key (version);
CREATE INDEX api_key_ends ON api_key (ends) WHERE ends < 9223372036854775807;
CREATE INDEX api_key_dead ON api_key (dead) WHERE dead < 9223372036854775807;

-- One row for each write, so that processes can follow. The last 100,000 rows stay.
CREATE TABLE api_key_history (
    version INTEGER PRIMARY KEY,
    mark    INTEGER NOT NULL,       -- random, so that a restored backup cannot be mistaken for the newer database
    removed BLOB                    -- the digest, if the write removed a key
) STRICT;
INSERT INTO api_key_history VALUES (0, random(), NULL);

CREATE TRIGGER api_key_history_trim AFTER INSERT ON api_key_history BEGIN
    DELETE FROM api_key_history WHERE version <= NEW.version - 100000;
END;

CREATE TRIGGER api_key_inserted AFTER INSERT ON api_key BEGIN
    INSERT INTO api_key_history (mark) VALUES (random());
    UPDATE api_key SET version = (SELECT max(version) FROM api_key_history) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER api_key_updated AFTER UPDATE OF
    client, name, scopes, metadata, prefix, note, created, issued_by, not_before, expires, rotated, retires, replaced_by,
    rotated_reason, paused, revoked, revoked_by, revoked_reason ON api_key
BEGIN
    INSERT INTO api_key_history (mark) VALUES (random());
    UPDATE api_key SET version = (SELECT max(version) FROM api_key_history) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER api_key_removed AFTER DELETE ON api_key BEGIN
    INSERT INTO api_key_history (mark, removed) VALUES (random(), OLD.digest);
END;

-- Revocation is irreversible.
CREATE TRIGGER api_key_stays_revoked BEFORE UPDATE OF revoked ON api_key
    WHEN OLD.revoked IS NOT NULL AND NEW.revoked IS NOT OLD.revoked
BEGIN
    SELECT RAISE(ABORT, 'a revoked key stays revoked');
END;

CREATE TRIGGER api_key_keeps_identity BEFORE UPDATE OF digest, key_id ON api_key
    WHEN NEW.digest IS NOT OLD.digest OR NEW.key_id IS NOT OLD.key_id
BEGIN
    SELECT RAISE(ABORT, 'the digest and the id of a key cannot change');
END;

-- Without it, INSERT OR REPLACE would remove a key without the trigger above, and could replace a revoked key.
CREATE TRIGGER api_key_is_new BEFORE INSERT ON api_key
    WHEN EXISTS (SELECT 1 FROM api_key WHERE digest = NEW.digest) OR EXISTS (SELECT 1 FROM api_key WHERE key_id = NEW.key_id)
BEGIN
    SELECT RAISE(ABORT, 'another key has this digest or id');
END;
