"""As much of kustomize as our manifests use, so that they can be checked where there is no kubectl.

Anything else in a kustomization is refused. Two differences from the real one are wanted: generated names carry no
hash, and documents come in the order of their files. `test_manifests.py` compares the two where there is a kubectl.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]

#: Lists of objects that a patch completes instead of replacing, and what identifies an object in them.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}

KNOWN_FIELDS = {
    *("apiVersion", "kind", "resources", "components", "configMapGenerator"),
    *("patches", "labels", "nameSuffix"),
}


def render(folder: Path) -> list[Document]:
    """Every document that the kustomization of a folder stands for.

    Raises:
        FileNotFoundError: when something it names does not exist.
        ValueError: when it uses what is not known here, or a patch fits nothing.
    """
    return _apply(folder, [])


def _apply(folder: Path, inherited: list[Document]) -> list[Document]:
    kustomization = _kustomization(folder)
    documents = inherited
    for name in kustomization.get("resources", []):
        path = folder / name
        documents += render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for name in kustomization.get("components", []):
        documents = _apply(folder / name, documents)
    documents += [_config_map(folder, generator) for generator in kustomization.get("configMapGenerator", [])]
    for patch in kustomization.get("patches", []):
        _patch(folder, patch, documents)
    for document in documents:
        document["metadata"]["name"] += kustomization.get("nameSuffix", "")
        for entry in kustomization.get("labels", []):
            _label(document, entry)
    return documents


def _kustomization(folder: Path) -> Document:
    kustomization: Document = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = kustomization.keys() - KNOWN_FIELDS
    if unknown:
        raise ValueError(f"{folder}: {sorted(unknown)} is more than this renderer knows")
    return kustomization


def _config_map(folder: Path, generator: Document) -> Document:
    pairs: dict[str, str] = {}
    for name in generator["envs"]:
        lines = (folder / name).read_text().splitlines()
        pairs |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    metadata = {"name": generator["name"], "labels": dict(generator["options"]["labels"])}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": pairs}


def _patch(folder: Path, patch: Document, documents: list[Document]) -> None:
    target = patch["target"]
    chosen = [
        document
        for document in documents
        if re.fullmatch(target["kind"], document["kind"])
        and re.fullmatch(target.get("name", ".*"), document["metadata"]["name"])
    ]
    if not chosen:
        raise ValueError(f"{folder}: no document is a {target}")
    body = yaml.safe_load(patch["patch"] if "patch" in patch else (folder / patch["path"]).read_text())
    for document in chosen:
        if isinstance(body, list):
            for operation in body:
                _remove(document, operation)
        else:
            changes = {key: value for key, value in body.items() if key not in {"apiVersion", "kind", "metadata"}}
            _merge(document, copy.deepcopy(changes))


def _remove(document: Document, operation: Document) -> None:
    if operation["op"] != "remove":
        raise ValueError(f"{operation['op']} is more than this renderer knows")
    *parents, last = operation["path"].strip("/").split("/")
    for parent in parents:
        document = document[parent]
    del document[last]


def _merge(target: Document, changes: Document) -> None:
    for key, value in changes.items():
        present = target.get(key)
        if isinstance(value, dict) and isinstance(present, dict):
            _merge(present, value)
        elif key in MERGE_KEYS and isinstance(present, list):
            _merge_items(present, value, MERGE_KEYS[key])
        else:
            target[key] = value


def _merge_items(present: list[Document], changes: list[Document], identity: str) -> None:
    for change in changes:
        same = next((item for item in present if item.get(identity) == change[identity]), None)
        if same is None:
            present.append(change)
        else:
            _merge(same, change)


def _label(document: Document, entry: Document) -> None:
    if not entry.get("includeSelectors"):
        raise ValueError("labels without selectors are more than this renderer knows")
    places = [document["metadata"].setdefault("labels", {}), document["spec"]["selector"]["matchLabels"]]
    if "template" in document["spec"]:
        places.append(document["spec"]["template"]["metadata"]["labels"])
    for place in places:
        place.update(entry["pairs"])
