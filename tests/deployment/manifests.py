"""The deployment's files, as the tests of this folder look at them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.deployment.kustomize import Document, render

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"

#: What can be applied: folder below k8s.
INSTALLATIONS = ("base", "overlays/fleets", "overlays/keda")

#: Kinds that make pods.
WORKLOADS = ("Deployment", "Job")


@cache
def installation(name: str) -> tuple[Document, ...]:
    """All documents of one of `INSTALLATIONS`. Not to be changed."""
    return tuple(render(K8S / name))


def of_kind(name: str, *kinds: str) -> list[Document]:
    """The documents of these kinds."""
    return [document for document in installation(name) if document["kind"] in kinds]


def compose() -> Document:
    """The compose file, with its anchors resolved."""
    loaded: Document = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


@dataclass(frozen=True, slots=True)
class Pod:
    """What a workload runs: its name, component, pod spec and labels."""

    name: str
    component: str
    spec: Document
    labels: dict[str, str]
    workload: Document

    @property
    def container(self) -> Document:
        container: Document = self.spec["containers"][0]
        return container

    @property
    def args(self) -> list[str]:
        return [str(argument) for argument in self.container["args"]]

    def option(self, name: str) -> str | None:
        """Value of an option of the container's command."""
        return self.args[self.args.index(name) + 1] if name in self.args else None


def pods(name: str) -> Iterator[Pod]:
    """Every pod of an installation."""
    for workload in of_kind(name, *WORKLOADS):
        template = workload["spec"]["template"]
        labels = template["metadata"]["labels"]
        component = labels["app.kubernetes.io/component"]
        yield Pod(workload["metadata"]["name"], component, template["spec"], labels, workload)


def containers(pod: Pod) -> list[Document]:
    """All containers of a pod, also those that run first."""
    return [*pod.spec.get("initContainers", []), *pod.spec["containers"]]


def strings(value: Any) -> Iterator[str]:
    """Every string anywhere in a document, keys too."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value
