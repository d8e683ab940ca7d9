"""The configuration file read whole: either settings that hold together, or every fault with file, line and key.

The environment comes over the file: ``SESRELAY_HTTP__PORT=9443`` is ``http: {port: 9443}``, and a value is
written as in YAML. Relative paths are relative to the file. Nothing is started on a faulty configuration (OPS-4).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sesrelay.certificates.configured import certificate_files
from sesrelay.certificates.pairs import BadPair, read, remarks, uncovered
from sesrelay.model import folder
from sesrelay.model.clock import Micros
from sesrelay.settings import Certificate, KeyPath, Section, Settings, Tls, contradictions, endpoints, spell

P = TypeVar("P", Certificate, Tls)

DEFAULT_FILE: Final = Path("/etc/sesrelay/sesrelay.yaml")
PREFIX: Final = "SESRELAY_"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where: ``sesrelay.yaml:7: listeners[0].port: …``."""

    source: str
    """The file, or the environment variable."""
    line: int
    """From 1; 0 when there is no line to show."""
    key: str
    text: str

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{place}: {self.key}: {self.text}" if self.key else f"{place}: {self.text}"


class BadConfiguration(Exception):  # noqa: N818 - it is the operator's, and its text is for people
    """The configuration has faults; all of them are here, in the order of the file."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


def locate(given: str | Path | None, environ: Mapping[str, str]) -> Path:
    """The file to read: ``--config``, else ``$SESRELAY_CONFIG``, else /etc/sesrelay/sesrelay.yaml."""
    return Path(given or environ.get(PREFIX + "CONFIG") or DEFAULT_FILE)


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """The settings of this file and environment, with absolute paths. Raises BadConfiguration with every fault."""
    return parse(_text_of(path), path, environ)


def parse(text: str, path: Path, environ: Mapping[str, str]) -> Settings:
    """As ``load``, of a file that is not written yet."""
    reader = _Reader(str(path))
    data = reader.document(text)
    reader.override(data, environ)
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        reader.refuse(error)
    else:
        for key, words in contradictions(settings):
            reader.fault(key, words)
    if reader.faults or settings is None:
        raise BadConfiguration(sorted(reader.faults, key=lambda fault: fault.line))
    return _with_absolute_paths(settings, path.absolute().parent)


def check(settings: Settings, source: Path) -> None:
    """What only this machine can answer, without opening anything. Raises BadConfiguration with every fault."""
    faults: list[Fault] = []
    for look in (check_files, check_folder):
        try:
            look(settings, source)
        except BadConfiguration as error:
            faults += error.faults
    if faults:
        raise BadConfiguration(faults)


def check_files(settings: Settings, source: Path) -> None:
    """Each certificate and its key can be used. Raises BadConfiguration."""
    reader = _Reader(str(source))
    reader.document(_text_of(source))
    for place, files in certificate_files(settings):
        try:
            read(files)
        except BadPair as error:
            reader.fault((*place, error.part), str(error))
    if reader.faults:
        raise BadConfiguration(reader.faults)


def check_folder(settings: Settings, source: Path, *, empty: bool = False) -> None:
    """The data folder is there, and the embedded database in it unless it may be ``empty``. BadConfiguration."""
    place = settings.data_dir
    try:
        if not place.is_dir():
            raise blame(source, ("data_dir",), f"there is no folder {place} (sesrelay init --data makes one)")
        if settings.database == "sqlite" and not empty and not (place / folder.DATABASE).is_file():
            raise blame(source, ("data_dir",), folder.no_database(place))
    except OSError as error:
        raise blame(source, ("data_dir",), f"{place}: {error.strerror}") from None


def warnings(settings: Settings, source: Path, now: Micros) -> list[Fault]:
    """What a relay starts with all the same: certificates that end soon, and names that none is for.

    After ``check_files``, which finds those that cannot be used.
    """
    reader = _Reader(str(source))
    reader.document(_text_of(source))
    pairs = [(place, read(files)) for place, files in certificate_files(settings)]
    for place, pair in pairs:
        for words, _ in remarks(pair, now):
            reader.fault((*place, "certificate"), f"{pair.files.certificate}: {words}")
    if missing := uncovered(endpoints(settings).values(), [pair for _, pair in pairs]):
        reader.fault(("tls", "certificate"), f"no certificate is for {', '.join(missing)}: clients will refuse it")
    return reader.faults


def blame(source: Path, key: KeyPath, text: str) -> BadConfiguration:
    """A fault that shows only when a setting is used, at the line where it stands."""
    reader = _Reader(str(source))
    reader.document(_text_of(source))
    reader.fault(key, text)
    return BadConfiguration(reader.faults)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadConfiguration([Fault(str(path), 0, "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadConfiguration([Fault(str(path), line, "", "is not UTF-8 text")]) from None


def _no_yaml(source: str, text: str, error: yaml.YAMLError) -> Fault:
    """What the YAML reader stumbled over, and in which line."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Fault(source, line, "", f"has a character that YAML does not allow: U+{int(error.character):04X}")
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        words = [part for part in (error.context, error.problem) if part]
        return Fault(source, error.problem_mark.line + 1, "", ", ".join(words))
    return Fault(source, 0, "", "is not YAML")


