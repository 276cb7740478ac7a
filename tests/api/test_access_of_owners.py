"""What each route asks of its caller, and that owners learn nothing of each other: all routes."""

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient
from skimage import data
from sqlalchemy import update
from starlette.routing import Mount

from api.access import PROTECTED, Needs, is_free, is_open, public
from api.app import create_app
from mdf.artefact import Manifest
from services.access import LOCAL, Scope
from services.database.schema import Artifact, Dataset, Image, Job, JobSample, Loss, Model, now
from services.ids import new_id
from services.installation import Installation
from services.jobs.lifecycle import State
from services.losses import catalogue as losses

ABSENT = "0" * 32
BINARY = "application/octet-stream"
MANIFEST = Manifest(
    origin="trained",
    widths=(4, 8),
    iterations=(5, 5),
    task={"kind": "jpeg", "quality": [7, 10]},
    recipe={"scales": 2},
    taps="every-relu",
    seeds=("0" * 64,),
    random_seed=7,
).to_dict()

Ids = dict[str, str]
MakeKey = Callable[..., dict[str, str]]


@dataclass(frozen=True)
class Rule:
    """What a route asks for, and a request that the owner of what its path names may send.

    Args:
        needs: the scope; None if everybody may ask.
        owner: status of the answer to the owner, and to an admin.
        takes: other objects than usual in the path, by placeholder.
        send: the request beside method and path.
    """

    needs: Scope | None
    owner: int = 200
    takes: Mapping[str, str] = field(default_factory=dict)
    send: Callable[[Ids], dict[str, Any]] = lambda ids: {}


def read(owner: int = 200, **takes: str) -> Rule:
    return Rule("read", owner, takes)


def write(owner: int, send: Callable[[Ids], dict[str, Any]] = lambda ids: {}, **takes: str) -> Rule:
    return Rule("write", owner, takes, send)


def json(**content: Any) -> Callable[[Ids], dict[str, Any]]:
    """A body; texts such as `{image_id}` stand for ids."""

    def filled(ids: Ids, value: Any) -> Any:
        match value:
            case str():
                return value.format_map(ids) if value.startswith("{") else value
            case list():
                return [filled(ids, each) for each in value]
            case dict():
                return {name: filled(ids, each) for name, each in value.items()}
        return value

    return lambda ids: {"json": filled(ids, content)}


PART = lambda ids: {  # noqa: E731 - as the others in the table
    "content": b"x",
    "headers": {"Content-Type": BINARY, "Upload-Offset": "0"},
}
TRAINING = {"seed_image_ids": ["{image_id}"], "task": {"kind": "sisr"}, "preset": "quick"}
FILE = lambda ids: {"files": {"file": ("x.bin", b"")}}  # noqa: E731

HOOK = "https://hooks.invalid/mdf"  # a name that leads nowhere

