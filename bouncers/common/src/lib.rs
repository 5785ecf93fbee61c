//! What every bouncer shares: the LAPI settings block, the subscription, usage metrics, lookup and status.
