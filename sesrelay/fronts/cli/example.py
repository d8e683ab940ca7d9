"""The settings printed for people: config/sesrelay.yaml, and the tables of docs/OPERATING.md.

``python -m sesrelay.fronts.cli.example`` prints the one, with ``--tables`` the other; tests compare both with the
files in the repository.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sesrelay.settings import Section, Settings

_WANTED: Final = {"service_domain": "relay.example.net", "data_dir": "/var/lib/sesrelay"}
"""What has no default, as the example has it."""

_HEAD: Final = """\
# Every setting of sesrelay, with its default. Keys that are left out have it; the first two must be there.
# Relative paths are relative to this file. SESRELAY_<SECTION>__<KEY> in the environment comes over the file:
# SESRELAY_HTTP__PORT=9443. `sesrelay check-config` names every fault with file, line and key.
"""


def example() -> str:
    """The example configuration: every key with its meaning and its default."""
    return _HEAD + "\n".join(_section(Settings, "")) + "\n"


def _section(section: type[Section], indent: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = _inner(field)
        default = _default(name, field)
        if inner is None:
            yield from _comment(field.description or "", indent)
            yield f"{indent}{name}: {_yaml(default)}"
        elif isinstance(default, tuple):
            yield ""
            yield from _comment(f"{inner.__doc__} {field.description or ''}", indent)
            for key, each in inner.model_fields.items():
                yield f"{indent}#   {key}: {each.description}"
            yield f"{indent}{name}:" if default else f"{indent}{name}: []"
            yield from (f"{indent}  - {_yaml(item.model_dump(mode='json'))}" for item in default)
        else:
            yield ""
            yield from _comment(inner.__doc__ or "", indent)
            yield f"{indent}{name}:"
            yield from _section(inner, indent + "  ")


def _comment(text: str, indent: str) -> Iterator[str]:
    yield f"{indent}# {' '.join(text.split())}"


def _inner(field: Any) -> type[Section] | None:
    """The section that a field holds, or holds a list of."""
    for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def _default(name: str, field: Any) -> Any:
    return _WANTED[name] if field.is_required() else field.get_default(call_default_factory=True, validated_data={})


def _yaml(value: Any) -> str:
    """A value on one line, as YAML and JSON both read it."""
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, str) and value.replace("-", "").replace("_", "").replace("/", "").replace(".", "").isalpha():
        return value
    return json.dumps(value)


def tables() -> str:
    """Every setting in tables of Markdown: key, default, meaning."""
    return "\n".join(_tables(Settings, "", "The top level."))


def _tables(section: type[Section], prefix: str, about: str) -> Iterator[str]:
    deeper: list[tuple[type[Section], str]] = []
    yield from (f"**{prefix.rstrip('.') or 'top level'}**: {about}", "", "| key | default | meaning |", "|---|---|---|")
    for name, field in section.model_fields.items():
        inner = _inner(field)
        if inner is not None:
            many = isinstance(_default(name, field), tuple)
            deeper.append((inner, f"{prefix}{name}[]." if many else f"{prefix}{name}."))
            continue
        shown = "must be set" if field.is_required() else f"`{_yaml(_default(name, field))}`"
        yield f"| `{prefix}{name}` | {shown} | {(field.description or '').replace('|', chr(92) + '|')} |"
    yield ""
    for inner, inner_prefix in deeper:
        yield from _tables(inner, inner_prefix, " ".join((inner.__doc__ or "").split()))


if __name__ == "__main__":
    sys.stdout.write(tables() if "--tables" in sys.argv else example())
