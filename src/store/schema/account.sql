-- Customer, subscription and plan in force on this VM, from/to (rule R1). History is kept.
CREATE TABLE link (
    id           INTEGER PRIMARY KEY,
    customer     TEXT    NOT NULL,
    subscription TEXT    NOT NULL,
    plan         TEXT    NOT NULL,
    from_us      INTEGER NOT NULL,
    to_us        INTEGER,
    made_us      INTEGER NOT NULL,
    made_by      TEXT    NOT NULL,
    CHECK (to_us IS NULL OR to_us >= from_us)
) STRICT;
CREATE UNIQUE INDEX one_link_in_force ON link ((1)) WHERE to_us IS NULL;

-- The subscription items of a link. One meter has one item within a link; a meter without a row is not billed.
CREATE TABLE item (
    link_id     INTEGER NOT NULL REFERENCES link,
    meter       TEXT    NOT NULL,
    item        TEXT    NOT NULL,
    price       TEXT    NOT NULL,
    lookup_key  TEXT,
    unit_amount TEXT,             -- decimal, in the currency's smallest unit
    currency    TEXT    NOT NULL,
    created_s   INTEGER NOT NULL,
    PRIMARY KEY (link_id, meter)
) STRICT, WITHOUT ROWID;
