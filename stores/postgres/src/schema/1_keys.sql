-- Keys. A column that is NULL is not set.
CREATE SEQUENCE api_keys_version;

CREATE TABLE api_keys (
    digest         bytea PRIMARY KEY CHECK (octet_length(digest) = 32), -- SHA-256 of the key
    key_id         text COLLATE "C" NOT NULL UNIQUE CHECK (key_id ~ '^[0-9A-Za-z]{8}$'),
    client         text COLLATE "C" NOT NULL CHECK (client <> ''),
    name           text,                                        -- of the client, for people
    scopes         text[] NOT NULL DEFAULT '{}',
    metadata       jsonb CHECK (jsonb_typeof(metadata) = 'object'), -- an object of strings
    prefix         text,                                        -- of a successor
    note           text,
    created        timestamptz NOT NULL DEFAULT now(),
    issued_by      text,
    not_before     timestamptz,
    expires        timestamptz,
    rotated        timestamptz,
    retires        timestamptz,                                 -- end of the overlap after a rotation
    replaced_by    text,                                        -- key_id of the successor
    rotated_reason text,
    paused         timestamptz,
    revoked        timestamptz,
    revoked_by     text,
    revoked_reason text,
    version        bigint NOT NULL DEFAULT 0,                   -- of the last write. The triggers set both
    w              xid8 NOT NULL DEFAULT '0',                   -- the transaction of the last write
    ends           timestamptz GENERATED ALWAYS AS (LEAST(expires, retires)) STORED,
    dead           timestamptz GENERATED ALWAYS AS (LEAST(expires, retires, revoked)) STORED,
    CHECK (LEAST(created, not_before, expires, rotated, retires, paused, revoked) >= 'epoch')
);

CREATE INDEX api_keys_client ON api_keys (client, key_id);
CREATE INDEX api_keys_w ON api_keys (w);
CREATE INDEX api_keys_ends ON api_keys (ends) WHERE ends IS NOT NULL;
CREATE INDEX api_keys_dead ON api_keys (dead) WHERE dead IS NOT NULL;

-- The last removal of each key, so that processes can follow. A row stays for 30 days.
CREATE TABLE api_keys_gone (
    digest  bytea PRIMARY KEY,
    key_id  text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    w       xid8 NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX api_keys_gone_w ON api_keys_gone (w);
CREATE INDEX api_keys_gone_at ON api_keys_gone (at);

-- Makes a write durable and wakes those who follow. The payload is empty, so that a transaction sends one message, however
-- many keys it changes.
CREATE FUNCTION api_keys_tell() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- After a crash, the number of a transaction that was not durable could be given to another one.
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM pg_notify('api_keys', '');
END $$;

CREATE FUNCTION api_keys_before_write() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.version := nextval('api_keys_version');
    IF TG_OP = 'UPDATE' THEN
        IF OLD.revoked IS NOT NULL AND NEW.revoked IS DISTINCT FROM OLD.revoked THEN
            RAISE EXCEPTION 'a revoked key stays revoked' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        IF NEW.digest <> OLD.digest OR NEW.key_id <> OLD.key_id THEN
            RAISE EXCEPTION 'the digest and the id of a key cannot change' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        NEW.version := GREATEST(NEW.version, OLD.version + 1);
    END IF;
    NEW.w := pg_current_xact_id();
    PERFORM api_keys_tell();
    RETURN NEW;
END $$;

-- An insertion takes its number before it waits for a transaction that removes the same key. It then needs a later number.
CREATE FUNCTION api_keys_after_insert() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- At another isolation level, the removal may be invisible.
    IF current_setting('transaction_isolation') <> 'read committed'
        OR EXISTS (SELECT FROM api_keys_gone WHERE digest = NEW.digest)
    THEN
        UPDATE api_keys SET version = DEFAULT WHERE digest = NEW.digest;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION api_keys_after_delete() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO api_keys_gone (digest, key_id, version, w)
    VALUES (OLD.digest, OLD.key_id, GREATEST(nextval('api_keys_version'), OLD.version + 1), pg_current_xact_id())
    ON CONFLICT (digest) DO UPDATE
    SET key_id = excluded.key_id, version = excluded.version, w = excluded.w, at = excluded.at;
    PERFORM api_keys_tell();
    RETURN NULL;
END $$;

CREATE FUNCTION api_keys_trim() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM api_keys_gone WHERE digest IN (
        SELECT digest FROM api_keys_gone WHERE at < now() - interval '30 days' ORDER BY at LIMIT 10000 FOR UPDATE SKIP LOCKED
    );
    RETURN NULL;
END $$;

CREATE FUNCTION api_keys_refuse_truncate() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE EXCEPTION 'use DELETE, because services cannot follow TRUNCATE' USING ERRCODE = 'feature_not_supported';
END $$;

CREATE TRIGGER api_keys_before_write BEFORE INSERT OR UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION api_keys_before_write();
CREATE TRIGGER api_keys_after_insert AFTER INSERT ON api_keys FOR EACH ROW EXECUTE FUNCTION api_keys_after_insert();
CREATE TRIGGER api_keys_after_delete AFTER DELETE ON api_keys FOR EACH ROW EXECUTE FUNCTION api_keys_after_delete();
CREATE TRIGGER api_keys_trim AFTER DELETE ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION api_keys_trim();
CREATE TRIGGER api_keys_refuse_truncate BEFORE TRUNCATE ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION api_keys_refuse_truncate();
CREATE TRIGGER api_keys_gone_refuse_truncate BEFORE TRUNCATE ON api_keys_gone FOR EACH STATEMENT EXECUTE FUNCTION api_keys_refuse_truncate();

-- They run for the writes of logical replication as well.
ALTER TABLE api_keys ENABLE ALWAYS TRIGGER api_keys_before_write;
ALTER TABLE api_keys ENABLE ALWAYS TRIGGER api_keys_after_insert;
ALTER TABLE api_keys ENABLE ALWAYS TRIGGER api_keys_after_delete;
ALTER TABLE api_keys ENABLE ALWAYS TRIGGER api_keys_trim;
ALTER TABLE api_keys ENABLE ALWAYS TRIGGER api_keys_refuse_truncate;
ALTER TABLE api_keys_gone ENABLE ALWAYS TRIGGER api_keys_gone_refuse_truncate;
