"""Pure decisions: no database, network, clock or logging."""
