-- Requests of each key and hour.
CREATE TABLE api_key_usage (
    hour      timestamptz NOT NULL,         -- the beginning of the hour
    key_id    text COLLATE "C" NOT NULL,    -- empty unless the kind is 'key'
    client    text COLLATE "C" NOT NULL,    -- empty if it is not known
    kind      text COLLATE "C" NOT NULL,    -- 'key', 'client' without ids of keys, or the totals 'unknown' and 'overflow'
    accepted  bigint NOT NULL,
    rejected  bigint NOT NULL,
    limited   bigint NOT NULL,
    forbidden bigint NOT NULL,
    last_used timestamptz,                  -- the minute of the last accepted request in this hour
    PRIMARY KEY (hour, key_id, client, kind)
) WITH (fillfactor = 70);                   -- so that an update stays in its page and touches no index

-- The last use in hours that were removed.
CREATE TABLE api_key_last_use (
    key_id text COLLATE "C" NOT NULL,
    client text COLLATE "C" NOT NULL,
    kind   text COLLATE "C" NOT NULL,
    at     timestamptz NOT NULL,
    PRIMARY KEY (key_id, client, kind)
);

-- The last batch of each process, so that no batch counts twice.
CREATE TABLE api_key_flush (
    instance text PRIMARY KEY,              -- new at each start of a process
    sequence bigint NOT NULL,
    at       timestamptz NOT NULL
);

CREATE TABLE api_key_usage_since (
    one  integer PRIMARY KEY CHECK (one = 1),
    uses timestamptz NOT NULL,              -- since when the last use of each key is known
    rows timestamptz                        -- since when every hour is there, if some were removed
);
