"""Job records, queue, storage and settings that API and worker share; no torch, no web framework."""
