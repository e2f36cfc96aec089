CREATE TABLE meter (
    id              INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,
    micros_per_unit INTEGER NOT NULL,
    is_time         INTEGER NOT NULL
) STRICT;

-- The last reading of each counter (rules M1, M2, M6).
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

-- What was used: minutes while a period is open, hours once it is closed and rated (rule M7).
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

-- What was watched, and why not (rule M10). Stretches do not overlap.
CREATE TABLE coverage (
    from_us INTEGER NOT NULL PRIMARY KEY,
    to_us   INTEGER NOT NULL,
    state   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

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
CREATE INDEX credit_by_arrival ON credit (arrived_us);

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
