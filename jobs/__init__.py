"""The contract of API and worker: job records, queue, storage, settings. No torch, no web."""
