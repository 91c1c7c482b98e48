"""Database tables, connections, migrations, clock and identity."""
