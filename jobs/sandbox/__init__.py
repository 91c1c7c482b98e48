"""Child processes with resource limits that parse untrusted files."""
