"""Transports of httpx for tests without a service: a fake one, and recorded answers."""

from visavis.testing.fake_service import FakeService, Fault
from visavis.testing.recording import RecordingTransport, ReplayTransport

__all__ = ["FakeService", "Fault", "RecordingTransport", "ReplayTransport"]
