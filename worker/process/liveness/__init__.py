"""Liveness of a worker: its leases, its heartbeat, and the jobs of dead workers."""