# Every route there is, in the order in which they are asked. A new one needs a line here.
RULES: dict[str, Rule] = {
    "GET /healthz": Rule(None),
    "GET /readyz": Rule(None, 503),  # there is no broker
    "GET /openapi.json": Rule(None),
    "GET /docs": Rule(None),
    "GET /login": Rule(None),
    "GET /favicon.ico": Rule(None),
    "POST /v1/session": Rule(None, 401, send=json(api_key="wrong")),
    "GET /v1/session": read(404),  # they come with keys
    "DELETE /v1/session": Rule("read", 404),
    "GET /v1/me": read(),
    "GET /metrics": read(),
    "GET /v1/workers": read(),
    "GET /v1/usage": read(),
    "GET /v1/usage/all": Rule("admin"),
    "POST /v1/api-keys": Rule("admin", 201, send=json(name="x", scopes=["read"])),
    "GET /v1/api-keys": Rule("admin"),
    "GET /v1/api-keys/{key_id}": Rule("admin"),
    "PATCH /v1/api-keys/{key_id}": Rule("admin", send=json(name="renamed")),
    "DELETE /v1/api-keys/{key_id}": Rule("admin", 204),
    "POST /v1/jobs/estimate": Rule("read", send=json(**TRAINING)),
    "GET /v1/images": read(),
    "GET /v1/images/{image_id}": read(),
    "GET /v1/images/{image_id}/content": read(),
    "HEAD /v1/images/{image_id}/content": read(),
    "GET /v1/images/{image_id}/preview": read(),
    # A part that is not within the image: what comes after the question of whose it is.
    "GET /v1/images/{image_id}/distorted": Rule(
        "read", 422, send=lambda _: {"params": {"task": '{"kind": "sisr"}'}}
    ),
    "POST /v1/images/{image_id}/measure": Rule("read", 422, send=FILE),
    "POST /v1/images": write(422, FILE),
    "POST /v1/images/synthesize": write(
        422, json(kind="pyramid-permutation", image_id=f"img_{ABSENT}")
    ),
    "DELETE /v1/images/{image_id}": write(200, image_id="spare_image_id"),
    "GET /v1/datasets": read(),
    "GET /v1/datasets/{dataset_id}": read(),
    "GET /v1/datasets/{dataset_id}/images": read(),
    "GET /v1/datasets/{dataset_id}/images/{position}/content": read(),
    "HEAD /v1/datasets/{dataset_id}/images/{position}/content": read(),
    "GET /v1/datasets/{dataset_id}/sheet": read(),
    "HEAD /v1/datasets/{dataset_id}/sheet": read(),
    "POST /v1/datasets": write(201, json(name="x", source={"kind": "upload", "size": 9})),
    "HEAD /v1/datasets/{dataset_id}/content": read(dataset_id="upload_id"),
    "PATCH /v1/datasets/{dataset_id}/content": write(204, PART, dataset_id="upload_id"),
    "DELETE /v1/datasets/{dataset_id}": write(200, dataset_id="upload_id"),
    "POST /v1/jobs": write(202, json(**TRAINING)),
    "GET /v1/jobs": read(),
    "GET /v1/jobs/{job_id}": read(),
    "GET /v1/jobs/{job_id}/events": read(),
    "GET /v1/jobs/{job_id}/metrics": read(),
    "GET /v1/jobs/{job_id}/samples": read(),
    "GET /v1/jobs/{job_id}/samples/{sample_id}/content": read(),
    "HEAD /v1/jobs/{job_id}/samples/{sample_id}/content": read(),
    "GET /v1/jobs/{job_id}/artifacts": read(),
    "GET /v1/jobs/{job_id}/artifacts/{kind}/content": read(),
    "HEAD /v1/jobs/{job_id}/artifacts/{kind}/content": read(),
    "PATCH /v1/jobs/{job_id}": write(200, json(name="renamed")),
    "POST /v1/jobs/{job_id}/pause": write(200),
    "POST /v1/jobs/{job_id}/resume": write(200),
    "POST /v1/jobs/{job_id}/finish": write(200),
    "POST /v1/jobs/{job_id}/cancel": write(200),
    "POST /v1/jobs/{job_id}/retry": write(200, job_id="failed_job_id"),
    "DELETE /v1/jobs/{job_id}": write(200),
    "GET /v1/losses": read(),
    "GET /v1/losses/{loss_id}": read(),
    "GET /v1/losses/{loss_id}/content": read(),
    "HEAD /v1/losses/{loss_id}/content": read(),
    "GET /v1/losses/{loss_id}/card": read(),
    # Images of two sizes: what comes after the question of whose they are.
    "POST /v1/losses/{loss_id}/compare": Rule(
        "read",
        422,
        send=json(image_id="{image_id}", reference_image_id="{other_image_id}"),
    ),
    "POST /v1/losses/import": write(422, FILE),
    "PATCH /v1/losses/{loss_id}": write(200, json(name="renamed")),
    "DELETE /v1/losses/{loss_id}": write(200),
    "GET /v1/models": read(),
    "GET /v1/models/{model_id}": read(),
    "GET /v1/models/{model_id}/content": read(),
    "HEAD /v1/models/{model_id}/content": read(),
    "GET /v1/models/{model_id}/card": read(),
    "POST /v1/models/{model_id}/restore": write(202, json(image_id="{image_id}")),
    "POST /v1/models/import": write(422, FILE),
    "PATCH /v1/models/{model_id}": write(200, json(name="renamed")),
    "DELETE /v1/models/{model_id}": write(409),  # the restoration needs it
    "GET /v1/evaluations": read(),
    "GET /v1/evaluations/{evaluation_id}": read(),
    "GET /v1/evaluations/{evaluation_id}/values": read(),
    "POST /v1/webhooks": write(201, json(url=HOOK)),
    "GET /v1/webhooks": read(),
    "GET /v1/webhooks/{webhook_id}": read(),
    "PATCH /v1/webhooks/{webhook_id}": write(200, json(name="renamed")),
    "POST /v1/webhooks/{webhook_id}/secret": write(200),
    "POST /v1/webhooks/{webhook_id}/ping": write(202),
    "GET /v1/webhooks/{webhook_id}/deliveries": read(),
    "GET /v1/webhooks/{webhook_id}/deliveries/{delivery_id}": read(),
    "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver": write(202),
    "DELETE /v1/webhooks/{webhook_id}": write(204),
}
EVERYBODYS = {rule for rule in RULES if RULES[rule].needs is None}
assert {
    "GET /healthz",
    "GET /readyz",
    "GET /openapi.json",
    "GET /docs",
    "GET /login",
    "GET /favicon.ico",
    "POST /v1/session",
} == EVERYBODYS


