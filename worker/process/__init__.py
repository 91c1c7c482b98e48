"""The worker process: claims, leases, attempts and health."""
