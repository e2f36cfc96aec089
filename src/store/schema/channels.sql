-- By what means an item's totals reach its provider: JSON of the channel.
ALTER TABLE item ADD COLUMN channel TEXT NOT NULL DEFAULT '"usage_records"';
-- 1: several VMs add to the same customer and meter, so that what stands tells nothing about this one (rule S10).
ALTER TABLE item ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;

-- 1: nobody but this VM writes to the link's items, so that an excess is its own forgotten usage (rule S5).
ALTER TABLE link ADD COLUMN single_writer INTEGER NOT NULL DEFAULT 0;

ALTER TABLE usage_record ADD COLUMN channel TEXT NOT NULL DEFAULT '"usage_records"';
ALTER TABLE usage_record ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;
-- Rule R5: the later segment of the same period that bills what this one does not; NULL while it is the last.
ALTER TABLE usage_record ADD COLUMN segment_of INTEGER REFERENCES usage_record;
-- Rule R5: units that are billed on closed segments of the period, and are not billed here again.
ALTER TABLE usage_record ADD COLUMN closed_segments INTEGER NOT NULL DEFAULT 0;
-- Rule R5: units billed at an earlier price of a meter that adds up; what stands on it cannot fall below them.
ALTER TABLE usage_record ADD COLUMN floor INTEGER NOT NULL DEFAULT 0;
-- Rule R5: 1 from a change on until a total was sent after it: the newest event before it does not count any more.
ALTER TABLE usage_record ADD COLUMN begins_anew INTEGER NOT NULL DEFAULT 0;

-- Rule S8. 1: what stands too high cannot be lowered by any event, and is left for later usage of the period to absorb.
ALTER TABLE usage_record ADD COLUMN cannot_fall INTEGER NOT NULL DEFAULT 0;

-- Rule S5: usage that this ledger forgot, millionths of the base unit, as far as what stands shows it.
ALTER TABLE usage_record ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
-- Of the adopted units, those that forgotten usage comes to.
ALTER TABLE usage_record ADD COLUMN adopted_by_usage INTEGER NOT NULL DEFAULT 0;
-- What one billed unit is, by how much less usage would come to as many units, and how much usage may be forgotten at all.
ALTER TABLE usage_record ADD COLUMN unit_micros INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_record ADD COLUMN spare INTEGER;
ALTER TABLE usage_record ADD COLUMN forgettable INTEGER NOT NULL DEFAULT 0;
-- 1: units of it may be among those that were taken over in a later period, and are not carried.
ALTER TABLE usage_record ADD COLUMN may_stand_later INTEGER NOT NULL DEFAULT 0;
-- Rule S5: the most that the target was since what stood was the target.
ALTER TABLE usage_record ADD COLUMN wanted INTEGER NOT NULL DEFAULT 0;

-- Rule S8: the UTC day, by its first second, whose share a delivery sets. NULL: the whole period.
ALTER TABLE delivery ADD COLUMN day_s INTEGER;
-- Keys under which the provider stored a failure. An event keeps its identifier, and leaves under another key (rule S2).
ALTER TABLE delivery ADD COLUMN spent_keys INTEGER NOT NULL DEFAULT 0;

-- Rule S8: the parts of a period's target by UTC day.
CREATE TABLE day_share (
    usage_record_id INTEGER NOT NULL REFERENCES usage_record,
    day_s           INTEGER NOT NULL, -- first second of the day
    share           INTEGER NOT NULL, -- what should stand on it
    adopted         INTEGER NOT NULL DEFAULT 0, -- units of it that were taken over from what stood
    standing        INTEGER NOT NULL DEFAULT 0, -- what does, as far as known
    stood           INTEGER NOT NULL DEFAULT 0, -- the most that was ever known to
    PRIMARY KEY (usage_record_id, day_s)
) STRICT, WITHOUT ROWID;

-- Rule R5: how a row was billed in its period before it went on, on another item or at another price.
CREATE TABLE segment (
    id              INTEGER PRIMARY KEY,
    usage_record_id INTEGER NOT NULL REFERENCES usage_record,
    item            TEXT    NOT NULL,
    price           TEXT    NOT NULL,
    billed          INTEGER NOT NULL, -- units that an invoice or its preview bills at this price
    until_us        INTEGER NOT NULL
) STRICT;
