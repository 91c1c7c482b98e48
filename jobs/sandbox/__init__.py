"""Resource-limited child processes that parse untrusted files."""
