"""The README's walk, done as a newcomer would: every command answers what the README prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.fixtures.stack import RunningStack

README = (Path(__file__).parents[2] / "README.md").read_text()
WALK = README[README.index("## From episode to context") : README.index("## With the SDK")]
STEPS = re.findall(r"```sh\n(.*?)```\n\n```text\n(.*?)```", WALK, re.DOTALL)
SDK = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]

#: What differs from run to run.
_PASSING = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\"created_at\":\"[^\"]+\"")


def steady(text: str) -> str:
    return _PASSING.sub("…", text.strip())


def test_the_walk_answers_what_it_prints(running_stack: RunningStack) -> None:
    assert len(STEPS) == 4
    for command, printed in STEPS:
        here = command.replace("http://127.0.0.1:8100", running_stack.base_url)
        done = subprocess.run(["bash", "-c", here], capture_output=True, text=True, check=True, timeout=60)
        assert steady(done.stdout) == steady(printed)


def test_the_five_lines_of_the_sdk_run(running_stack: RunningStack, tmp_path: Path) -> None:
    script = tmp_path / "five_lines.py"
    script.write_text(SDK.replace("http://localhost:8100", running_stack.base_url))
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "E-4012" in done.stdout
