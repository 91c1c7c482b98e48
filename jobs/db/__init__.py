"""Database tables, connections, migrations and the clock."""
