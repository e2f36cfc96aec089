-- Facts about this file itself: identity, format marks, last known provider date.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Everything that changed, or may have changed, something at the provider, and every change of account data.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at_us   INTEGER NOT NULL,
    actor   TEXT    NOT NULL, -- 'usaged' or 'uid:N'
    action  TEXT    NOT NULL, -- as 'link', 'push.sent', 'push.accepted', 'void'
    subject TEXT    NOT NULL, -- as 'si_123', 'sub_123', 'api_credits/order-1'
    detail  TEXT    NOT NULL, -- JSON
    hash    BLOB    NOT NULL  -- SHA-256 of the row before it and of this one
) STRICT;
CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;

-- When each job last ran, why, and what came of it.
CREATE TABLE job_run (
    job         TEXT    NOT NULL PRIMARY KEY,
    started_us  INTEGER NOT NULL,
    finished_us INTEGER,
    because     TEXT    NOT NULL,
    result      TEXT
) STRICT, WITHOUT ROWID;
