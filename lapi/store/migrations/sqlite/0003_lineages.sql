-- From which commit on which history goes. Each start of a LAPI begins a line of its own: a database that is put back to
-- an earlier state, and counts the same commits again, is known by that.
CREATE TABLE lineages (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    token     INTEGER NOT NULL,
    commit_no INTEGER NOT NULL,
    begun_at  INTEGER NOT NULL
);
