"""The program ``sesrelay``: its commands, and what its exit status means.

0: done. 1: the operation failed; one line on stderr says why. 2: wrong usage or a configuration that cannot be used.
Modules of commands are loaded when they are called: ``serve`` never loads the others.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

import click

from sesrelay import __version__
from sesrelay.configuration import BadConfiguration
from sesrelay.fronts.cli.output import one_line, say
from sesrelay.model.failure import Failed

_COMMANDS: Final = {
    "init": ("init", "init"),
    "serve": ("serve", "serve"),
    "check-config": ("serve", "check_config"),
    "account": ("accounts", "account"),
    "limits": ("limits", "limits"),
    "credentials": ("credentials", "credentials"),
    "user": ("users", "user"),
    "group": ("users", "group"),
    "policy": ("policies", "policy"),
    "identity": ("identities", "identity"),
    "queue": ("queue", "queue"),
    "message": ("messages", "message"),
    "certificate": ("certificate", "certificate"),
    "migrate": ("maintenance", "migrate"),
    "verify-data": ("maintenance", "verify_data"),
}
"""Each command: the module it is in, and its name there."""

RESERVED: Final = frozenset(
    {
        "explain", "suppression", "topic", "dns", "doctor", "backup", "restore", "accounts-balance",
        "verify-identity", "send-email", "get-stats", "setup-dkim", "setup-notifications", "verify-email-address",
    }
)  # fmt: skip
"""Names of commands that a later version brings."""


class _Commands(click.Group):
    """Finds commands by the table above, and says plainly when one is not there yet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name in RESERVED:
            raise click.UsageError(f"`{cmd_name}` is reserved: this version of sesrelay does not have it yet")
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        found: click.Command = getattr(importlib.import_module(f"sesrelay.fronts.cli.{module}"), name)
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    metavar="FILE",
    help="Configuration, also behind the command; else $SESRELAY_CONFIG, else /etc/sesrelay/sesrelay.yaml.",
)
@click.version_option(__version__, prog_name="sesrelay")
def cli(config: str | None) -> None:
    """A self-hosted mail relay that speaks as Amazon SES does."""


def main(arguments: list[str] | None = None) -> None:
    """Runs one command and exits with its status."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Runs one command; its exit status. What went wrong is said on stderr."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        _check(given)
        status: Any = cli.main(given, prog_name="sesrelay", standalone_mode=False)
    except BadConfiguration as error:
        for fault in error.faults:
            say(one_line(fault))
        return 2
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        click.UsageError(one_line(error.format_message()), error.ctx).show()
        return 2
    except click.Abort:
        say("broken off")
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Failed as error:
        say(f"sesrelay: {one_line(error)}")
        return 1
    except OSError as error:
        say(f"sesrelay: {one_line(error.filename or 'input or output')}: {error.strerror or error}")
        return 1
    except Exception as error:
        status = _status_of(error)
        if status is None:
            raise
        say(f"sesrelay: {one_line(error)}")
    return status if isinstance(status, int) else 0


def _check(arguments: list[str]) -> None:
    """click.UsageError for what can only be a slip, before it means everything where one thing was meant."""
    for number, argument in enumerate(arguments, 1):
        if not argument or (argument.startswith("--") and argument.endswith("=")):
            raise click.UsageError(f"argument {number} is empty{argument and f' ({argument})'}: an unset variable?")
        if not argument.isprintable() and any("\ud800" <= character <= "\udfff" for character in argument):
            raise click.UsageError(f"argument {number} is not UTF-8 text")


def _status_of(error: Exception) -> int | None:
    """The exit status for trouble with store or certificate; None for a defect, which keeps its traceback."""
    from sesrelay.certificates.pairs import BadPair
    from sesrelay.store import errors
    from sesrelay.store.keyring import KeyringError

    cannot_be_used = (
        errors.DatabaseUnusable, errors.SchemaTooNew, errors.SchemaTooOld, errors.SchemaUnknown, errors.SqliteTooOld,
        errors.NotDurable, errors.WrongKeyring, KeyringError,
    )  # fmt: skip
    if isinstance(error, cannot_be_used):
        return 2
    return 1 if isinstance(error, errors.StoreError | BadPair) else None
