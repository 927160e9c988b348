"""The example files of docs/cluster: what Ray and KubeRay say of such files, and that they fit ours."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from orchestrator.config.build import as_plain
from orchestrator.config.command_line import is_sweep
from orchestrator.config.compose import only_composed
from orchestrator.serving.composing import composed

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "cluster"
LAUNCHER_FILES = ("aws.yaml", "on_premise.yaml")

# The fields of KubeRay's API (ray.io/v1, 1.5.1) and of a pod that rayjob.yaml may use. A name that the API
# does not have is dropped there without a word.
CONTAINER = {"name": str, "image": str, "env": list, "volumeMounts": list, "resources": dict}
FIELDS: dict[str, dict[str, type]] = {
    "": {"apiVersion": str, "kind": str, "metadata": dict, "spec": dict},
    "spec": {
        "entrypoint": str,
        "runtimeEnvYAML": str,
        "submissionMode": str,
        "backoffLimit": int,
        "shutdownAfterJobFinishes": bool,
        "ttlSecondsAfterFinished": int,
        "rayClusterSpec": dict,
    },
    "spec.rayClusterSpec": {
        "rayVersion": str,
        "authOptions": dict,
        "enableInTreeAutoscaling": bool,
        "autoscalerOptions": dict,
        "headGroupSpec": dict,
        "workerGroupSpecs": list,
    },
    "spec.rayClusterSpec.headGroupSpec": {"rayStartParams": dict, "template": dict},
    "spec.rayClusterSpec.workerGroupSpecs": {
        "groupName": str,
        "replicas": int,
        "minReplicas": int,
        "maxReplicas": int,
        "rayStartParams": dict,
        "template": dict,
    },
}


def loaded(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


@pytest.fixture(scope="module")
def rayjob() -> dict[str, Any]:
    return loaded("rayjob.yaml")  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_rays_launcher_takes_the_file(name: str) -> None:
    config = prepare_config(loaded(name))
    validate_config(config)
    assert config["max_workers"] >= 2


def test_that_check_can_fail() -> None:
    config = prepare_config(loaded("aws.yaml"))
    with pytest.raises(Exception, match="setup_command"):
        validate_config({**config, "setup_command": []})


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_every_node_of_the_launcher_has_code_token_and_loopback_dashboard(name: str) -> None:
    config = loaded(name)
    assert config["file_mounts"] == {"~/murmuration": ".", "~/.ray/auth_token": "~/.ray/auth_token"}
    assert config["rsync_filter"] == [".rayignore"]
    setup = "\n".join(config["setup_commands"])
    for line in ("make vllm", "RAY_AUTH_MODE=token", "PYTHONPATH=$HOME/murmuration"):
        assert line in setup
    (start,) = [c for c in config["head_start_ray_commands"] if "ray start" in c]
    assert "--dashboard-host=127.0.0.1" in start


def test_what_the_launcher_leaves_on_a_node_can_be_run(tmp_path: Path) -> None:
    """``ray submit`` copies run.py alone to the node's home, and runs it there in a login shell."""
    (tmp_path / "murmuration").mkdir()
    for part in ("run.py", "conf", "orchestrator", "actors", "strategies"):
        (tmp_path / "murmuration" / part).symlink_to(ROOT / part)
    (tmp_path / "murmuration" / ".venv").symlink_to(Path(sys.prefix))
    shutil.copy(ROOT / "run.py", tmp_path)
    (profile,) = {loaded(name)["setup_commands"][-1] for name in LAUNCHER_FILES}
    script = f"{profile} && {profile} && . ~/.bashrc && python ~/run.py dry_run=true run_dir=~/new && env"
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "RAY_ADDRESS": ""}
    ran = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "placement: 1 engine replicas and 1 verifier replicas" in ran.stdout
    assert "RAY_AUTH_MODE=token" in ran.stdout
    assert len((tmp_path / ".bashrc").read_text().splitlines()) == 3  # run twice, written once


