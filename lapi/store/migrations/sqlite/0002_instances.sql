-- A bouncer's place in the stream is a commit and a time; last_pull is what is shown and pruned by.
ALTER TABLE bouncers ADD COLUMN cursor_time INTEGER;
UPDATE bouncers SET cursor_time = last_pull;

-- The machines that use a bouncer's key, one by one. Shown to operators; nothing is decided by it.
CREATE TABLE bouncer_instances (
    bouncer_id    INTEGER NOT NULL REFERENCES bouncers (id) ON DELETE CASCADE,
    instance      TEXT   NOT NULL,
    ip            TEXT   NOT NULL,
    kind          TEXT   NOT NULL,
    version       TEXT   NOT NULL,
    last_seen     INTEGER NOT NULL,
    cursor_commit INTEGER NOT NULL,
    PRIMARY KEY (bouncer_id, instance)
) WITHOUT ROWID;
