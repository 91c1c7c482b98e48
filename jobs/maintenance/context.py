"""The resources that one round of upkeep works with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from celery import Celery

    from jobs.settings import Settings
    from jobs.storage.factory import LocalStorage, S3Storage
    from jobs.store.jobs import Store
    from jobs.store.uploads import Uploads


class MaintenanceContext(Protocol):
    """Settings, stores and the queue; the API's services satisfy it."""

    @property
    def settings(self) -> Settings: ...
    @property
    def store(self) -> Store: ...
    @property
    def storage(self) -> LocalStorage | S3Storage: ...
    @property
    def queue(self) -> Celery: ...
    @property
    def uploads(self) -> Uploads: ...
