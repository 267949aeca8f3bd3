"""The command line. One file per verb: a module of this package that exports ``command``; only that module is loaded.

Here, and only here, errors become one line on stderr and an exit code: 0 done; 1 the run or a claim failed; 2 usage;
3 the environment lacks something; 130 interrupted.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import pkgutil
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import click

from testbed.engine.interrupts import handle
from testbed.errors import TestbedError

INTERRUPTED = 130


class Verbs(click.Group):
    """Finds verbs by their files. ``exec`` lives in ``exec.py``; a file whose name begins with ``_`` is no verb."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, sorted."""
        names = [module.name for module in pkgutil.iter_modules(__path__)]
        return sorted(name.replace("_", "-") for name in names if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb, or None: click then says that there is none of that name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs, from the first lines of their files: no verb need be loaded for a help text."""
        rows = [(name, _first_line(name)) for name in self.list_commands(ctx)]
        with formatter.section("Verbs"):
            formatter.write_dl(rows)


def _first_line(verb: str) -> str:
    spec = find_spec(f"{__name__}.{verb.replace('-', '_')}")
    if spec is None or spec.origin is None:
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("testbed"), prog_name="testbed")
def group() -> None:
    """A testbed that builds a small network of containers, loads a server beyond its capacity, draws what
    happened, and says whether the numbers can be believed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. The console script hands it to ``sys.exit``."""
    handle(_interrupt)
    try:
        result = group.main(
            args=None if arguments is None else list(arguments), prog_name="testbed", standalone_mode=False
        )
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        return _complain(_with_hint(error), error.exit_code)
    except TestbedError as error:
        return _complain(str(error), error.exit_code)
    except OSError as error:  # a full disk, a folder that may not be written
        where = f"{error.filename}: " if error.filename is not None else ""
        return _complain(f"{where}{error.strerror or error}", TestbedError.exit_code)
    except (KeyboardInterrupt, click.Abort):
        handle(signal.SIG_IGN)  # the clean-up is done: one more would only spoil the exit code
        return _complain("interrupted", INTERRUPTED)
    return result if isinstance(result, int) else 0


def _interrupt(_: int, __: FrameType | None) -> None:
    """SIGTERM and a closed terminal end a command as Ctrl-C does: with the clean-up."""
    raise KeyboardInterrupt


def _complain(text: str, code: int) -> int:
    line = " ".join(text.split())
    with contextlib.suppress(OSError):  # the terminal may be closed
        print(f"testbed: {line}", file=sys.stderr, flush=True)
    return code


def _with_hint(error: click.ClickException) -> str:
    text = error.format_message().rstrip(".")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{text} (see `{error.ctx.command_path} --help`)"
    return text
