-- A bouncer's place in the stream is a commit and a time; last_pull is what is shown and pruned by.
ALTER TABLE bouncers ADD COLUMN cursor_time BIGINT;
UPDATE bouncers SET cursor_time = last_pull;

-- The machines that use a bouncer's key, one by one. Shown to operators; nothing is decided by it.
CREATE TABLE bouncer_instances (
    bouncer_id    BIGINT NOT NULL REFERENCES bouncers (id) ON DELETE CASCADE,
    instance      TEXT   NOT NULL,
    ip            TEXT   NOT NULL,
    kind          TEXT   NOT NULL,
    version       TEXT   NOT NULL,
    last_seen     BIGINT NOT NULL,
    cursor_commit BIGINT NOT NULL,
    PRIMARY KEY (bouncer_id, instance)
);
