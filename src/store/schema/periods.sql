-- What the provider said of a subscription when it was read last: why nothing is billed on it, and when it ends.
CREATE TABLE subscription (
    subscription TEXT    NOT NULL PRIMARY KEY,
    status       TEXT    NOT NULL, -- the provider's word
    paused       INTEGER NOT NULL, -- collection is paused
    ends_s       INTEGER,          -- when it ends, or ended
    read_us      INTEGER NOT NULL
) STRICT;

-- Stretches in which periods of an item came and went that are not known yet: what was used in them is in no row.
CREATE TABLE unseen (
    item     TEXT    NOT NULL,
    from_s   INTEGER NOT NULL,
    to_s     INTEGER NOT NULL,
    link     INTEGER NOT NULL,
    meter    TEXT    NOT NULL,
    billable INTEGER NOT NULL,
    seen_us  INTEGER NOT NULL,
    because  TEXT,             -- why it is not billed; NULL: its periods are to be found
    PRIMARY KEY (item, from_s)
) STRICT;

-- 1: the provider ended the period before its time, and made the invoice there and then.
ALTER TABLE usage_record ADD COLUMN cut INTEGER NOT NULL DEFAULT 0;
