"""How many requests an address, a key and a tenant may send."""
