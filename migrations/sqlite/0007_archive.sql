-- A definition is archived while its newest version has a time here: the time in microseconds.
ALTER TABLE definitions ADD COLUMN archived_at INTEGER;
