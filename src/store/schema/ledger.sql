CREATE TABLE meter (
    id              INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,
    micros_per_unit INTEGER NOT NULL,
    is_time         INTEGER NOT NULL
) STRICT;

-- The last reading of each counter (rules M1, M2, M6). counter_us is up to where it is counted: a little behind what
-- was read, where the clock was read a moment earlier than a busy counter.
CREATE TABLE reading (
    meter_id       INTEGER NOT NULL PRIMARY KEY REFERENCES meter,
    source         TEXT    NOT NULL,
    boot_id        TEXT    NOT NULL,
    container_mark TEXT    NOT NULL,
    counter_mark   TEXT    NOT NULL,
    counter_us     INTEGER NOT NULL,
    cpus           INTEGER NOT NULL,
    monotonic_us   INTEGER NOT NULL,
    boottime_us    INTEGER NOT NULL,
    wall_us        INTEGER NOT NULL
) STRICT;

-- What was used: minutes while a period is open, hours once it is closed and rated (rule M7). Buckets of a meter never
-- overlap, and none spans a boundary.
CREATE TABLE bucket (
    meter_id INTEGER NOT NULL REFERENCES meter,
    from_us  INTEGER NOT NULL,
    width_us INTEGER NOT NULL,
    quantity INTEGER NOT NULL,
    PRIMARY KEY (meter_id, from_us)
) STRICT, WITHOUT ROWID;

-- Moments no bucket may span: ends of periods, links and segments (rule M7).
CREATE TABLE boundary (
    at_us   INTEGER NOT NULL PRIMARY KEY,
    because TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Usage whose wall time is not known yet (rule M5).
CREATE TABLE unplaced (
    id               INTEGER PRIMARY KEY,
    meter_id         INTEGER NOT NULL REFERENCES meter,
    boot_id          TEXT    NOT NULL,
    from_boottime_us INTEGER NOT NULL,
    to_boottime_us   INTEGER NOT NULL,
    to_wall_us       INTEGER NOT NULL, -- the untrusted wall clock's word for the end
    quantity         INTEGER NOT NULL,
    credit_id        INTEGER -- the credit it is, where it is one
) STRICT;

-- When a boot first had something whose wall time was not known. Kept after it was placed, so that a boot whose clock
-- nobody vouches for waits its 24 hours once, not again and again (rule M5).
CREATE TABLE waiting_since (
    boot_id           TEXT    NOT NULL PRIMARY KEY,
    since_boottime_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was watched, and why not (rule M10). Stretches do not overlap.
CREATE TABLE coverage (
    from_us INTEGER NOT NULL PRIMARY KEY,
    to_us   INTEGER NOT NULL,
    state   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Coverage whose wall time is not known yet (rule M5). It begins in this boot, or on the wall before it.
CREATE TABLE unplaced_coverage (
    id               INTEGER PRIMARY KEY,
    boot_id          TEXT    NOT NULL,
    from_wall_us     INTEGER,
    from_boottime_us INTEGER,
    to_boottime_us   INTEGER NOT NULL,
    longest_us       INTEGER, -- it ends after this much, at the latest
    boot_zero_us     INTEGER NOT NULL, -- the untrusted wall clock's word for the boot
    state            TEXT    NOT NULL,
    CHECK ((from_wall_us IS NULL) <> (from_boottime_us IS NULL))
) STRICT;

-- The last round of samples, and how the agent was stopped after it (rule M10).
CREATE TABLE round (
    one            INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    boot_id        TEXT    NOT NULL,
    container_mark TEXT    NOT NULL,
    monotonic_us   INTEGER NOT NULL,
    boottime_us    INTEGER NOT NULL,
    wall_us        INTEGER NOT NULL,
    placed         INTEGER NOT NULL, -- 0: wall_us is an untrusted clock's word
    stop           TEXT              -- 'clean', 'system'; NULL: running, or ended uncleanly
) STRICT;

-- Recorded credits (rules M8, M9).
CREATE TABLE credit (
    id                  INTEGER PRIMARY KEY,
    meter_id            INTEGER NOT NULL REFERENCES meter,
    source              TEXT    NOT NULL,
    key                 TEXT    NOT NULL, -- the caller's id
    quantity            INTEGER NOT NULL,
    at_us               INTEGER,          -- where it was placed; NULL while it waits
    at_given_us         INTEGER,          -- what the caller said
    arrived_us          INTEGER NOT NULL,
    uid                 INTEGER NOT NULL,
    UNIQUE (meter_id, source, key)
) STRICT;
CREATE INDEX credit_by_place ON credit (meter_id, at_us);

-- What arrived in the clock hour of the last record, for max_per_hour (rule M9).
CREATE TABLE credit_rate (
    meter_id INTEGER NOT NULL PRIMARY KEY REFERENCES meter,
    hour_us  INTEGER NOT NULL,
    quantity INTEGER NOT NULL
) STRICT;

-- Mistakes taken back; the credit itself stays (rule M9).
CREATE TABLE void (
    credit_id INTEGER NOT NULL PRIMARY KEY,
    at_us     INTEGER NOT NULL,
    uid       INTEGER NOT NULL,
    because   TEXT    NOT NULL
) STRICT;

-- What is left of credits older than they are kept.
CREATE TABLE credit_hour (
    meter_id INTEGER NOT NULL REFERENCES meter,
    source   TEXT    NOT NULL,
    from_us  INTEGER NOT NULL,
    quantity INTEGER NOT NULL,
    records  INTEGER NOT NULL,
    PRIMARY KEY (meter_id, source, from_us)
) STRICT, WITHOUT ROWID;
