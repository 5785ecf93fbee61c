//! CrowdSec's `config.yaml` and credentials file, as the LAPI and its admin CLI read them.
