"""What may be asked of GET /jobs."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from jobs.model import State
from jobs.request.values import PersonName
from jobs.store.api_keys import TENANT
from jobs.store.pagination import JobFilter

YEARS = (1970, 9000)  # beyond them lie the ends of what datetime can turn into UTC


def _within_years(moment: datetime) -> datetime:
    first, last = YEARS
    if not first <= moment.year <= last:
        raise ValueError(f"should be of the years {first} to {last}")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_within_years)]


class ListQuery(BaseModel):
    """Which jobs, and how many at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=20, ge=1, le=100, description="How many in one page.")
    cursor: str | None = Field(
        default=None, max_length=200, description="`next` of the page before; the rest unchanged."
    )
    state: tuple[State, ...] = Field(
        default=(), max_length=8, description="Only these; may be given several times."
    )
    person: PersonName | None = Field(default=None, description="Only jobs that show this one.")
    batch: str | None = Field(default=None, max_length=64, description="Only jobs of this one.")
    tenant: str | None = Field(
        default=None,
        pattern=f"^{TENANT.pattern}$",
        description="Only this tenant's; a key that is no admin's sees its own and no other.",
    )
    created_after: Moment | None = Field(
        default=None, description="Not older: 2026-05-04T12:00:00Z, with its zone."
    )
    created_before: Moment | None = Field(default=None, description="Older than this moment.")

    def wanted(self, sees: str | None) -> JobFilter:
        """sees: the tenant whose jobs the caller may see; None: everybody's."""
        return JobFilter(
            states=self.state,
            person=self.person,
            batch=self.batch,
            tenant=sees or self.tenant,
            created_after=self.created_after,
            created_before=self.created_before,
        )
