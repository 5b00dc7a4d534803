"""The `statewave` command: the local stack, its parts, and the tools of an operator."""