def check_fields(node: Any, path: str = "") -> None:
    """Every name below is one that the API has there, with a value of its type."""
    for entry in node if isinstance(node, list) else [node]:
        for name, value in entry.items():
            assert name in FIELDS[path], f"{path}.{name}"
            assert type(value) is FIELDS[path][name], f"{path}.{name}"
            below = f"{path}.{name}".lstrip(".")
            if below in FIELDS:
                check_fields(value, below)


def test_the_rayjob_has_the_fields_of_kuberay(rayjob: dict[str, Any]) -> None:
    assert (rayjob["apiVersion"], rayjob["kind"]) == ("ray.io/v1", "RayJob")
    check_fields(rayjob)
    cluster = rayjob["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["authOptions"] == {"mode": "token"}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        check_pod(group["template"]["spec"])


def check_pod(pod: dict[str, Any]) -> None:
    """Its parts fit together: mounts name volumes, requests are limits, no secret stands in the file."""
    assert pod.keys() == {"containers", "volumes"}
    (container,) = pod["containers"]
    assert {k: type(v) for k, v in container.items()} == CONTAINER
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    assert container["resources"]["requests"] == container["resources"]["limits"]
    for variable in container["env"]:
        is_secret = variable["name"].endswith(("_KEY", "_TOKEN"))
        assert is_secret == ("secretKeyRef" in variable.get("valueFrom", {}))


def test_what_the_rayjob_runs_is_a_sweep_of_ours(rayjob: dict[str, Any]) -> None:
    """On the volume that every pod mounts, and resumed by a retry."""
    program, script, *arguments = shlex.split(rayjob["spec"]["entrypoint"])
    assert (program, script) == ("python", "run.py") and is_sweep(arguments)
    overrides = [a.split(",")[0] for a in arguments if a != "-m"]
    plain = only_composed(overrides, as_plain)
    assert plain["resume"] is True
    pod = rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    mounts = [m["mountPath"] for m in pod["containers"][0]["volumeMounts"]]
    assert any(plain["run_dir"].startswith(f"{mount}/") for mount in mounts)
    runtime_env = yaml.safe_load(rayjob["spec"]["runtimeEnvYAML"])
    assert runtime_env.keys() == {"working_dir", "env_vars"}
    assert runtime_env["working_dir"].startswith(f"file://{mounts[0]}/")
    assert all(isinstance(value, str) for value in runtime_env["env_vars"].values())


def overrides_of(config: dict[str, Any]) -> list[str]:
    """The arguments of the one application, whose import path exists."""
    (application,) = config["applications"]
    module, _, name = application["import_path"].partition(":")
    assert f"def {name}(" in (ROOT / f"{module.replace('.', '/')}.py").read_text()
    (deployment,) = application["deployments"]
    assert f'name="{deployment["name"]}"' in (ROOT / "actors" / "serve.py").read_text()
    assert list(application["args"]) == ["overrides"]
    return list(application["args"]["overrides"])


def test_the_file_of_serve_is_a_server() -> None:
    served, _ = composed(overrides_of(loaded("serve.yaml")))
    assert served.settings.max_queue == 256 and served.settings.is_loopback


def test_the_manifest_of_a_service_is_a_server() -> None:
    manifest = loaded("rayservice.yaml")
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayService")
    assert set(manifest["spec"]) == {"serveConfigV2", "rayClusterConfig"}
    job = loaded("rayjob.yaml")["spec"]["rayClusterSpec"]
    cluster = manifest["spec"]["rayClusterConfig"]
    assert set(cluster) <= set(job) and cluster["rayVersion"] == job["rayVersion"]
    served, plan = composed(overrides_of(yaml.safe_load(manifest["spec"]["serveConfigV2"])))
    assert plan.names["engine"] == "vllm"
    # Another address than loopback has keys, and every pod gets them.
    (container,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    assert served.settings.api_keys_env in [variable["name"] for variable in container["env"]]
