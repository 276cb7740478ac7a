"""The page `/docs`: the OpenAPI document for people to read, one HTML page that runs nothing."""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from api.access import PUBLIC
from api.errors import MEDIA_TYPE as PROBLEM

Node = Mapping[str, Any]

_STYLE = Path(__file__).with_name("reference.css").read_text()
# What the page may use: its own style, known by its digest, and nothing else.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
)

_METHODS = ("get", "head", "post", "put", "patch", "delete")
_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "{} characters at least",
    "maxLength": "{} characters at most",
    "minItems": "{} items at least",
    "maxItems": "{} items at most",
    "pattern": "matches {}",
    "default": "default {}",
}


def install(app: FastAPI) -> None:
    """Let `app` show the page at `/docs`, to everybody."""

    @cache
    def page() -> str:
        return render(app.openapi())

    @app.get("/docs", include_in_schema=False, dependencies=[PUBLIC])
    def show_reference() -> HTMLResponse:
        return HTMLResponse(page(), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})


def render(document: Node) -> str:
    """The page that shows an OpenAPI 3.1 document."""
    groups: dict[str, list[str]] = {}
    links: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in _METHODS:
                (group,) = operation["tags"]
                groups.setdefault(group, []).append(_operation(path, method, operation))
                links.setdefault(group, []).append(_link(operation["operationId"], path, method))
    schemas = sorted(document["components"]["schemas"].items())
    links["schemas"] = [
        f'<li><a href="#{_id(name)}">{escape(name)}</a></li>' for name, _ in schemas
    ]
    groups["schemas"] = [_schema(name, schema) for name, schema in schemas]
    info = document["info"]
    title = f"{escape(info['title'])} <small>{escape(info['version'])}</small>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}: reference</title><style>{_STYLE}</style></head><body>"
        f"<nav>{''.join(_contents(links))}</nav><main><h1>{title}</h1>"
        f"{_prose(info['description'])}"
        '<p>For programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{''.join(_group(name, items) for name, items in groups.items())}</main></body></html>"
    )


def _contents(links: Mapping[str, Iterable[str]]) -> Iterator[str]:
    for name, items in links.items():
        is_open = "" if name == "schemas" else " open"
        summary = f'<summary><a href="#{_id(name)}">{escape(name)}</a></summary>'
        yield f"<details{is_open}>{summary}<ul>{''.join(items)}</ul></details>"


def _link(name: str, path: str, method: str) -> str:
    return f'<li>{_method(method)} <a href="#{_id(name)}">{escape(path)}</a></li>'


def _group(name: str, items: Iterable[str]) -> str:
    return f'<h2 id="{_id(name)}">{escape(name)}</h2>{"".join(items)}'


def _operation(path: str, method: str, operation: Node) -> str:
    name = operation["operationId"]
    body = operation.get("requestBody")
    return (
        f'<section class="item" id="{_id(name)}"><h3>{_method(method)} '
        f'<a href="#{_id(name)}"><code>{escape(path)}</code></a></h3>'
        f"{_prose(operation.get('description', ''))}"
        f"{_parameters(operation.get('parameters', ()))}"
        f"{'' if body is None else '<h4>Body</h4>' + _content(body)}"
        f"<h4>Answers</h4>{_answers(operation['responses'])}</section>"
    )


def _parameters(parameters: Iterable[Node]) -> str:
    rows = [
        (
            f"<code>{escape(each['name'])}</code>",
            escape(each["in"]) + ("" if each.get("required") else ", optional"),
            _kind(each["schema"]) + _limits(each["schema"]),
            _inline(each.get("description", "")),
        )
        for each in parameters
    ]
    return _table("Parameters", ("name", "where", "what", ""), rows)


def _answers(responses: Mapping[str, Node]) -> str:
    rows = [
        (
            f"<code>{escape(status)}</code>",
            _inline(response["description"]) + _headers(response.get("headers", {})),
            _content(response),
        )
        for status, response in responses.items()
        if not _is_refusal(response)
    ]
    refusals = ", ".join(
        f"<code>{escape(status)}</code> {escape(response['description'])}"
        for status, response in responses.items()
        if _is_refusal(response)
    )
    told = f'<p class="quiet">Refusals: {refusals}</p>' if refusals else ""
    return _table("", ("status", "", "content"), rows) + told


def _is_refusal(response: Node) -> bool:
    return PROBLEM in response.get("content", {})


def _headers(headers: Mapping[str, Node]) -> str:
    if not headers:
        return ""
    named = ", ".join(f"<code>{escape(name)}</code>" for name in headers)
    return f'<div class="quiet">with {named}</div>'


def _content(node: Node) -> str:
    return "".join(
        f"<div>{_kind(content.get('schema', {}))} "
        f'<span class="quiet">{escape(media_type)}</span></div>'
        for media_type, content in node.get("content", {}).items()
    )


def _schema(name: str, schema: Node) -> str:
    required = schema.get("required", ())
    rows = [
        (
            f"<code>{escape(field)}</code>" + ("" if field in required else ", optional"),
            _kind(each) + _limits(each),
            _inline(each.get("description", "")),
        )
        for field, each in schema.get("properties", {}).items()
    ]
    kind = "" if rows else f"<p>{_kind(schema)}{_limits(schema)}</p>"
    return (
        f'<section class="item" id="{_id(name)}"><h3><a href="#{_id(name)}">{escape(name)}</a></h3>'
        f"{_prose(schema.get('description', ''))}{kind}"
        f"{_table('', ('field', 'what', ''), rows)}</section>"
    )


def _kind(schema: Node) -> str:
    """What a schema allows, in words, with links."""
    if "$ref" in schema:
        return _reference(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return f"<code>{escape(repr(schema['const']))}</code>"
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(_kind(each) + _limits(each) for each in schema[choice])
    return _type(schema)


def _type(schema: Node) -> str:
    kind = schema.get("type", "anything")
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(_kind(each) + _limits(each) for each in schema['prefixItems'])}]"
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_kind(schema['additionalProperties'])}"
    return escape(schema.get("format", kind))


def _limits(schema: Node) -> str:
    told = [
        text.format(f"<code>{escape(str(schema[name]))}</code>")
        for name, text in _LIMITS.items()
        if schema.get(name) not in (None, "")
    ]
    return f' <span class="quiet">{", ".join(told)}</span>' if told else ""


def _table(title: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    if not body:
        return ""
    titles = "".join(f"<th>{cell}</th>" for cell in head)
    return (
        f"{f'<h4>{title}</h4>' if title else ''}"
        f'<div class="scroll"><table><thead><tr>{titles}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(each)}</p>" for each in text.strip().split("\n\n") if each)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _method(method: str) -> str:
    return f'<span class="method {method}">{method.upper()}</span>'


def _reference(name: str) -> str:
    return f'<a href="#{_id(name)}">{escape(name)}</a>'


def _id(name: str) -> str:
    return escape(re.sub(r"[^A-Za-z0-9_-]", "-", name))
