//! Certificates of listeners: by server name, reloaded, and by ACME.
