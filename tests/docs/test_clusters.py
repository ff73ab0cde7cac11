"""What the documents say about clusters is accepted by Ray, Kubernetes and the shell, as far as no cloud is needed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import moto
import pyarrow.parquet as pq
import pytest
import typer.main
import yaml

from orchestrator.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
CLUSTER = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
SLURM = ROOT / "docs/clusters/slurm.sh"
BIN = Path(sys.executable).parent
KUBERNETES = "1.37"

# ---- cluster.yaml ----


def variant(title: str) -> dict[str, Any]:
    """The cluster file with the keys of a commented block in the place of its own."""
    block = CLUSTER.partition(f"# ---- {title}: ")[2].partition("\n")[2].partition("\n# ---- ")[0]
    lines = [line.removeprefix("# ") for line in block.splitlines()]
    return yaml.safe_load(CLUSTER) | yaml.safe_load("\n".join(lines))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("title", "provider", "kinds"),
    [("GCP", "gcp", {"head", "gpu"}), ("On-premises", "local", {"local.cluster.node"})],
)
def test_ray_accepts_the_commented_variants_of_the_cluster_file(title: str, provider: str, kinds: set[str]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(variant(title))
    validate_config(config)
    assert config["provider"]["type"] == provider
    assert set(config["available_node_types"]) == kinds


def test_workers_are_spot_machines_on_gcp_too() -> None:
    scheduling = variant("GCP")["available_node_types"]["gpu"]["node_config"]["scheduling"]
    assert scheduling["provisioningModel"] == "SPOT"


@pytest.mark.filterwarnings("ignore")
def test_rays_code_for_aws_starts_the_machines_of_the_cluster_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray puts the SSH key
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "simulated")
    with moto.mock_aws():
        import boto3
        from ray.autoscaler._private.aws.config import bootstrap_aws
        from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
        from ray.autoscaler._private.util import prepare_config

        config = prepare_config(yaml.safe_load(CLUSTER))
        # Where it has to make one itself, Ray waits for 15 s.
        boto3.client("iam").create_instance_profile(InstanceProfileName="head")
        config["available_node_types"]["head"]["node_config"]["IamInstanceProfile"] = {"Name": "head"}
        config = bootstrap_aws(config)
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        for kind, described in config["available_node_types"].items():
            provider.create_node(deepcopy(described["node_config"]), {"ray-user-node-type": kind}, 1)
        reservations = boto3.client("ec2", config["provider"]["region"]).describe_instances()["Reservations"]
        machines = [machine for reservation in reservations for machine in reservation["Instances"]]
    assert {(machine["InstanceType"], machine.get("InstanceLifecycle")) for machine in machines} == {
        ("m5.xlarge", None),
        ("g5.2xlarge", "spot"),
    }


def test_every_node_of_the_cluster_file_gets_the_token_and_asks_for_it() -> None:
    config = yaml.safe_load(CLUSTER)
    assert "~/.ray/auth_token" in config["file_mounts"]
    assert any("RAY_AUTH_MODE=token" in command for command in config["setup_commands"])


# ---- Kubernetes ----

# What KubeRay's v1 knows, from ray-operator/config/crd/bases/ray.io_rayjobs.yaml after v1.7.0 (commit feeaf72).
JOB = {
    *("activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint"),
    *("entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata"),
    *("preRunningDeadlineSeconds", "rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode"),
    *("submitterConfig", "submitterPodTemplate", "suspend", "ttlSecondsAfterFinished"),
}
RAY_CLUSTER = {
    *("authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec"),
    *("headServiceAnnotations", "historyServerOptions", "managedBy", "networkPolicy", "rayVersion", "suspend"),
    *("tlsOptions", "upgradeStrategy", "workerGroupSpecs"),
}
HEAD = {
    *("enableIngress", "headService", "ingressOptions", "labels", "rayStartParams", "resources", "serviceType"),
    "template",
}
WORKERS = {
    *("groupName", "idleTimeoutSeconds", "labels", "maxReplicas", "minReplicas", "numOfHosts", "priority"),
    *("rayStartParams", "replicas", "resources", "scaleStrategy", "suspend", "template"),
}
NEEDED = {"groupName", "maxReplicas", "minReplicas", "template"}


@pytest.fixture
def manifest() -> dict[str, dict[str, Any]]:
    """The objects of the manifest, by kind."""
    text = (ROOT / "docs/clusters/rayjob.yaml").read_text(encoding="utf-8")
    return {thing["kind"]: thing for thing in yaml.safe_load_all(text)}


def as_pod(template: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, **template}


def groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


@pytest.mark.filterwarnings("ignore")
def test_kubernetes_accepts_the_volume_claim_and_every_pod(manifest: dict[str, dict[str, Any]]) -> None:
    kubernetes_validate.validate(manifest["PersistentVolumeClaim"], KUBERNETES, strict=True)
    for group in groups(manifest["RayJob"]):
        kubernetes_validate.validate(as_pod(group["template"]), KUBERNETES, strict=True)


@pytest.mark.filterwarnings("ignore")
def test_kubernetes_would_notice_a_misspelt_field_of_a_pod(manifest: dict[str, dict[str, Any]]) -> None:
    pod = as_pod(deepcopy(groups(manifest["RayJob"])[1]["template"]))
    pod["spec"]["nodeSelektor"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="nodeSelektor"):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_kuberay_knows_every_field_of_the_job(manifest: dict[str, dict[str, Any]]) -> None:
    job = manifest["RayJob"]
    cluster = job["spec"]["rayClusterSpec"]
    assert job["apiVersion"] == "ray.io/v1"
    assert set(job["spec"]) <= JOB
    assert set(cluster) <= RAY_CLUSTER
    assert set(cluster["headGroupSpec"]) <= HEAD
    for workers in cluster["workerGroupSpecs"]:
        assert set(workers) >= NEEDED
        assert set(workers) <= WORKERS


def test_the_job_has_a_token_the_ray_that_is_locked_and_storage_that_all_pods_share(
    manifest: dict[str, dict[str, Any]],
) -> None:
    cluster = manifest["RayJob"]["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert f"\nray=={cluster['rayVersion']}\n" in (ROOT / "requirements.lock").read_text(encoding="utf-8")
    claim = {"claimName": manifest["PersistentVolumeClaim"]["metadata"]["name"]}
    for group in groups(manifest["RayJob"]):
        pod = group["template"]["spec"]
        assert claim in [volume.get("persistentVolumeClaim") for volume in pod["volumes"]]
        assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == {
            volume["name"] for volume in pod["volumes"]
        }


# ---- The image; its steps are done by tests/container ----


def test_the_program_runs_in_the_image_as_a_user_who_owns_nothing_of_it() -> None:
    recipe = (ROOT / "docs/clusters/Containerfile").read_text(encoding="utf-8").replace("\\\n", "")
    steps = [line for line in recipe.splitlines() if line and not line.startswith("#")]
    user = steps.index("USER orchestrator")
    assert not [step for step in steps[user:] if step.startswith(("RUN", "COPY"))]
    assert any("--constraint requirements.lock" in step and "train" in step for step in steps[:user])


def test_what_one_trained_here_is_not_copied_into_the_image() -> None:
    ignored = (ROOT / "docs/clusters/Containerfile.dockerignore").read_text(encoding="utf-8")
    assert {"runs", "data", ".venv"} <= set(ignored.splitlines())


# ---- Shell ----


def blocks() -> list[str]:
    """The shell commands that the page shows."""
    return re.findall(r"^```(?:sh|bash)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def complaints(script: str, shell: str) -> str:
    command = [BIN / "shellcheck", f"--shell={shell}", "-"]
    return subprocess.run(command, input=script, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("block", blocks())
def test_shellcheck_has_nothing_to_say_about_what_the_page_shows(block: str) -> None:
    assert not complaints(block, "bash")


def test_shellcheck_has_nothing_to_say_about_the_slurm_script() -> None:
    assert not complaints(SLURM.read_text(encoding="utf-8"), "bash")


def test_slurm_reads_every_directive() -> None:
    lines = SLURM.read_text(encoding="utf-8").splitlines()
    first = next(place for place, line in enumerate(lines) if line and not line.startswith("#"))
    assert all(place < first for place, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert subprocess.run(["bash", "-n", SLURM], check=False).returncode == 0


def launches(script: str) -> Iterator[list[str]]:
    """The arguments of every call of the orchestrator, also inside quotes and behind the Slurm script."""
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removesuffix(" &"), comments=True)
        for place, word in enumerate(words):
            following = words[place + 1 :]
            if words[place - 2 : place + 1] == ["python", "-m", "orchestrator"]:
                yield following
            elif word == "docs/clusters/slurm.sh":
                yield ["launch", *following]
            elif "python -m orchestrator" in word:
                yield from launches(word)


def shown() -> list[list[str]]:
    job = (ROOT / "docs/clusters/rayjob.yaml").read_text(encoding="utf-8")
    entrypoint = next(line.partition(":")[2] for line in job.splitlines() if line.startswith("  entrypoint:"))
    scripts = [*blocks(), SLURM.read_text(encoding="utf-8"), entrypoint]
    return [arguments for script in scripts for arguments in launches(script)]


@pytest.mark.parametrize("arguments", shown(), ids=" ".join)
def test_the_command_line_knows_every_option_that_is_shown(arguments: list[str]) -> None:
    verb, *options = arguments
    verbs = typer.main.get_command(app).commands
    assert verbs[verb].make_context(verb, options).params["file"]


def test_no_command_that_is_shown_goes_untested() -> None:
    text = PAGE + SLURM.read_text(encoding="utf-8") + (ROOT / "docs/clusters/rayjob.yaml").read_text(encoding="utf-8")
    assert len(shown()) == len(re.findall(r"python -m orchestrator|sbatch .*docs/clusters/slurm\.sh experiments", text))


def test_every_link_of_the_page_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target


# ---- The Slurm script in namespaces, because it stops every Ray that it can see; on a real Slurm: tests/slurm ----

OWN = "/tmp/orchestrator-0"  # noqa: S108 - of root, which one is in namespaces
ALONE = ["unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--net", "--mount", "--uts"]
if os.geteuid():
    ALONE[1:1] = ["--user", "--map-root-user"]


@pytest.fixture
def apart() -> list[str]:
    """How to begin a program with processes, network and a disk of its own for Ray."""
    ready = f"ip link set lo up && mkdir -p {OWN} && mount -t tmpfs none {OWN}"
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        pytest.skip("no unshare, nsenter or ip: the script would stop every other Ray of this user")
    tried = subprocess.run([*ALONE, "sh", "-c", ready], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no namespaces here ({tried.stderr.strip()}): the script would stop every other Ray")
    return [*ALONE, "sh", "-c", f'{ready} && exec "$@"', "apart"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user's with a home of their own and the programs of this environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ORCHESTRATOR_"))}
    home = {"HOME": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}", "RAY_USAGE_STATS_ENABLED": "0"}
    return {**kept, **home}


# This host and another one, joined by a cable; Slurm's commands as far as the script uses them.
HOSTS = r"""
set -eu
folder=$1 script=$2 experiment=$3 own=$4
hostname host1
unshare --fork --kill-child --pid --mount-proc --net --mount --uts sh -c "
  hostname host2; ip link set lo up; mount -t tmpfs none $own; touch $folder/up; exec sleep 600" &
