"""Texts with ``*`` and ``?`` as policies have them; matching takes time linear in the text, however hostile.

Since version 2012-10-17 ``${*}``, ``${?}`` and ``${$}`` stand for the characters themselves, and every other ``${…}``
is a policy variable: those are not supported and refused, since to take one for plain text would mean something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

Matcher = Callable[[str], bool]

_PIECE: Final = re.compile(r"\$\{([*?$])\}|(\$\{[^}]*\}?)|(\*)|(\?)|([^*?$]+|\$)")
_ESCAPE: Final = re.compile(r"\$\{([*?$])\}|\$\{[^}]*\}?")


def matcher(pattern: str, *, variables: bool) -> Matcher:
    """A test whether a text has the form of ``pattern``; case counts. ValueError: a policy variable.

    ``variables``: the document is of version 2012-10-17.
    """
    if pattern == "*":
        return _everything
    pieces = _pieces(pattern if variables else pattern.replace("$", "${$}"))
    if pieces is None:
        return literal(pattern, variables=variables).__eq__
    found = re.compile(_expression(pieces), re.DOTALL).match
    return lambda text: found(text) is not None


def literal(text: str, *, variables: bool) -> str:
    """A text without wildcards, its escapes undone. ValueError: a policy variable."""
    return _ESCAPE.sub(_character, text) if variables and "${" in text else text


def _pieces(pattern: str) -> list[str] | None:
    """What stands between the stars, as expressions of fixed length; None: there are no wildcards."""
    pieces = [""]
    plain = True
    for escaped, variable, star, question, text in _PIECE.findall(pattern):
        if variable:
            raise _unsupported(variable)
        plain = plain and not star and not question
        if star:
            pieces.append("")
        else:
            pieces[-1] += "." if question else re.escape(escaped or text)
    return None if plain else pieces


def _expression(pieces: list[str]) -> str:
    """Each piece behind a star is looked for once, at its leftmost place; nothing that was found is tried again."""
    if len(pieces) == 1:
        return rf"{pieces[0]}\Z"
    first, *middle, last = pieces
    between = "".join(f"(?>.*?{piece})" for piece in middle if piece)
    return rf"{first}{between}.*{last}\Z" if last else first + between


def _character(found: re.Match[str]) -> str:
    if found[1] is None:
        raise _unsupported(found[0])
    return found[1]


def _unsupported(variable: str) -> ValueError:
    return ValueError(f"policy variables ({variable}) are not supported; write ${{$}} for the character $")


def _everything(_text: str) -> bool:
    return True
