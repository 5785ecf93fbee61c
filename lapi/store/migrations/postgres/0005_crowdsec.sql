-- What was taken from CrowdSec databases, to recognise at another import what came since. source: path, or server and
-- database.
CREATE TABLE crowdsec_imports (
    source      TEXT    PRIMARY KEY,
    imported_at BIGINT NOT NULL
);

-- Rows that are known by name. kind: machine, bouncer, allowlist, item. digest: of the password, key or value.
CREATE TABLE crowdsec_rows (
    source    TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    source_id BIGINT NOT NULL,
    row_id    BIGINT NOT NULL,
    digest    TEXT    NOT NULL,
    PRIMARY KEY (source, kind, source_id)
);

-- Ids of alerts and decisions, source_first to source_last: the id here is the source's plus id_offset.
CREATE TABLE crowdsec_ranges (
    source       TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    source_first BIGINT NOT NULL,
    source_last  BIGINT NOT NULL,
    id_offset    BIGINT NOT NULL,
    PRIMARY KEY (source, kind, source_first)
);
