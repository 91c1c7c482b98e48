"""GET /people: persons that this service can render, and their pictures."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse

from api.bounds.request import BoundedRoute
from api.dependencies import ServicesDep
from api.middleware.auth import CallerDep
from api.problems import Problem, problems
from api.schemas.jobs import People, person_view
from api.services.downloads import FILE, FILE_HEADERS, Download
from contracts.person import MEDIA
from jobs.persons import list_people
from jobs.request.values import PersonName

router = APIRouter(tags=["people"], route_class=BoundedRoute)

FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}  # the URL names the content
KINDS = sorted({kind for kinds in MEDIA.values() for kind in kinds.values()})


@router.get(
    "/people",
    operation_id="list_people",
    response_description="The persons.",
    summary="Persons that this service can render, with limits and defaults",
)
def people(services: ServicesDep, _caller: CallerDep, request: Request) -> People:
    persons = list_people(services.settings.people)
    return People(people=[person_view(person, services, request) for person in persons])


@router.get(
    "/people/{person}/{name}",
    operation_id="download_person_file",
    summary="The picture of a person, or a short film, by a URL from GET /people",
    description="No key is needed: only callers of GET /people learn `version`.",
    response_class=FileResponse,
    responses=problems(
        "file_not_found",
        "range_not_satisfiable",
        "invalid_request",
        success={
            200: {
                "description": "The file.",
                "content": {kind: FILE for kind in KINDS},
                "headers": FILE_HEADERS,
            }
        },
    ),
)
def person_file(
    person: PersonName,
    name: Annotated[str, Path(max_length=255)],
    services: ServicesDep,
    version: Annotated[str, Query(max_length=64, description="SHA-256 of the file.")],
) -> Response:
    for each in list_people(services.settings.people):
        for file in each.files:
            if (each.name, file.name, file.sha256) == (person, name, version):
                path = services.settings.people / person / name
                return Download(path, media_type=file.content_type, headers=FOREVER)
    detail = f"Person {person!r} has no file {name!r} of this version; read GET /people again."
    raise Problem("file_not_found", detail)
