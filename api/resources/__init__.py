"""One module per aggregate: each operation's declaration, and what it calls."""
