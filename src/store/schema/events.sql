-- The provider's events, each taken once. What they say is not kept: what they are about is read again.
CREATE TABLE event (
    id       TEXT    NOT NULL PRIMARY KEY,
    kind     TEXT    NOT NULL, -- the provider's word
    subject  TEXT    NOT NULL, -- what is read again
    object   TEXT    NOT NULL,
    taken_us INTEGER NOT NULL,
    done_us  INTEGER           -- when that was read
) STRICT, WITHOUT ROWID;
CREATE INDEX event_open ON event (taken_us) WHERE done_us IS NULL;

-- The customer as it was read last.
CREATE TABLE customer (
    customer   TEXT    NOT NULL PRIMARY KEY,
    name       TEXT,
    email      TEXT,
    delinquent INTEGER NOT NULL,
    deleted    INTEGER NOT NULL,
    read_us    INTEGER NOT NULL
) STRICT;

-- Invoices as they were read last. Amounts are in the currency's smallest unit.
CREATE TABLE invoice (
    invoice         TEXT    NOT NULL PRIMARY KEY,
    subscription    TEXT    NOT NULL,
    number          TEXT,
    status          TEXT    NOT NULL, -- the provider's word
    currency        TEXT    NOT NULL,
    due             INTEGER NOT NULL,
    remaining       INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    next_attempt_s  INTEGER,
    declined        TEXT,             -- the code of the last payment that failed
    created_s       INTEGER NOT NULL,
    read_us         INTEGER NOT NULL
) STRICT;
CREATE INDEX invoice_of ON invoice (subscription, created_s);

-- 1: the plan is the one that the subscription's items tell, and goes with them.
ALTER TABLE link ADD COLUMN follows INTEGER NOT NULL DEFAULT 0;
