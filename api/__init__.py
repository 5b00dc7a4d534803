"""HTTP only: routing, reading requests, writing answers. No SQL and no rules."""
