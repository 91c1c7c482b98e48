"""Job records, queue, storage and settings of API and worker; no torch, no web framework."""
