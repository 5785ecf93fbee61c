-- From which commit on which history goes. Each start of a LAPI begins a line of its own: a database that is put back to
-- an earlier state, and counts the same commits again, is known by that.
CREATE TABLE lineages (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token     BIGINT NOT NULL,
    commit_no BIGINT NOT NULL,
    begun_at  BIGINT NOT NULL
);
