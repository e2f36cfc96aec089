-- Drawn at each start, and when the wall clock jumps; committed before use (rules S2, S5).
CREATE TABLE generation (
    id       INTEGER PRIMARY KEY,
    token    TEXT    NOT NULL UNIQUE,
    drawn_us INTEGER NOT NULL,
    because  TEXT    NOT NULL
) STRICT;

-- One row per item and period: the total that should stand at the provider, and what is known to stand there.
CREATE TABLE usage_record (
    id                INTEGER PRIMARY KEY,
    customer          TEXT    NOT NULL,
    subscription      TEXT    NOT NULL,
    item              TEXT    NOT NULL,
    meter             TEXT    NOT NULL,
    period_from_s     INTEGER NOT NULL,
    period_to_s       INTEGER NOT NULL,
    timestamp_s       INTEGER NOT NULL,           -- T of rule S3
    price             TEXT    NOT NULL,
    unit_amount       TEXT,
    state             TEXT    NOT NULL DEFAULT 'open', -- open, ending, closed
    billable          INTEGER NOT NULL DEFAULT 1, -- 0: trial, paused: nothing is carried out (rule R6)
    -- what it should be
    plan              TEXT    NOT NULL DEFAULT '',
    gross             INTEGER NOT NULL DEFAULT 0,
    rounding          TEXT    NOT NULL DEFAULT 'down',
    used              INTEGER NOT NULL DEFAULT 0, -- millionths of the base unit
    included          INTEGER,                    -- likewise; NULL is unlimited
    overage           INTEGER NOT NULL DEFAULT 0, -- billed units, as everything below
    carried_in        INTEGER NOT NULL DEFAULT 0,
    adopted           INTEGER NOT NULL DEFAULT 0,
    adopted_elsewhere INTEGER NOT NULL DEFAULT 0, -- units at another timestamp, as many as there may be
    probing_from      INTEGER,                    -- set while it is still to be found out where adopted units stand:
                                                  -- the revision it was adopted at (rule S5)
    target            INTEGER NOT NULL DEFAULT 0,
    rated_us          INTEGER NOT NULL DEFAULT 0,
    differs_since_us  INTEGER,                    -- since when target and standing differ
    revision          INTEGER NOT NULL DEFAULT 0,
    -- what stands, as far as known
    standing          INTEGER,                    -- NULL: never read
    standing_us       INTEGER,
    read_generation   INTEGER REFERENCES generation,
    drift             TEXT,                       -- the last read that did not match, in a sentence
    close_read        INTEGER,                    -- first of the two closing reads (rule S6)
    close_read_us     INTEGER,
    held_units        INTEGER NOT NULL DEFAULT 0, -- after closing: neither billed nor carried, waits for a human
    -- retry
    attempts          INTEGER NOT NULL DEFAULT 0,
    next_attempt_us   INTEGER,
    last_error        TEXT,
    -- held for a human (NULL: not held)
    held_code         TEXT,
    held_because      TEXT,
    UNIQUE (item, period_from_s)
) STRICT;

-- Every attempt with its outcome. The key is stored before the request leaves (rule S2).
CREATE TABLE delivery (
    id              INTEGER PRIMARY KEY,
    usage_record_id INTEGER NOT NULL REFERENCES usage_record,
    revision        INTEGER NOT NULL,
    generation_id   INTEGER NOT NULL REFERENCES generation,
    idempotency_key TEXT    NOT NULL UNIQUE,
    quantity        INTEGER NOT NULL,
    timestamp_s     INTEGER NOT NULL,
    state           TEXT    NOT NULL, -- sending, unknown, accepted, refused, abandoned
    sends           INTEGER NOT NULL DEFAULT 1,
    first_sent_us   INTEGER NOT NULL,
    settled_us      INTEGER,
    http_status     INTEGER,
    request_id      TEXT,
    error           TEXT
) STRICT;
CREATE INDEX delivery_by_record ON delivery (usage_record_id, id);
CREATE UNIQUE INDEX one_in_flight ON delivery (usage_record_id) WHERE state IN ('sending', 'unknown');

-- Billed units moved out of a closed period into a later one (rule R6). to_record NULL: no period has taken them yet.
CREATE TABLE carry (
    id           INTEGER PRIMARY KEY,
    from_record  INTEGER NOT NULL REFERENCES usage_record,
    to_record    INTEGER REFERENCES usage_record,
    units        INTEGER NOT NULL CHECK (units > 0),
    at_us        INTEGER NOT NULL,
    held_because TEXT
) STRICT;
CREATE INDEX carry_by_from ON carry (from_record);
CREATE INDEX carry_by_to ON carry (to_record);

-- Units that stand at the provider above what is true, and can no longer be lowered (rules M9, R5, R6).
CREATE TABLE credit_due (
    record  INTEGER NOT NULL PRIMARY KEY REFERENCES usage_record,
    units   INTEGER NOT NULL,
    at_us   INTEGER NOT NULL,
    because TEXT    NOT NULL
) STRICT;
