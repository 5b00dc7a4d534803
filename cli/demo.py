"""`statewave demo`: tell a running server a support conversation, and show what it makes of it.

The demo owns one subject. Each run starts over with it, so that "before compilation" is true every time; `--keep`
adds to what is there instead, which changes nothing the second time, because every episode has its idempotency key.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time

from cli.api_client import ApiClient, RequestFailed, ServerUnreachable
from cli.demo_conversation import SUBJECT_ID, DemoConversation, load_conversation
from cli.demo_page import Asked, memories, panel, summary
from config.settings import load_settings

#: Tokens asked for: little enough that the server has to choose.
MAX_TOKENS = 400
#: Lines of each context that are shown.
LINES = 14


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="the server (default: STATEWAVE_PORT on this machine)")
    parser.add_argument("--api-key", help="key to send (STATEWAVE_API_KEY)")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS, help="budget of each context")
    parser.add_argument("--keep", action="store_true", help="keep what an earlier run stored, do not start over")
    parser.add_argument("--full", action="store_true", help="print every context to its end")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; 0 when it was shown, 1 when the server could not be reached or refused."""
    settings = load_settings()
    url = arguments.url or f"http://127.0.0.1:{settings.port}"
    try:
        with ApiClient(url, api_key=arguments.api_key or settings.api_key) as client:
            _show(client, arguments)
    except ServerUnreachable as ex:
        print(f"{ex}.\nStart it in another terminal with `make up`, or name it with --url.", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (RequestFailed, ValueError) as ex:
        print(f"statewave demo: {ex}", file=sys.stderr)
        return 1
    return 0


def _show(client: ApiClient, arguments: argparse.Namespace) -> None:
    conversation = load_conversation()
    print(f"Statewave {client.version()['version']} at {client.url}")
    if not arguments.keep and client.delete_subject(SUBJECT_ID)["episodes_deleted"]:
        print(f"Starting over: removed the subject {SUBJECT_ID} of an earlier run.")
    _ingest(client, conversation)
    before = [client.context(SUBJECT_ID, task, max_tokens=arguments.max_tokens) for task in conversation.tasks]
    _compile(client)
    after = [client.context(SUBJECT_ID, task, max_tokens=arguments.max_tokens) for task in conversation.tasks]
    results = [Asked(*each) for each in zip(conversation.tasks, before, after, strict=True)]
    width = shutil.get_terminal_size((120, 40)).columns
    lines = None if arguments.full else LINES
    for number, asked in enumerate(results, start=1):
        print("\n" + panel(number, asked, width=width, lines=lines))
    print(f"\nContexts of at most {arguments.max_tokens} tokens, before | after compilation\n")
    print(summary(results))
    print(f"\nThe subject stays: curl '{client.url}/v1/timeline?subject_id={SUBJECT_ID}'")


def _ingest(client: ApiClient, conversation: DemoConversation) -> None:
    started = time.perf_counter()
    count = client.add_episodes(list(conversation.episodes))
    print(
        f"Told it {count} messages with {conversation.customer}, {conversation.session_count} sessions from "
        f"{conversation.span}, in {_since(started)}."
    )


def _compile(client: ApiClient) -> None:
    started = time.perf_counter()
    created = client.compile(SUBJECT_ID)
    if created:
        print(f"Compiled them into {len(created)} memories in {_since(started)}:\n")
        print(memories(created))
    else:
        print("Nothing was left to compile: an earlier run did, so before and after are the same.")


def _since(started: float) -> str:
    return f"{(time.perf_counter() - started) * 1000:.0f} ms"
