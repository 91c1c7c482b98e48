"""Signed manifests of outputs: keys, signing, reading, detection."""
