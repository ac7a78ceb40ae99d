-- Migrations of the application create these tables. Times are microseconds since 1970.
CREATE TABLE app_keys (
    digest bytea PRIMARY KEY, version bigint NOT NULL, key_id text COLLATE "C" NOT NULL UNIQUE, client text NOT NULL,
    name text, scopes text, prefix text, note text, issued_by text, replaced_by text, rotated_reason text, revoked_by text,
    revoked_reason text, created bigint, not_before bigint, expires bigint, rotated bigint, retires bigint, paused bigint,
    revoked bigint, metadata jsonb NOT NULL
);
CREATE INDEX ON app_keys (version);
CREATE INDEX ON app_keys (client);
CREATE TABLE app_keys_gone (digest bytea PRIMARY KEY, version bigint NOT NULL);
CREATE INDEX ON app_keys_gone (version);
CREATE TABLE app_keys_version (version bigint NOT NULL);
INSERT INTO app_keys_version VALUES (0);
