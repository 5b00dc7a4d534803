"""Settings, logging, clocks, ids and the exception hierarchy: what every other room may import."""
