-- The last authenticated request of any kind, to about a minute: what was seen is not pruned as idle.
ALTER TABLE machines ADD COLUMN last_seen INTEGER;
ALTER TABLE bouncers ADD COLUMN last_seen INTEGER;
