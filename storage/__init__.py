"""PostgreSQL, and nothing else: connections, tenancy, migrations and every SQL statement of the server."""
