"""The drawing of docs/HACKING as a table: imports only go down, and only the edges touch the world."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sesrelay

ROOT = Path(sesrelay.__file__).parent

BELOW: dict[str, set[str]] = {
    "killpoints": set(),
    "connections": set(),
    "settings": set(),
    "model": set(),
    "rules": {"model"},
    "store": {"model", "killpoints"},
    "core": {"model", "rules", "store", "killpoints"},
    "certificates": {"model", "settings"},
    "configuration": {"model", "settings", "certificates"},
    "resolver": {"model", "settings"},
    "fronts.verify": {"model", "rules", "core"},
    "fronts.smtp": {"model", "rules", "core", "settings", "killpoints", "certificates", "connections"},
    "delivery": {"model", "rules", "core", "settings", "resolver", "killpoints"},
    "events": {"model", "rules", "core", "settings", "resolver", "killpoints"},
    "verification": {"model", "rules", "core", "settings", "resolver", "killpoints"},
    "runtime": {
        *(
            "model",
            "rules",
            "core",
            "store",
            "settings",
            "configuration",
            "certificates",
            "resolver",
            "killpoints",
            "wiring",
            "connections",
        ),
        *("fronts.smtp", "fronts.verify", "delivery", "events", "verification"),
    },
    "wiring": {
        *(
            "model",
            "connections",
            "rules",
            "core",
            "store",
            "settings",
            "certificates",
            "resolver",
            "killpoints",
            "runtime",
        ),
        *("fronts.smtp", "fronts.verify", "delivery", "events", "verification"),
    },
    # The command line is the door through which everything is started, so it stands above all.
    "fronts.cli": {
        *("model", "rules", "core", "store", "settings", "configuration", "certificates", "resolver", "wiring"),
        "runtime",
        "verification",
    },
    "__main__": {"fronts.cli"},
    "__init__": set(),
    "fronts": set(),
}
"""Who may import whom, besides itself. What is absent is forbidden."""

OUTSIDE: dict[str, set[str]] = {
    "sqlalchemy": {"store"},
    "alembic": {"store"},
    "pysqlite3": {"store"},
    "sqlite3": set(),
    "psycopg": {"store"},
    "aiosmtpd": {"fronts.smtp"},
    "smtplib": set(),
    "dns": {"resolver"},
    "prometheus_client": {"runtime"},
    "pydantic": {"settings", "configuration"},
    "yaml": {"configuration", "fronts.cli"},
    "click": {"fronts.cli"},
    "rich": {"fronts.cli"},
    "starlette": {"fronts.verify", "runtime", "wiring"},
    "uvicorn": {"runtime", "wiring"},
    "h11": {"runtime"},
    "uvloop": {"runtime"},
    "multiprocessing": set(),
}
"""Libraries that belong to one room, and the rooms that may use them."""

PURE_STANDARD_LIBRARY = {"asyncio", "socket", "ssl", "threading", "subprocess", "tempfile", "logging", "selectors"}
"""What neither model nor rules may touch: they take values and give values."""

TIME_AND_CHANCE = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
    "time.sleep", "time.gmtime", "time.localtime", "time.strftime", "datetime.now", "datetime.utcnow", "datetime.today",
    "date.today", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today", "os.urandom",
    "os.getrandom", "uuid.uuid1", "uuid.uuid4", "loop.time", "asyncio.sleep",
}  # fmt: skip
RANDOM_MODULES = {"random", "secrets"}

EDGES: dict[str, str] = {
    "runtime.clock": "the clock and the chance of everybody else",
}
"""Modules that may ask the system for time or chance, and why."""

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if "versions" not in path.parts
}


def room_of(module: str) -> str:
    """The row of BELOW that a module (or a package below it) belongs to; "" for the package itself."""
    parts = module.split(".")
    for length in (2, 1):
        if ".".join(parts[:length]) in BELOW:
            return ".".join(parts[:length])
    raise AssertionError(f"{module} belongs to no room: give it a row in BELOW")


def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def imported(module: str) -> Iterator[tuple[str, int]]:
    """Every module that is imported anywhere in it (inside functions too), by its full name, with the line."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            assert node.module
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                inner = full.removeprefix("sesrelay.") in MODULES or full.removeprefix("sesrelay.") in BELOW
                yield (full if inner else node.module), node.lineno