def rules_of(dependant: Dependant) -> Iterator[Scope | None]:
    for each in dependant.dependencies:
        if isinstance(each.call, Needs):
            yield each.call.scope
        if each.call is public:
            yield None
        yield from rules_of(each)


def test_every_route_has_one_rule(installation: Installation) -> None:
    found: dict[str, set[Scope | None]] = {}
    for context in iter_route_contexts(create_app(installation).routes):
        route = context.original_route
        if isinstance(route, Mount):  # the studio: see test_each_page_has_one_rule
            assert route.name == "studio" or is_free(f"{context.path}/")
            continue
        assert isinstance(route, APIRoute), f"{context.path} is no route with a rule"
        for method in context.methods or ():
            name = f"{method} {context.path}"
            found.setdefault(name, set()).update(rules_of(route.dependant))
            guarded = context.path.startswith(PROTECTED) and not is_open(method, context.path)
            assert guarded == (found[name] != {None}), f"{name} and the guard disagree"
    asked = {name: {rule.needs} for name, rule in RULES.items()}
    assert found == asked, "each route names one rule, and has a line in RULES here"


def test_each_page_has_one_rule(installation: Installation) -> None:
    studio = create_app(installation).routes[-1]
    assert isinstance(studio, Mount)
    needs: dict[str, Scope | None] = {}
    for route in studio.routes:
        # Scripts and styles are for everybody, and the pages' connection is the guard's to let in.
        is_for_all = is_free(route.path) or is_free(f"{route.path}/")
        if not is_for_all and route.path != "/_nicegui_ws":
            assert isinstance(route, APIRoute), f"{route.path} is no page"
            needs[route.path] = route.endpoint.needs
    assert needs.keys() > {"/", "/runs", "/losses", "/{path:path}"}
    assert {path: scope for path, scope in needs.items() if scope != "read"} == {
        **{"/admin": "admin", "/restore": "write", "/restorers/train": "write"},
    }


@pytest.fixture
def make_belongings(
    installation: Installation, client: TestClient, add_dataset, add_model, add_evaluation
) -> Callable[[], Ids]:
    """Give LOCAL one of everything; gives the ids by placeholder."""
    made = 0

    def upload(side: int) -> str:
        nonlocal made
        made += 1
        pixels = np.ascontiguousarray(data.astronaut()[made : made + 96, :side])
        return str(client.post("/v1/images", files={"file": ("x.png", png(pixels))}).json()["id"])

    def make() -> Ids:
        image_id, other_image_id, spare_image_id = upload(96), upload(120), upload(96)
        dataset: Dataset = add_dataset({"one.png": np.full((40, 50, 3), made, np.uint8)})
        upload_id = client.post(
            "/v1/datasets", json={"name": "x", "source": {"kind": "upload", "size": 9}}
        ).json()["id"]
        wanted = json(**TRAINING)({"image_id": image_id})
        job_id = client.post("/v1/jobs", **wanted).json()["id"]
        failed_job_id = client.post("/v1/jobs", **wanted).json()["id"]
        webhook_id = client.post("/v1/webhooks", json={"url": HOOK}).json()["id"]
        delivery_id = client.post(f"/v1/webhooks/{webhook_id}/ping").json()["id"]
        blobs = installation.blobs
        with installation.database.write() as session:
            files = losses.store(session, blobs, {"safetensors": b"weights"})
            loss = losses.add_imported(
                session, caller=LOCAL, name="mine", manifest=MANIFEST, files=files
            )
            sheet = blobs.put("datasets/sheet.png", b"sheet")
            session.execute(
                update(Dataset).where(Dataset.id == dataset.id).values(sheet=sheet.blob)
            )
            session.execute(
                update(Job).where(Job.id == failed_job_id).values(state=State.FAILED.value)
            )
            sample = JobSample(
                id=new_id("smp"),
                job_id=job_id,
                scale=0,
                step=1,
                kind="fake",
                blob=sheet.blob,
                created=now(),
            )
            artifact = Artifact(
                id=new_id("art"),
                job_id=job_id,
                kind="contact_sheet",
                media_type="image/png",
                blob=sheet.blob,
                size=sheet.size,
                sha256=sheet.sha256,
                created=now(),
            )
            session.add_all([sample, artifact])
        return {
            "image_id": image_id,
            "other_image_id": other_image_id,
            "spare_image_id": spare_image_id,
            "dataset_id": dataset.id,
            "upload_id": upload_id,
            "position": "0",
            "job_id": job_id,
            "failed_job_id": failed_job_id,
            "sample_id": sample.id,
            "kind": "contact_sheet",
            "loss_id": loss.id,
            "model_id": add_model().id,
            "evaluation_id": add_evaluation(failed_job_id).id,
            "webhook_id": webhook_id,
            "delivery_id": delivery_id,
        }

    return make


