"""The sum of database connections, from the manifests and the code, against what docs/deployment.md says."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import pytest

from actors.process import CONNECTIONS_BESIDE_ACTORS
from config.settings import Settings, load_settings
from tests.deployment.manifests import INSTALLATIONS, ROOT, Pod, compose, of_kind, pods

#: What PostgreSQL keeps for superusers of its default of 100.
USABLE_BY_DEFAULT = 100 - 3

#: The role's limit in k8s/overlays/keda/autoscaler.sql.
AUTOSCALER = 10


def per_pod(pod: Pod, settings: Settings) -> int:
    """Connections that one pod holds at most."""
    if pod.component == "api":
        return settings.api_workers * settings.pool_size
    if pod.component == "worker":
        threads = int(pod.option("--threads") or settings.worker_threads)
        processes = int(pod.option("--processes") or settings.worker_processes)
        metrics = 0 if settings.worker_metrics_port is None else 1
        return processes * (threads + CONNECTIONS_BESIDE_ACTORS) + metrics
    return 1  # looks at the schema when it starts, or migrates


def most_pods(name: str, pod: Pod) -> int:
    """Pods of a workload at most, with those that a rollout adds."""
    if pod.workload["kind"] == "Job":
        return 1
    for scaler in of_kind(name, "HorizontalPodAutoscaler", "ScaledObject"):
        if scaler["spec"]["scaleTargetRef"]["name"] == pod.name:
            spec = scaler["spec"]
            replicas = int(spec.get("maxReplicas", spec.get("maxReplicaCount", 0)))
            break
    else:
        replicas = int(pod.workload["spec"]["replicas"])
    strategy = pod.workload["spec"].get("strategy", {})
    if strategy.get("type") == "Recreate":
        return replicas
    surge = strategy["rollingUpdate"]["maxSurge"]
    share = Fraction(surge.rstrip("%")) / 100 if isinstance(surge, str) else None
    return replicas + (surge if share is None else math.ceil(replicas * share))


def total(name: str) -> int:
    (config_map,) = of_kind(name, "ConfigMap")
    settings = load_settings(config_map["data"])
    autoscaler = AUTOSCALER if of_kind(name, "ScaledObject") else 0
    return autoscaler + sum(most_pods(name, pod) * per_pod(pod, settings) for pod in pods(name))


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_the_documented_sum_is_the_sum(name: str) -> None:
    text = (ROOT / "docs/deployment.md").read_text()
    documented = dict(re.findall(r"^\| `k8s/(\S+)` \|.*\| \*\*(\d+)\*\* \|$", text, flags=re.MULTILINE))
    assert int(documented[name]) == total(name)


def test_the_base_fits_a_postgresql_with_its_default_limit() -> None:
    assert total("base") <= USABLE_BY_DEFAULT


def test_compose_fits_the_limit_it_sets() -> None:
    settings = load_settings({})
    ours = settings.api_workers * settings.pool_size
    ours += settings.worker_processes * (settings.worker_threads + CONNECTIONS_BESIDE_ACTORS) + 2
    command = compose()["services"]["postgres"]["command"]
    (limit,) = [int(word.split("=")[1]) for word in command if word.startswith("max_connections=")]
    assert ours <= limit - 3


def test_a_request_never_waits_for_a_connection_that_another_thread_of_its_process_could_not_need() -> None:
    for name in INSTALLATIONS:
        (config_map,) = of_kind(name, "ConfigMap")
        settings = load_settings(config_map["data"])
        assert settings.pool_size >= settings.api_threads
