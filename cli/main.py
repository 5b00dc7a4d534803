"""The `statewave` command. Each subcommand is a module of this room with `add_arguments` and `run`.

Only the module of the command that was asked for is imported, so that `--help` and the small commands answer at once.
Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cli.invocation import command_line
from config.settings import ConfigurationError
from storage.children import StartFailed

#: What there is: the module's name within this room, and what it is for.
COMMANDS = {
    "up": "run the whole server in this terminal: databases, migrations, API, worker and scheduler",
    "api": "run the API alone",
    "worker": "run workers alone",
    "scheduler": "run the scheduler alone",
    "alive": "tell whether a part of the server lives here, for liveness probes",
    "migrate": "bring the database's schema up to date",
    "demo": "tell the running server a support conversation and show what it makes of it",
    "queues": "show what every queue holds, pause or resume one",
    "runs": "list runs, show, retry or cancel one",
    "dead-letters": "list, retry or purge runs that failed for good",
    "embeddings": "show which embedding model is read, change it, or change it back",
    "memories": "make a memory active again that was superseded",
    "receipts": "verify receipts offline: signatures, and the chain between them",
    "schedules": "show what happens at regular times",
    "erasures": "list what was erased, keep the ledger, and erase again what a restored dump brought back",
    "export": "write a subject, or all of a tenant, as JSON lines",
    "import": "take in what was exported; what was erased stays erased",
    "keys": "make, list, rotate and revoke API keys",
    "usage": "show what tenants used and what model providers cost",
    "config": "print the settings in force",
    "doctor": "check everything the server needs, and say how to put right what is wrong",
}

#: Commands whose module is called otherwise: `import` is a word of the language.
MODULES = {"import": "import_"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="statewave", description="A memory server for AI agents.")
    parser.add_argument("--version", action="version", version=f"statewave-server {version('statewave-server')}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if name == asked:
            module = importlib.import_module(f"cli.{MODULES.get(name, name.replace('-', '_'))}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    parsed = parser.parse_args(arguments)
    command_line.set(arguments)
    try:
        return int(parsed.run(parsed))
    except (ConfigurationError, StartFailed) as ex:
        print(f"statewave {parsed.command}: {ex}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read our output has left, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
