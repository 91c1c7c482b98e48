"""Response body of POST /detect."""

from typing import Any

from pydantic import BaseModel, Field

from contracts.provenance import ManifestState, Report


class ManifestView(BaseModel):
    """The signed manifest of a file."""

    state: ManifestState = Field(
        description="valid: signed, and unchanged since; invalid: changed, or the signature is "
        "wrong; removed: the file names visavis but has no manifest; absent: neither."
    )
    reasons: tuple[str, ...] = Field(description="Sentences; empty for a valid, trusted manifest.")
    trusted: bool = Field(description="Whether the certificate leads to one this service trusts.")
    signer: str | None = Field(description="Name in the certificate.")
    signed_at: str | None = Field(description="Of a time stamp authority; null without one.")
    claims: dict[str, Any] = Field(description="What the manifest says; empty without one.")


class WatermarkView(BaseModel):
    """The watermark in picture and sound."""

    found: bool
    certainty: float = Field(
        ge=0, le=1, description="1 less the probability that an unmarked file scores as high."
    )
    id: str | None = Field(description="16 hex digits; null where only its presence can be read.")
    where: tuple[str, ...] = Field(description="`picture`, `sound`.")


class DetectionView(BaseModel):
    """Findings about the origin of a file."""

    manifest: ManifestView
    watermark: WatermarkView | None = Field(description="null: this service looks for none.")
    job: str | None = Field(description="The job of this service that made it, if it is yours.")


def detection_view(report: Report, job: str | None) -> DetectionView:
    """Return the report as a response."""
    return DetectionView.model_validate(report.to_json() | {"job": job})
