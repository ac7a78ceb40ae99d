-- Requests of each key and hour. Times are microseconds since 1970, in UTC.
CREATE TABLE api_key_usage (
    hour      INTEGER NOT NULL,             -- the beginning of the hour
    key_id    TEXT NOT NULL,                -- empty unless the kind is 'key'
    client    TEXT NOT NULL,                -- empty if it is not known
    kind      TEXT NOT NULL,                -- 'key', 'client' without ids of keys, or the totals 'unknown' and 'overflow'
    accepted  INTEGER NOT NULL,
    rejected  INTEGER NOT NULL,
    limited   INTEGER NOT NULL,
    forbidden INTEGER NOT NULL,
    last_used INTEGER,                      -- the minute of the last accepted request in this hour
    PRIMARY KEY (hour, key_id, client, kind)
) STRICT, WITHOUT ROWID;

-- The last use in hours that were removed.
CREATE TABLE api_key_last_use (
    key_id TEXT NOT NULL,
    client TEXT NOT NULL,
    kind   TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (key_id, client, kind)
) STRICT, WITHOUT ROWID;

-- The last batch of each process, so that no batch counts twice.
CREATE TABLE api_key_flush (
    instance TEXT PRIMARY KEY,              -- new at each start of a process
    sequence INTEGER NOT NULL,
    at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_key_usage_since (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    uses  INTEGER NOT NULL,                 -- since when the last use of each key is known
    rows  INTEGER                           -- since when every hour is there, if some were removed
) STRICT;
