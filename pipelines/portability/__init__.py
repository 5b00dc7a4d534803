"""Taking subjects out and putting them in: backups, and moves between tenants, regions and servers."""