def key_id(headers: Mapping[str, str]) -> str:
    return f"key_{headers['Authorization'].split('_')[1]}"


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    PIL.Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def absent(ids: Ids) -> Ids:
    """The same, of objects that there are not."""
    return {
        name: f"{each.partition('_')[0]}_{ABSENT}" if "_" in each and name != "kind" else each
        for name, each in ids.items()
    }


def told(answer: httpx.Response, ids: Ids) -> tuple[int, str, str]:
    """What an answer says, whatever the ids and the request are called."""
    text = answer.text.replace(answer.headers["x-request-id"], "REQUEST")
    for each in sorted(ids.values(), key=len, reverse=True):
        if "_" in each:
            text = text.replace(each, "ID")
    return answer.status_code, text, answer.headers["content-type"]


Ask = Callable[[str, Ids, Mapping[str, str]], httpx.Response]


@pytest.fixture
def ask(client: TestClient) -> Ask:
    """Sends a request of the table."""

    def send(name: str, ids: Ids, headers: Mapping[str, str]) -> httpx.Response:
        rule = RULES[name]
        method, path = name.split()
        path = path.format_map(ids | {place: ids[other] for place, other in rule.takes.items()})
        request = rule.send(ids)
        request["headers"] = {**request.get("headers", {}), **headers}
        return client.request(method, path, **request)

    return send


def test_each_route_asks_for_its_scope(
    make_belongings: Callable[[], Ids], make_key: MakeKey, ask: Ask
) -> None:
    ids = make_belongings()
    make_key("admin", owner="root")
    reader, writer = make_key("read", owner="local"), make_key("write", owner="local")
    ids |= {"key_id": key_id(reader)}
    for name, rule in RULES.items():
        if rule.needs is None:
            assert ask(name, ids, {}).status_code == rule.owner, name
            continue
        nobody = ask(name, ids, {})
        assert nobody.status_code == 401, name
        assert told(nobody, ids) == told(ask(name, absent(ids), {}), absent(ids)), name
        if rule.needs != "read":
            weaker = ask(name, ids, reader if rule.needs == "write" else writer)
            assert weaker.status_code == 403, name


def test_to_others_what_an_owner_has_looks_as_if_it_were_not_there(
    make_belongings: Callable[[], Ids], make_key: MakeKey, ask: Ask
) -> None:
    ids = make_belongings()
    make_key("admin", owner="root")
    bert = make_key("write", owner="bert")
    asked = 0
    for name, rule in RULES.items():
        if rule.needs in (None, "admin") or "{" not in name:
            continue
        stranger = ask(name, ids, bert)
        assert stranger.status_code == 404, f"{name}: {stranger.text}"
        assert told(stranger, ids) == told(ask(name, absent(ids), bert), absent(ids)), name
        asked += 1
    assert asked > 40
    stream = ask("GET /v1/jobs/{job_id}/events", ids, bert | {"Accept": "text/event-stream"})
    assert stream.status_code == 404


