"""Worker process: claims, leases, attempts and health."""
