"""Support intelligence: sessions and how they ended, health, service levels, alerts, handoffs."""
