"""Declarations that several packages share: registries, outputs, samplers, person.json."""
