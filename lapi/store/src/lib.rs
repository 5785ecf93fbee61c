//! Where alerts, decisions, machines, bouncers and allowlists are kept: SQLite or PostgreSQL.
