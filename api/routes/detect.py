"""POST /detect: what a file says of its origin."""

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, File, UploadFile
from starlette.concurrency import run_in_threadpool

from api.bounds.declare import PLAIN_BYTES, Bounds, Pool, bounded
from api.bounds.request import BoundedRequest, BoundedRoute
from api.dependencies import Services, ServicesDep
from api.middleware.auth import Caller, CallerDep
from api.problems import Problem, problems
from api.schemas.detect import DetectionView, detection_view
from api.services.upload_intake import FOLDER, PROBES
from contracts.files import plain_name
from jobs.sandbox.manifests import DetectionError, detect, facts_of
from jobs.store.job_rows import JobMissing

if TYPE_CHECKING:
    from api.services.upload_intake import UploadIntake
    from contracts.provenance import Report

router = APIRouter(tags=["provenance"], route_class=BoundedRoute)


@router.post(
    "/detect",
    operation_id="detect",
    response_description="The findings.",
    summary="Origin of a file: manifest, watermark, job",
    description="""Says whether a file has a valid signed manifest and the watermark of this
service, and which of your jobs made it. Send the file as `file`, and as `manifest` the file that
ends in `.c2pa` beside it, if there is one. Nothing of it is stored.""",
    responses=problems(
        "malformed_body",
        "upload_too_slow",
        "upload_too_large",
        "body_type_unsupported",
        "invalid_request",
        "file_not_examined",
        "uploads_busy",
        "database_unavailable",
        "storage_full",
    ),
)
@bounded(Bounds(PLAIN_BYTES, file_bytes="max_upload_bytes"))
async def detect_file(
    file: Annotated[UploadFile, File(description="Video, picture, sound or animation.")],
    services: ServicesDep,
    caller: CallerDep,
    request: BoundedRequest,
    manifest: Annotated[
        UploadFile | None, File(description="Its manifest, from a file that ends in .c2pa.")
    ] = None,
) -> DetectionView:
    request.holding.take(Pool.UPLOADS)
    intake: UploadIntake = request.app.state.intake
    report = await intake.run(partial(_examined, file, manifest, caller.tenant, services))
    return detection_view(report, await run_in_threadpool(_job_of, report, caller, services))


def _examined(
    file: UploadFile, manifest: UploadFile | None, tenant: str, services: Services
) -> "Report":
    facts = facts_of(services.settings) | {
        "name": plain_name(file.filename) or "file",
        "watermark_ids": services.database.jobs.watermarks(),
    }
    with tempfile.TemporaryDirectory(prefix=FOLDER) as folder:
        path, sidecar = Path(folder) / "file", None
        _save(file, path)
        if manifest is not None:
            sidecar = Path(folder) / "manifest"
            _save(manifest, sidecar)
        try:
            with PROBES.of(tenant):
                return detect(path, sidecar=sidecar, facts=facts)
        except DetectionError as error:
            raise Problem("file_not_examined", f"{error}.") from error


def _save(source: UploadFile, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(source.file, target)


def _job_of(report: "Report", caller: Caller, services: Services) -> str | None:
    """Return the job that manifest or watermark name, if this caller may see it."""
    job, mark = report.job or report.manifest.claims.get("job"), report.watermark
    if job is None and mark is not None and mark.id is not None:
        job = services.database.jobs.with_watermark(mark.id)
    if not isinstance(job, str):
        return None
    try:
        return services.database.jobs.get(job, tenant=caller.sees).id
    except JobMissing:
        return None