until [ -e "$folder/up" ]; do sleep 0.1; done
OTHER=$(tr -d ' ' < /proc/$!/task/$!/children)
ip link add cable1 type veth peer name cable2 netns "$OTHER"
ip addr add 10.77.0.1/24 dev cable1
ip link set cable1 up
nsenter -t "$OTHER" --net sh -c "ip addr add 10.77.0.2/24 dev cable2; ip link set cable2 up"
mkdir "$folder/bin"
cat > "$folder/bin/srun" << 'END'
#!/bin/bash
while case $1 in --*) ;; *) false ;; esac; do shift; done
exec nsenter -t "$OTHER" --all --wd="$PWD" "$@"
END
printf '#!/bin/bash\nkill -KILL "$OTHER"\n' > "$folder/bin/scancel"
chmod +x "$folder/bin/srun" "$folder/bin/scancel"
export OTHER PATH="$folder/bin:$PATH" SLURM_JOB_ID=1 SLURM_JOB_NUM_NODES=2 SLURM_CPUS_PER_TASK=1
bash "$script" "$experiment" --workspace "$folder/runs" --data-dir "$folder/data" --json
"""

EXPERIMENT = """\
name: slurm
plugins: [together]
losses: [softmax, {name: together, as: together}]
backbones: [resnet8]
datasets: [digits]
seeds: 2
recipe: {epochs: 1}
baseline: softmax
"""


TOGETHER = '''
"""A loss that waits until two hosts train with it."""

import socket
import time
from pathlib import Path

from trainers.losses.softmax import Softmax


class Together(Softmax):
    """Softmax, on two hosts."""

    name = "together"

    def per_sample(self, logits, labels):
        here = Path(__file__).parent
        (here / f"at-{socket.gethostname()}").touch()
        while len([*here.glob("at-*")]) < 2:
            time.sleep(0.1)
        return super().per_sample(logits, labels)
'''


@pytest.mark.slow
def test_the_slurm_script_trains_on_two_hosts(apart: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "slurm.yaml").write_text(EXPERIMENT, encoding="utf-8")
    (tmp_path / "together.py").write_text(TOGETHER, encoding="utf-8")
    done = subprocess.run(
        [*apart, "bash", "-c", HOSTS, "hosts", tmp_path, SLURM, tmp_path / "slurm.yaml", OWN],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert (counts["done"], counts["failed"]) == (4, 0)
    files = list((tmp_path / "runs/evaluations").rglob("*.parquet"))
    cells = [json.loads((pq.read_schema(file).metadata or {})[b"cell"]) for file in files]
    assert {cell["provenance"]["node"] for cell in cells} == {"host1", "host2"}
