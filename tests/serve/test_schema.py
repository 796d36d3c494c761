"""The interface against its own description: what is allowed is answered as described, what is not is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from imagic.serve.app import create_app
from imagic.serve.requests import EditRequest
from imagic.serve.settings import Settings
from tests.serve.conftest import asked

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
EXAMPLES = 10  # of each operation, and each way
DESCRIPTION = create_app(Settings(Path()), works=False).openapi()
OPERATIONS = [
    (method, path, mode)
    for path, methods in DESCRIPTION["paths"].items()
    for method, operation in methods.items()
    for mode in GenerationMode
    # What takes nothing can be given nothing wrong.
    if mode.is_positive or {"parameters", "requestBody"} & set(operation)
]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> tuple[schemathesis.BaseSchema, str]:
    """The running application's description, and the id of an edit that waits in its queue, which is never full."""
    limits = Settings(tmp_path_factory.mktemp("described"), max_queue=10**6, max_per_client=10**6)
    app = create_app(limits, hosts=["testserver"], works=False)
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app)  # which starts it
    job, _ = app.state.service.submit(EditRequest.model_validate_json(json.dumps(asked())), "me")
    return schema, job.id


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("method", "path", "mode"), OPERATIONS)
def test_answers_are_as_described(
    described: tuple[schemathesis.BaseSchema, str], method: str, path: str, mode: GenerationMode
) -> None:
    schema, id = described
    operation = schema[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)
        if mode.is_positive and "{id}" in path and method != "delete":
            case.path_parameters["id"] = id
            case.call_and_validate(checks=CHECKS)

    check()