def inner_imports(module: str) -> Iterator[tuple[str, int]]:
    for name, line in imported(module):
        if name.startswith("sesrelay."):
            yield name.removeprefix("sesrelay."), line


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_above_itself(module: str) -> None:
    room = room_of(module)
    wrong = [
        f"sesrelay/{module.replace('.', '/')}.py:{line}: {room} must not import {name}"
        for name, line in inner_imports(module)
        if room_of(name) not in {room, *BELOW[room]}
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", MODULES)
def test_each_library_stays_in_its_room(module: str) -> None:
    room = room_of(module)
    wrong = [
        f"{module}:{line}: {name} belongs to {sorted(OUTSIDE[top]) or 'nobody'}"
        for name, line in imported(module)
        if (top := name.partition(".")[0]) in OUTSIDE and room not in OUTSIDE[top]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) in ("model", "rules")])
def test_rules_and_model_take_values_and_give_values(module: str) -> None:
    libraries = {name.partition(".")[0] for name, _ in imported(module)}
    waits = [node.lineno for node in ast.walk(tree_of(module)) if isinstance(node, ast.Await)]
    assert not libraries & PURE_STANDARD_LIBRARY
    assert not waits


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) == "model"])
def test_model_needs_the_standard_library_only(module: str) -> None:
    import sys

    outside = {name.partition(".")[0] for name, _ in imported(module)} - set(sys.stdlib_module_names) - {"sesrelay"}
    assert not outside


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of an attribute chain; a call in it counts as its function's last name."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{dotted(value)}.{attr}"
        case ast.Call(func=func):
            return "loop" if dotted(func).endswith(("get_running_loop", "get_event_loop")) else dotted(func)
    return ""


def time_and_chance(module: str) -> Iterator[str]:
    """Every place where a module asks the system for time or chance (also without calling it)."""
    renamed: dict[str, str] = {}
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and node.module in {"time", "os", "uuid", "datetime", "asyncio"}:
            renamed |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            yield from (f"{module}:{node.lineno}: import {name}" for name in names if name in RANDOM_MODULES)
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Call) and dotted(node.func).endswith("asyncio.sleep") and _is_zero(node):
            continue
        name = ""
        if isinstance(node, ast.Attribute):
            name = dotted(node)
            name = f"loop.{node.attr}" if name.endswith("loop.time") else name
        elif isinstance(node, ast.Name) and node.id in renamed:
            name = renamed[node.id]
        if name in TIME_AND_CHANCE and not _is_turn(module, node):
            yield f"{module}:{node.lineno}: {name}"  # type: ignore[attr-defined]


def _is_zero(call: ast.Call) -> bool:
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def _is_turn(module: str, wanted: ast.AST) -> bool:
    """``asyncio.sleep(0)``: a turn of the loop, not a wait."""
    key = (wanted.lineno, wanted.col_offset)  # type: ignore[attr-defined]
    return any(
        isinstance(node, ast.Call) and (node.func.lineno, node.func.col_offset) == key and _is_zero(node)
        for node in ast.walk(tree_of(module))
    )


@pytest.mark.parametrize("module", MODULES)
def test_only_named_edges_ask_for_time_or_chance(module: str) -> None:
    if module in EDGES:
        assert list(time_and_chance(module)), f"{module} asks for neither: take it off the list of edges"
        return
    assert not list(time_and_chance(module)), "\n".join(time_and_chance(module))


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: {name for name, _ in inner_imports(module) if name in MODULES} - {module} for module in MODULES}
    finished: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in finished:
            for below in sorted(graph[module]):
                walk(below, (*way, module))
            finished.add(module)

    for module in graph:
        walk(module, ())


def test_every_row_of_the_table_names_rooms_that_exist() -> None:
    assert not {name for allowed in BELOW.values() for name in allowed} - BELOW.keys()
