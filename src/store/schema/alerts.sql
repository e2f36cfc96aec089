-- States that somebody was told of, or is to be told of: one row from when one begins until it is over.
CREATE TABLE alert (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL UNIQUE, -- drawn, so that a restored disk names nothing else by it
    code          TEXT    NOT NULL,
    about         TEXT    NOT NULL,        -- '' where there is only one
    severity      TEXT    NOT NULL,        -- 'problem', 'note'
    what          TEXT    NOT NULL,        -- as it was when it began
    hint          TEXT    NOT NULL,
    period_from_s INTEGER,                 -- the provider's period in which it began, where one was known
    period_to_s   INTEGER,
    once_a_period INTEGER NOT NULL,        -- 1: it ends with that period, and not with its cause
    fired_us      INTEGER NOT NULL,
    cleared_us    INTEGER
) STRICT;
CREATE UNIQUE INDEX one_alert_standing ON alert (code, about) WHERE cleared_us IS NULL;

-- What is to be told of an alert, and by which way.
CREATE TABLE alert_message (
    alert    INTEGER NOT NULL REFERENCES alert,
    state    TEXT    NOT NULL,             -- 'fired', 'cleared'
    way      TEXT    NOT NULL,             -- 'command', 'url'
    made_us  INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_us  INTEGER,                      -- NULL: it was told, or given up
    told_us  INTEGER,
    error    TEXT,                         -- why the last attempt failed
    PRIMARY KEY (alert, state, way)
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_message_due ON alert_message (next_us) WHERE next_us IS NOT NULL;
