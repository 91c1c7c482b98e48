"""Query parameters of GET /jobs."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from api.schemas.parameters import STORABLE
from jobs.model import State
from jobs.request.values import PersonName
from jobs.store.api_keys import TENANT
from jobs.store.pagination import JobFilter

YEARS = (1970, 9000)  # datetime cannot convert the first and last years it has into UTC


def _within_years(moment: datetime) -> datetime:
    first, last = YEARS
    if not first <= moment.year <= last:
        raise ValueError(f"should be in the years {first} to {last}")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_within_years)]


class ListQuery(BaseModel):
    """Filter and page of a list of jobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(default=20, ge=1, le=100, description="Number of jobs in one page.")
    cursor: str | None = Field(
        default=None,
        max_length=200,
        description="`next` of the previous page; other parameters unchanged.",
    )
    state: tuple[State, ...] = Field(
        default=(),
        max_length=8,
        description="Only jobs in this state; repeat it for several states.",
    )
    person: PersonName | None = Field(default=None, description="Only jobs of this person.")
    batch: str | None = Field(
        default=None,
        max_length=64,
        pattern=STORABLE,
        description="Only jobs of this batch.",
    )
    tenant: str | None = Field(
        default=None,
        pattern=f"^{TENANT.pattern}$",
        description="Only jobs of this tenant; needs an admin key for any tenant but the key's.",
    )
    created_after: Moment | None = Field(
        default=None,
        description="Created at or after this time, with a zone: 2026-05-04T12:00:00Z.",
    )
    created_before: Moment | None = Field(default=None, description="Created before this time.")

    def job_filter(self, sees: str | None) -> JobFilter:
        """Filter for the store. sees: the tenant whose jobs the caller may see; None: all."""
        return JobFilter(
            states=self.state,
            person=self.person,
            batch=self.batch,
            tenant=sees or self.tenant,
            created_after=self.created_after,
            created_before=self.created_before,
        )
