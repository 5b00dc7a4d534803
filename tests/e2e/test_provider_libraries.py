"""Which processes of a running server have LiteLLM in them: workers that call models, and no others.

LiteLLM is written in Python, but cannot be imported without Pydantic, whose Rust part shows in the memory map of a
process. Running processes are asked, by way of `/proc`, after they have done their work.
"""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from config.queues import QUEUES
from tests.fixtures.databases import DatabaseMaker
from tests.fixtures.models import attentive
from tests.fixtures.processes import descendants, eventually, has_loaded
from tests.fixtures.provider import run_provider
from tests.fixtures.stack import RunningStack, start_stack

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")

#: What importing LiteLLM brings into a process, and nothing of ours.
MARK = "_pydantic_core"

#: Seconds for a worker to load LiteLLM on a busy machine, and to compile.
PATIENCE = 120.0


def used(stack: RunningStack, tenant: str) -> None:
    """Remember something, and ask for it in every way that an embedder or a model might have a part in."""
    with httpx.Client(base_url=stack.base_url, headers={"X-Tenant-ID": tenant}, timeout=60) as client:
        told = {"role": "user", "content": "My name is Ada Moreau. I work at Globex."}
        episode = {"subject_id": "ada", "source": "chat", "type": "message", "payload": {"messages": [told]}}
        assert client.post("/v1/episodes", json=episode).status_code == 201
        # Whether the answer waits for the workers depends on how busy the machine is; the run goes on in any case.
        assert client.post("/v1/memories/compile", json={"subject_id": "ada"}).status_code in (200, 409)
        remembered = {"subject_id": "ada"}
        assert eventually(lambda: client.get("/v1/timeline", params=remembered).json()["memories"], seconds=PATIENCE)
        asked = {"subject_id": "ada", "q": "employer", "semantic": "true"}
        assert client.get("/v1/memories/search", params=asked).status_code == 200
        assert client.post("/v1/context", json={"subject_id": "ada", "task": "employer"}).status_code == 200
        client.post("/v1/llm/complete", json={"messages": [told]})


def with_litellm(stack: RunningStack, name: str) -> list[bool]:
    """For each process of a part, whether LiteLLM is in it."""
    pid = stack.processes[name].pid
    assert pid is not None
    return [has_loaded(process, MARK) for process in descendants(pid)]


def test_where_rules_compile_no_process_has_loaded_litellm(running_stack: RunningStack) -> None:
    used(running_stack, str(uuid4()))
    for name in ("api", "worker", "scheduler"):
        found = with_litellm(running_stack, name)
        assert found and not any(found), name


def test_where_models_compile_only_the_workers_that_call_them_have(new_database: DatabaseMaker, tmp_path: Path) -> None:
    with (
        run_provider() as provider,
        start_stack(
            new_database,
            tmp_path,
            compiler_type="llm",
            litellm_model="openai/gpt-4o-mini",
            litellm_api_base=provider.url,
            litellm_api_key="test",
        ) as stack,
    ):
        provider.reply = attentive
        stack.start("worker", "--queues", ",".join(q for q in QUEUES if q != "llm"), name="worker without models")
        used(stack, str(uuid4()))
        assert any(asked.route == "chat" for asked in provider.asked)
        assert any(with_litellm(stack, "worker"))
        assert eventually(lambda: len(with_litellm(stack, "worker without models")) > 1)
        for name in ("api", "worker without models", "scheduler"):
            assert not any(with_litellm(stack, name)), name
