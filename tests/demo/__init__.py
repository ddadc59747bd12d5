"""``make demo``: a mailbox migrated between two servers on a real cluster, and checked."""