def _with_absolute_paths(settings: Settings, base: Path) -> Settings:
    more = tuple(_under(base, each) for each in settings.tls.certificates)
    tls = _under(base, settings.tls).model_copy(update={"certificates": more})
    return settings.model_copy(
        update={"data_dir": base / settings.data_dir, "keyring": base / settings.keyring, "tls": tls}
    )


def _under(base: Path, pair: P) -> P:
    return pair.model_copy(update={"certificate": base / pair.certificate, "private_key": base / pair.private_key})


class _Reader:
    """Plain data out of YAML, remembering where each key stood."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.faults: list[Fault] = []
        self._places: dict[KeyPath, tuple[str, int]] = {(): (source, 0)}

    def fault(self, key: KeyPath, text: str) -> None:
        """Notes what is wrong with a key, at the line of the nearest key that was written."""
        for length in range(len(key), -1, -1):
            if place := self._places.get(key[:length]):
                self.faults.append(Fault(*place, spell(key), text))
                return

    def document(self, text: str) -> dict[str, Any]:
        """The file's top mapping. Raises BadConfiguration when it is no YAML at all."""
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
        except yaml.YAMLError as error:
            raise BadConfiguration([_no_yaml(self.source, text, error)]) from None
        if node is None:
            return {}
        data = self._plain(loader, node, (), ())
        if not isinstance(data, dict):
            raise BadConfiguration([Fault(self.source, node.start_mark.line + 1, "", "must be `key: value` lines")])
        return data

    def _plain(self, loader: yaml.SafeLoader, node: yaml.Node, path: KeyPath, above: tuple[yaml.Node, ...]) -> Any:
        if node in above:
            self.fault(path, "refers to itself")
            return None
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, child in enumerate(node.value):
                self._places[(*path, index)] = (self.source, child.start_mark.line + 1)
                items.append(self._plain(loader, child, (*path, index), (*above, node)))
            return items
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, path, above)
        try:
            return loader.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self.fault(path, "is a value that YAML does not know")
            return None

    def _mapping(
        self, loader: yaml.SafeLoader, node: yaml.MappingNode, path: KeyPath, above: tuple[yaml.Node, ...]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, child in node.value:
            name = str(getattr(key_node, "value", "?"))
            key = (*path, name)
            line = key_node.start_mark.line + 1
            if name in found:
                self.faults.append(
                    Fault(self.source, line, spell(key), f"stands twice, first in line {self._places[key][1]}")
                )
                continue
            self._places[key] = (self.source, line)
            found[name] = self._plain(loader, child, key, (*above, node))
        return found

    def override(self, data: dict[str, Any], environ: Mapping[str, str]) -> None:
        """Puts the environment's values over the file's."""
        for name in sorted(environ):
            if not name.startswith(PREFIX):
                continue
            path: KeyPath = tuple(
                int(part) if part.isdigit() else part for part in name.removeprefix(PREFIX).lower().split("__")
            )
            if path[0] not in Settings.model_fields:
                # Other variables of ours (SESRELAY_CONFIG) are no settings: only what looks meant as one is a fault.
                near = difflib.get_close_matches(str(path[0]), Settings.model_fields, 1, 0.6 if path[1:] else 0.8)
                if path[1:] or near:
                    self.faults.append(Fault(name, 0, spell(path), _unknown(path[-1:], near)))
                continue
            try:
                value = yaml.safe_load(environ[name])
            except yaml.YAMLError:
                self.faults.append(Fault(name, 0, spell(path), "its value is not YAML"))
                continue
            self._places[path] = (name, 0)
            if not _put(data, path, value):
                self.fault(path, "cannot be set: what is above it is no such list or mapping")

    def refuse(self, error: ValidationError) -> None:
        """Turns pydantic's findings into faults, one for a key."""
        seen: set[KeyPath] = set()
        for detail in error.errors(include_url=False, include_input=False):
            key = _key_of(detail["loc"])
            if key not in seen:
                seen.add(key)
                self.fault(key, _words(detail, key))


def _put(data: dict[str, Any], path: KeyPath, value: object) -> bool:
    """Sets a value deep inside; sections that are not there are made. False when the way is blocked."""
    place: Any = data
    for part, following in zip(path, (*path[1:], None), strict=True):
        last = following is None
        if isinstance(place, list) and isinstance(part, int) and part < len(place):
            if last:
                place[part] = value
            place = place[part]
        elif isinstance(place, dict):
            key = str(part)
            if last:
                place[key] = value
            elif place.get(key) is None:
                place[key] = {}
            place = place[key]
        else:
            return False
    return True


def _sections(path: KeyPath) -> Iterator[tuple[str | int, type[Section] | None]]:
    """The parts of a path, each with the section it stands in (None below one)."""
    section: type[Section] | None = Settings
    for part in path:
        yield part, section
        if isinstance(part, str) and section is not None:
            field = section.model_fields.get(part)
            section = _section_of(field.annotation) if field else None


def _section_of(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := _section_of(inner):
            return found
    return None


def _key_of(loc: tuple[int | str, ...]) -> KeyPath:
    """The written key that pydantic means: without the names of union members that it hangs on the end."""
    key: list[str | int] = []
    for part, section in _sections(loc):
        if isinstance(part, str) and section is None:
            break
        key.append(part)
    return tuple(key)


def _words(detail: ErrorDetails, key: KeyPath) -> str:
    """What is wrong, for a person; never with the value, which may be a password."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        *_, (_, section) = _sections(key)
        names = section.model_fields if section else {}
        return _unknown(key[-1:], difflib.get_close_matches(str(key[-1]), names, 1))
    if key == ("workers",):
        return "auto or a number from 1 to 256 is wanted"
    fixed = {
        "missing": "is missing",
        "tuple_type": "a list is wanted",
        "model_type": "a section with keys is wanted",
        "model_attributes_type": "a section with keys is wanted",
        "string_type": "text is wanted (put it in quotes)",
        "path_type": "a path is wanted",
        "int_type": "a whole number is wanted",
        "int_parsing": "a whole number is wanted",
        "int_from_float": "a whole number is wanted",
        "float_type": "a number is wanted",
        "float_parsing": "a number is wanted",
        "finite_number": "a finite number is wanted",
        "bool_type": "true or false is wanted",
        "bool_parsing": "true or false is wanted",
    }
    if kind in fixed:
        return fixed[kind]
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {context['expected']}"
    return detail["msg"].replace("Input should", "must")


def _unknown(name: KeyPath, near: list[str]) -> str:
    return f"there is no such setting{f': did you mean {near[0]}?' if near else ''}" if name else "unknown"