def test_owners_and_admins_may_do_what_the_table_says(
    make_belongings: Callable[[], Ids], make_key: MakeKey, ask: Ask
) -> None:
    theirs, others = make_belongings(), make_belongings()
    root, local = make_key("admin", owner="root"), make_key("write", owner="local")
    theirs["key_id"] = others["key_id"] = key_id(make_key("read"))
    for name, rule in RULES.items():
        if rule.needs is None:
            continue
        if rule.needs != "admin":
            answer = ask(name, theirs, local)
            assert answer.status_code == rule.owner, f"{name}: {answer.text}"
        answer = ask(name, others, root)
        assert answer.status_code == rule.owner, f"{name}, by an admin: {answer.text}"


def test_lists_hold_what_is_the_callers_and_all_for_an_admin(
    client: TestClient, make_belongings: Callable[[], Ids], make_key: MakeKey
) -> None:
    ids = make_belongings()
    root, bert = make_key("admin", owner="root"), make_key("read", owner="bert")
    local = make_key("read", owner="local")
    lists = [name.split()[1] for name, rule in RULES.items() if is_list(name, rule)]
    for path in lists:
        for headers in (root, local):
            shown = {each["id"] for each in client.get(path, headers=headers).json()["data"]}
            assert shown & set(ids.values()), path
        assert client.get(path, headers=bert).json()["data"] == [], path
    assert len(lists) >= 5


def is_list(name: str, rule: Rule) -> bool:
    whole_house = {"/v1/workers", "/v1/me", "/v1/session", "/v1/usage"}
    method, path = name.split()
    return (
        method == "GET"
        and rule.needs == "read"
        and path.startswith("/v1/")
        and "{" not in path
        and path not in whole_house
    )


RESTORER = {"type": "restoration_training", "preset": "quick-dncnn-denoising"}
TRAININGS: list[tuple[str, dict[str, Any]]] = [
    ("image_id", TRAINING),
    ("dataset_id", {**RESTORER, "dataset_id": "{dataset_id}"}),
    (
        "dataset_id",
        {**RESTORER, "dataset_id": "{own_dataset_id}", "validation_dataset_id": "{dataset_id}"},
    ),
    (
        "model_id",
        {**RESTORER, "dataset_id": "{own_dataset_id}", "start_from": "{model_id}"},
    ),
    (
        "loss_id",
        {
            **RESTORER,
            "dataset_id": "{own_dataset_id}",
            "loss": {
                "kind": "sum",
                "terms": [
                    {"weight": 1, "loss": {"kind": "l1"}},
                    {"weight": 1, "loss": {"kind": "mdf", "loss_id": "{loss_id}"}},
                ],
            },
        },
    ),
]
REFERENCES: list[tuple[str, str, dict[str, Any]]] = [
    *(("/v1/jobs", *training) for training in TRAININGS),
    *(("/v1/jobs/estimate", *training) for training in TRAININGS),
    (
        "/v1/jobs",
        "model_id",
        {"type": "restoration", "model_id": "{model_id}", "image_ids": ["{own_image_id}"]},
    ),
    (
        "/v1/jobs",
        "image_id",
        {"type": "restoration", "model_id": "{own_model_id}", "image_ids": ["{image_id}"]},
    ),
    (
        "/v1/jobs",
        "dataset_id",
        {"type": "restoration", "model_id": "{own_model_id}", "dataset_id": "{dataset_id}"},
    ),
    (
        "/v1/jobs",
        "model_id",
        {
            "type": "evaluation",
            "model_ids": ["{own_model_id}", "{model_id}"],
            "dataset_id": "{own_dataset_id}",
        },
    ),
    (
        "/v1/jobs",
        "dataset_id",
        {"type": "evaluation", "model_ids": ["{own_model_id}"], "dataset_id": "{dataset_id}"},
    ),
    (
        "/v1/jobs",
        "loss_id",
        {
            "type": "evaluation",
            "model_ids": ["{own_model_id}"],
            "dataset_id": "{own_dataset_id}",
            "loss_ids": ["{loss_id}"],
        },
    ),
    ("/v1/models/{own_model_id}/restore", "image_id", {"image_id": "{image_id}"}),
    (
        "/v1/losses/{own_loss_id}/compare",
        "image_id",
        {"image_id": "{image_id}", "reference_image_id": "{own_image_id}"},
    ),
    (
        "/v1/losses/{own_loss_id}/compare",
        "image_id",
        {"image_id": "{own_image_id}", "reference_image_id": "{image_id}"},
    ),
    (
        "/v1/images/synthesize",
        "image_id",
        {"kind": "pyramid-permutation", "image_id": "{image_id}"},
    ),
]


