"""The Kubernetes manifests: kustomize builds them, Kubernetes' schemas accept them, and what they name exists."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deployment.kustomize import Document
from tests.deployment.manifests import INSTALLATIONS, K8S, containers, installation, of_kind, pods

#: The oldest Kubernetes that is supported and a current one.
KUBERNETES = ("1.28", "1.36")

every_installation = pytest.mark.parametrize("name", INSTALLATIONS)


def canonical(document: Any) -> Any:
    """The same document for every order of its objects, without the hash of a generated name."""
    if isinstance(document, dict):
        return {key: canonical(value) for key, value in sorted(document.items())}
    if isinstance(document, list):
        items = [canonical(item) for item in document]
        is_ordered = not all(isinstance(item, dict) for item in items)
        return items if is_ordered else sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(document, str):
        return re.sub(r"^(statewave-settings)-[a-z0-9]{10}$", r"\1", document)
    return document


@every_installation
def test_kubectl_builds_what_our_renderer_builds(name: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: the other tests of this folder use our own renderer alone")
    built = subprocess.run([kubectl, "kustomize", str(K8S / name)], capture_output=True, text=True, check=True)
    assert canonical(list(yaml.safe_load_all(built.stdout))) == canonical(list(installation(name)))


def test_every_file_below_k8s_is_part_of_an_installation() -> None:
    used = {K8S / "overlays/keda/autoscaler.sql"}
    for folder in {path.parent for path in K8S.rglob("kustomization.yaml")}:
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        named = [*kustomization.get("resources", []), *kustomization.get("components", [])]
        named += [patch["path"] for patch in kustomization.get("patches", []) if "path" in patch]
        named += [env for generator in kustomization.get("configMapGenerator", []) for env in generator["envs"]]
        used |= {folder / "kustomization.yaml", *((folder / entry).resolve() for entry in named)}
    assert {path for path in K8S.rglob("*") if path.is_file()} <= used


@pytest.mark.parametrize("version", KUBERNETES)
@every_installation
def test_kubernetes_accepts_every_document(name: str, version: str) -> None:
    for document in installation(name):
        if not document["apiVersion"].startswith("keda.sh/"):  # test_autoscaling.py looks at those
            kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelt_field_would_not_pass() -> None:
    document = copy.deepcopy(of_kind("base", "Deployment")[0])
    document["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, KUBERNETES[-1], strict=True)


@every_installation
def test_names_are_unique_per_kind(name: str) -> None:
    names = [(document["kind"], document["metadata"]["name"]) for document in installation(name)]
    assert len(names) == len(set(names))


@every_installation
def test_what_a_pod_refers_to_exists(name: str) -> None:
    accounts = {document["metadata"]["name"] for document in of_kind(name, "ServiceAccount")}
    config_maps = {document["metadata"]["name"] for document in of_kind(name, "ConfigMap")}
    for pod in pods(name):
        assert pod.spec["serviceAccountName"] in accounts
        volumes = {volume["name"] for volume in pod.spec["volumes"]}
        for container in containers(pod):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert {source["configMapRef"]["name"] for source in container.get("envFrom", [])} <= config_maps


@every_installation
def test_every_selector_chooses_pods(name: str) -> None:
    def chooses(selector: dict[str, str]) -> bool:
        return any(selector.items() <= pod.labels.items() for pod in pods(name))

    for workload in of_kind(name, "Deployment"):
        selector = workload["spec"]["selector"]["matchLabels"]
        assert selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
        own = [pod.name for pod in pods(name) if selector.items() <= pod.labels.items()]
        assert own == [workload["metadata"]["name"]], "two workloads would fight over the same pods"
    for service in of_kind(name, "Service"):
        assert chooses(service["spec"]["selector"])
    for budget in of_kind(name, "PodDisruptionBudget"):
        assert chooses(budget["spec"]["selector"]["matchLabels"])
    for policy in of_kind(name, "NetworkPolicy"):
        assert chooses(policy["spec"]["podSelector"]["matchLabels"])


@every_installation
def test_scalers_and_services_name_what_is_there(name: str) -> None:
    deployments = {document["metadata"]["name"]: document for document in of_kind(name, "Deployment")}
    for scaler in of_kind(name, "HorizontalPodAutoscaler", "ScaledObject"):
        target = deployments[scaler["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"], "an apply would put the number back that the scaler chose"
    ports = {port["name"] for pod in pods(name) for port in pod.container.get("ports", [])}
    for service in of_kind(name, "Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    probed = [probe["httpGet"]["port"] for pod in pods(name) for probe in http_probes(pod.container)]
    assert set(probed) <= ports


def http_probes(container: Document) -> list[Document]:
    probes = [value for key, value in container.items() if key.endswith("Probe")]
    return [probe for probe in probes if "httpGet" in probe]


@every_installation
def test_no_container_may_more_than_it_must(name: str) -> None:
    for pod in pods(name):
        assert pod.spec["securityContext"]["runAsNonRoot"] is True
        assert pod.spec["automountServiceAccountToken"] is False
        for container in containers(pod):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            assert {"mountPath": "/tmp", "name": "tmp"} in container["volumeMounts"]


@every_installation
def test_secrets_are_only_referred_to(name: str) -> None:
    assert not of_kind(name, "Secret")
    for pod in pods(name):
        for container in containers(pod):
            for variable in container.get("env", []):
                assert variable["valueFrom"]["secretKeyRef"]["key"] == variable["name"]


@every_installation
def test_a_pod_gets_longer_to_stop_than_its_process_takes(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # What it sets when it is imported must not come down to the servers that other tests start.
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "metrics"))
    from config import gunicorn as gunicorn_config

    for pod in pods(name):
        grace = pod.spec.get("terminationGracePeriodSeconds", 30)
        if pod.component == "api":
            before_stop = int(pod.container["lifecycle"]["preStop"]["exec"]["command"][1])
            assert grace > before_stop + gunicorn_config.graceful_timeout
        elif pod.component == "worker":
            deadline = pod.option("--shutdown-seconds")
            assert deadline is not None
            assert grace >= float(deadline) + 15


@every_installation
def test_every_pod_that_stays_is_probed(name: str) -> None:
    for pod in pods(name):
        if pod.workload["kind"] == "Deployment":
            expected = {"startupProbe", "livenessProbe"} | ({"readinessProbe"} if pod.component == "api" else set())
            assert expected <= pod.container.keys()
            if pod.component != "api":
                command = pod.container["livenessProbe"]["exec"]["command"]
                assert command[:3] == ["statewave", "alive", pod.component]


@every_installation
def test_every_deployment_waits_for_the_schema(name: str) -> None:
    for pod in pods(name):
        if pod.workload["kind"] == "Deployment":
            (waiting,) = pod.spec["initContainers"]
            assert "statewave migrate --check" in waiting["command"][-1]
        assert {container["image"] for container in containers(pod)} == {"statewave-server:0.1.0"}


@every_installation
def test_the_migration_can_run_before_everything_else(name: str) -> None:
    """`kubectl apply -l statewave.dev/rollout=first` must bring all that the Job needs."""
    first = [d for d in installation(name) if d["metadata"].get("labels", {}).get("statewave.dev/rollout") == "first"]
    kinds = {document["kind"] for document in first}
    assert kinds == {"ServiceAccount", "ConfigMap", "NetworkPolicy", "Job"}


@every_installation
def test_one_scheduler_and_never_two(name: str) -> None:
    (scheduler,) = [pod.workload for pod in pods(name) if pod.component == "scheduler"]
    assert scheduler["spec"]["replicas"] == 1
    assert scheduler["spec"]["strategy"] == {"type": "Recreate"}


@every_installation
def test_every_queue_has_workers(name: str) -> None:
    from config.queues import QUEUES

    served: set[str] = set()
    for pod in pods(name):
        if pod.component == "worker":
            served |= set((pod.option("--queues") or ",".join(QUEUES)).split(","))
    assert served == set(QUEUES)


@every_installation
def test_prometheus_reaches_the_port_that_workers_serve_their_metrics_on(name: str) -> None:
    (settings,) = of_kind(name, "ConfigMap")
    for pod in pods(name):
        ports = {port["name"]: port["containerPort"] for port in pod.container.get("ports", [])}
        if pod.component == "worker":
            assert ports["metrics"] == int(settings["data"]["STATEWAVE_WORKER_METRICS_PORT"])
    (policy,) = (policy for policy in of_kind(name, "NetworkPolicy") if "metrics" in policy["metadata"]["name"])
    assert policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "worker"
    assert [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]] == ["metrics"]
