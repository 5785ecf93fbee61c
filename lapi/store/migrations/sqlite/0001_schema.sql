-- How far this database has come; one row. commit_no numbers the writes that touch decisions.
CREATE TABLE head (
    one              INTEGER PRIMARY KEY CHECK (one = 1),
    database_id      BLOB    NOT NULL,
    commit_no        INTEGER NOT NULL,
    roster           INTEGER NOT NULL,
    last_alert_id    INTEGER NOT NULL,
    last_decision_id INTEGER NOT NULL
);
INSERT INTO head VALUES (1, randomblob(16), 0, 0, 0, 0);

CREATE TABLE machines (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    name           TEXT    NOT NULL UNIQUE,
    password       TEXT    NOT NULL,
    last_push      INTEGER,
    last_heartbeat INTEGER,
    ip             TEXT    NOT NULL DEFAULT '',
    scenarios      TEXT    NOT NULL DEFAULT '',
    version        TEXT    NOT NULL DEFAULT '',
    validated      BOOLEAN NOT NULL,
    auth_type      TEXT    NOT NULL,
    os_name        TEXT    NOT NULL DEFAULT '',
    os_family      TEXT    NOT NULL DEFAULT '',
    os_version     TEXT    NOT NULL DEFAULT '',
    feature_flags  TEXT    NOT NULL DEFAULT '',
    hub_state      TEXT    NOT NULL DEFAULT '',
    datasources    TEXT    NOT NULL DEFAULT ''
);

CREATE TABLE bouncers (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    name          TEXT    NOT NULL UNIQUE,
    key_hash      TEXT    NOT NULL,
    revoked       BOOLEAN NOT NULL DEFAULT FALSE,
    ip            TEXT    NOT NULL DEFAULT '',
    kind          TEXT    NOT NULL DEFAULT '',
    version       TEXT    NOT NULL DEFAULT '',
    last_pull     INTEGER,
    cursor_commit INTEGER,
    auth_type     TEXT    NOT NULL,
    os_name       TEXT    NOT NULL DEFAULT '',
    os_family     TEXT    NOT NULL DEFAULT '',
    os_version    TEXT    NOT NULL DEFAULT '',
    feature_flags TEXT    NOT NULL DEFAULT '',
    auto_created  BOOLEAN NOT NULL
);
CREATE INDEX bouncers_key_hash ON bouncers (key_hash);

-- events and meta are JSON as they go out. community: comes from a community list or a blocklist.
-- staged: an import that is not whole yet.
CREATE TABLE alerts (
    id               INTEGER PRIMARY KEY,
    created_at       INTEGER NOT NULL,
    scenario         TEXT    NOT NULL,
    message          TEXT    NOT NULL,
    events_count     INTEGER NOT NULL,
    started_at       INTEGER NOT NULL,
    stopped_at       INTEGER NOT NULL,
    source_scope     TEXT    NOT NULL,
    source_value     TEXT    NOT NULL,
    source_ip        TEXT    NOT NULL,
    source_range     TEXT    NOT NULL,
    source_as_number TEXT    NOT NULL,
    source_as_name   TEXT    NOT NULL,
    source_cn        TEXT    NOT NULL,
    source_latitude  REAL    NOT NULL,
    source_longitude REAL    NOT NULL,
    capacity         INTEGER NOT NULL,
    leakspeed        TEXT    NOT NULL,
    scenario_version TEXT    NOT NULL,
    scenario_hash    TEXT    NOT NULL,
    simulated        BOOLEAN NOT NULL,
    uuid             TEXT    NOT NULL,
    remediation      BOOLEAN NOT NULL,
    kind             TEXT    NOT NULL,
    machine_id       INTEGER REFERENCES machines (id) ON DELETE SET NULL,
    events           TEXT    NOT NULL,
    meta             TEXT    NOT NULL,
    digest           BLOB,
    community        BOOLEAN NOT NULL,
    staged           BOOLEAN NOT NULL
);
CREATE INDEX alerts_created ON alerts (created_at, id);
CREATE INDEX alerts_machine ON alerts (machine_id) WHERE machine_id IS NOT NULL;
CREATE INDEX alerts_digest ON alerts (digest) WHERE digest IS NOT NULL;
CREATE INDEX alerts_staged ON alerts (id) WHERE staged;

-- start_ip and end_ip: 4 or 16 bytes, absent for scopes that are no addresses. lifted: ended by hand.
CREATE TABLE decisions (
    id         INTEGER PRIMARY KEY,
    commit_no  INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    alert_id   INTEGER NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    simulated  BOOLEAN NOT NULL,
    uuid       BLOB,
    origin     TEXT    NOT NULL,
    scenario   TEXT    NOT NULL,
    scope      TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    start_ip   BLOB,
    end_ip     BLOB,
    lifted     BOOLEAN NOT NULL
);
CREATE INDEX decisions_commit ON decisions (commit_no, id);
CREATE INDEX decisions_alert ON decisions (alert_id, until);
CREATE INDEX decisions_start ON decisions (start_ip, end_ip) WHERE start_ip IS NOT NULL;

-- Decisions whose rows are gone, as they were; commit_no says who removed them, removed_at when.
CREATE TABLE tombstones (
    commit_no  INTEGER NOT NULL,
    id         INTEGER NOT NULL,
    removed_at INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    alert_id   INTEGER NOT NULL,
    simulated  BOOLEAN NOT NULL,
    uuid       BLOB,
    origin     TEXT    NOT NULL,
    scenario   TEXT    NOT NULL,
    scope      TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    PRIMARY KEY (commit_no, id)
) WITHOUT ROWID;

CREATE TABLE allowlists (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    name         TEXT    NOT NULL UNIQUE,
    description  TEXT    NOT NULL,
    allowlist_id TEXT    NOT NULL DEFAULT '',
    from_console BOOLEAN NOT NULL DEFAULT FALSE
);

CREATE TABLE allowlist_items (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    list_id    INTEGER NOT NULL REFERENCES allowlists (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    value      TEXT    NOT NULL,
    comment    TEXT    NOT NULL,
    expires_at INTEGER,
    UNIQUE (list_id, value)
);

CREATE TABLE usage_metrics (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    generated_type TEXT    NOT NULL,
    generated_by   TEXT    NOT NULL,
    received_at    INTEGER NOT NULL,
    pushed_at      INTEGER,
    payload        TEXT    NOT NULL
);
CREATE INDEX usage_metrics_received ON usage_metrics (received_at);

CREATE TABLE config_items (
    name       TEXT    PRIMARY KEY,
    value      TEXT    NOT NULL,
    updated_at INTEGER NOT NULL
);

-- "PALI": tells the file from those of other programs.
PRAGMA application_id = 1346456649;