def test_references_to_what_another_has_are_refused_as_if_it_were_not_there(
    client: TestClient,
    installation: Installation,
    make_belongings: Callable[[], Ids],
    make_key: MakeKey,
) -> None:
    ids, own = make_belongings(), make_belongings()
    with installation.database.write() as session:
        for table, name in (
            (Image, "image"),
            (Dataset, "dataset"),
            (Loss, "loss"),
            (Model, "model"),
        ):
            mine = update(table).where(table.id == own[f"{name}_id"])
            session.execute(mine.values(owner="bert"))
            ids[f"own_{name}_id"] = own[f"{name}_id"]
    make_key("admin", owner="root")
    bert = make_key("write", owner="bert")
    for path, reference, content in REFERENCES:
        missing = ids | {reference: f"{ids[reference].partition('_')[0]}_{ABSENT}"}
        answers = [
            (client.post(path.format_map(each), headers=bert, **json(**content)(each)), each)
            for each in (ids, missing)
        ]
        statuses = [answer.status_code for answer, _ in answers]
        assert statuses == [422, 422], f"{path} {content}: {answers[0][0].text}"
        assert "here is no " in answers[0][0].json()["detail"]
        assert told(*answers[0]) == told(*answers[1]), f"{path} {content}"


def test_an_idempotency_key_is_its_owners_alone(
    client: TestClient, make_belongings: Callable[[], Ids], make_key: MakeKey
) -> None:
    ids = make_belongings()
    make_key("admin", owner="root")
    local, bert = make_key("write", owner="local"), make_key("write", owner="bert")
    named = {"Idempotency-Key": "the-same"}
    wanted = {"name": "x", "source": {"kind": "upload", "size": 9}}
    theirs = client.post("/v1/datasets", json=wanted, headers=local | named)
    mine = client.post("/v1/datasets", json=wanted, headers=bert | named)
    assert (theirs.status_code, mine.status_code) == (201, 201)
    assert "idempotency-replayed" not in mine.headers
    assert theirs.json()["id"] != mine.json()["id"]
    other = client.post("/v1/jobs", **json(**TRAINING)(ids), headers=bert | named)
    assert other.json()["code"] == "idempotency_key_reused", "bert's own use of it"


def test_a_job_of_another_owner_is_not_named_to_whom_it_hinders(
    client: TestClient, make_belongings: Callable[[], Ids], make_key: MakeKey
) -> None:
    ids = make_belongings()
    root, local = make_key("admin", owner="root"), make_key("write", owner="local")
    restoration = {
        "type": "restoration",
        "model_id": ids["model_id"],
        "image_ids": [ids["spare_image_id"]],
    }
    job_id = client.post("/v1/jobs", json=restoration, headers=root).json()["id"]
    for path in (f"/v1/models/{ids['model_id']}", f"/v1/images/{ids['spare_image_id']}"):
        refused = client.delete(path, headers=local)
        assert refused.status_code == 409
        assert job_id not in refused.text
        assert job_id in client.delete(path, headers=root).text


def test_what_a_deletion_frees_does_not_tell_who_else_has_the_same(
    client: TestClient, make_key: MakeKey
) -> None:
    root = make_key("admin", owner="root")
    owners = [make_key("write", owner=name) for name in ("anna", "bert", "carl")]
    picture = {"file": ("x.png", png(np.ascontiguousarray(data.astronaut()[:96, :96])))}
    images = [client.post("/v1/images", files=picture, headers=each).json() for each in owners]

    def freed(image: dict[str, Any], caller: dict[str, str]) -> int:
        return client.delete(f"/v1/images/{image['id']}", headers=caller).json()["bytes_freed"]

    size = images[0]["size"]
    assert freed(images[0], owners[0]) == size, "as far as anna may know"
    assert freed(images[1], root) == 0, "carl has it, and an admin knows"
    assert freed(images[2], owners[2]) == size
