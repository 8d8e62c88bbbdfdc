"""What ships Twintide: the image, the composed deployment, the pins. Checked without an engine."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from trainer.curves import curves_dir
from twintide import yaml12
from twintide.config import load
from twintide.shards import ledger_folder

ROOT = Path(__file__).parents[2]
OWN = ("ingest", "scheduler", "server")
OWNER_OF = {
    "stream": "ingest",
    "slices": "scheduler",
    "checkpoints": "scheduler",
    "versions": "scheduler",
    "vectors": "scheduler",
    "items": "scheduler",
    "curves": "scheduler",
}
CONFIG = "/etc/twintide/twintide.yaml"


@cache
def compose_text() -> str:
    return (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def composed() -> dict[str, Any]:
    """The file with its merged anchor written out, as Compose reads it."""
    tree = yaml12.parse(compose_text().replace("<<:", "merged:"), name="docker-compose.yml")
    for service in tree["services"].values():
        merged = service.pop("merged", {})
        for key, value in merged.items():
            service.setdefault(key, value)
    return tree


def volumes(service: dict[str, Any]) -> dict[str, str]:
    """Volume -> "rw" or "ro"."""
    mounts = [mount.split(":") for mount in service.get("volumes", [])]
    return {mount[0]: mount[2] if len(mount) > 2 else "rw" for mount in mounts}


def test_kafka_ingest_scheduler_and_server_are_composed() -> None:
    """Each program runs by the command that people type, with the one configuration."""
    services = composed()["services"]

    assert {"kafka", *OWN} <= set(services)
    assert {name: services[name]["command"][:-2] for name in OWN} == {
        "ingest": ["ingest", "--metrics-host", "0.0.0.0", "--metrics-port", "9100"],
        "scheduler": ["train", "schedule"],
        "server": ["serve"],
    }
    assert all(services[name]["command"][-2:] == ["-c", CONFIG] for name in OWN)


def test_the_configuration_is_mounted_and_not_baked_in() -> None:
    """A change of it is a restart, no new image; without one of your own it is the shipped one."""
    tree = composed()

    assert tree["configs"]["twintide"]["file"] == "${TWINTIDE_CONFIG:-./configs/compose.yaml}"
    for name in OWN:
        assert tree["services"][name]["configs"] == [{"source": "twintide", "target": CONFIG}]
    assert "/etc/twintide" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_every_folder_of_the_deployment_lies_on_a_volume() -> None:
    """What a program writes outlives its container, and the rest of it is read-only."""
    deployment = load(ROOT / "configs" / "compose.yaml")
    own = composed()["services"]
    for folder, owner in (
        (deployment.shards_dir, "ingest"),
        (ledger_folder(deployment.shards_dir), "ingest"),
        (deployment.slices_dir, "scheduler"),
        (deployment.checkpoints_dir, "scheduler"),
        (deployment.versions_dir, "scheduler"),
        (deployment.vectors_dir, "scheduler"),
        (deployment.vectors_dir, "server"),
        (curves_dir(deployment), "scheduler"),
    ):
        mounts = [Path(mount.split(":")[1]) for mount in own[owner]["volumes"]]
        assert any(mount in (folder, *folder.parents) for mount in mounts), folder
    assert all(own[name]["read_only"] for name in OWN)


def test_memory_and_logs_are_bounded() -> None:
    """Whatever goes wrong in one container leaves the machine to the others."""
    for name, service in composed()["services"].items():
        assert re.fullmatch(r"\d+g", service["mem_limit"]), name
        assert service["logging"]["options"]["max-size"], name


def test_an_image_for_cpus_is_a_build_argument() -> None:
    """CUDA is 3 GB of no use without a GPU: another index for torch can be named."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    build = composed()["services"]["ingest"]["build"]

    assert "ARG PIP_EXTRA_INDEX_URL=\n" in dockerfile.partition("pip install")[0]
    assert build["args"] == {"PIP_EXTRA_INDEX_URL": "${PIP_EXTRA_INDEX_URL:-}"}


def test_every_service_is_watched_restarted_and_nobody_is_root() -> None:
    """A hung program is seen, a dead one comes back, and a broken-into one owns little."""
    for name, service in composed()["services"].items():
        assert service["healthcheck"], name
        assert service["restart"], name
        assert service["user"] not in {"root", "0", "0:0"}, name
        assert not service.get("privileged"), name


def test_each_volume_has_one_owner_and_readers_cannot_write() -> None:
    """Only the owner of a kind of artifact may write to its volume."""
    tree = composed()

    assert set(tree["volumes"]) == {"kafka", *OWNER_OF}
    for volume, owner in OWNER_OF.items():
        modes = {
            name: volumes(service)[volume]
            for name, service in tree["services"].items()
            if volume in volumes(service)
        }
        assert modes.pop(owner) == "rw"
        assert set(modes.values()) <= {"ro"}


def test_programs_with_http_are_asked_whether_they_are_ready() -> None:
    """A program that runs but cannot do its work is not healthy."""
    services = composed()["services"]

    asked = {name: services[name]["healthcheck"]["test"][-1] for name in ("ingest", "server")}

    assert "http://127.0.0.1:9100/readyz" in asked["ingest"]
    assert "http://127.0.0.1:8080/readyz" in asked["server"]


def test_ports_open_on_this_machine_only() -> None:
    """Beyond it the operator decides, behind a proxy that ends TLS."""
    ports = [port for s in composed()["services"].values() for port in s.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_are_pinned_and_secrets_come_from_outside() -> None:
    """No moving tag; the token is asked for, never written down."""
    services = composed()["services"]

    images = [service["image"] for service in services.values()]
    assert all(re.search(r":\d+\.\d+\.\d+$", image) for image in images)
    assert services["server"]["environment"]["TWINTIDE_TOKEN"].startswith("${TWINTIDE_TOKEN:?")


def test_compose_itself_accepts_the_file() -> None:
    """`docker compose config` finds no mistake."""
    if compose("version").returncode != 0:
        pytest.skip("docker compose is not on this machine")

    done = compose("config", "-q")

    assert done.returncode == 0, done.stderr


def compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [shutil.which("docker") or "false", "compose", *arguments]
    env = {**os.environ, "TWINTIDE_TOKEN": "x"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_the_image_runs_as_nobody_special_and_carries_every_package() -> None:
    """A package that the Dockerfile or the context forgets would be missed only at run time."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    context = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["twintide"]
    assert all(
        line == "FROM python:3.11-slim" or " AS " in line
        for line in dockerfile.splitlines()
        if line.startswith("FROM")
    )
    for package in top_packages():
        assert f"COPY {package} {package}\n" in dockerfile
        assert f"!{package}" in context


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def top_packages() -> list[str]:
    """The packages that pyproject.toml ships."""
    packages: list[str] = project()["tool"]["setuptools"]["packages"]
    return [name for name in packages if "." not in name]


def test_every_pin_is_exact_and_from_nowhere_special() -> None:
    """`name==version` and nothing else: no path, no address, no option."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()

    assert lines[0].startswith("# ")
    assert len(lines) > 50
    for line in lines[1:]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line), line


def test_every_dependency_is_pinned() -> None:
    """What pyproject.toml allows as a range, constraints.txt decides."""
    declared = project()["project"]
    ranges = list(chain(declared["dependencies"], *declared["optional-dependencies"].values()))
    names = {re.split(r"[<>=\[]", text)[0].lower() for text in ranges} - {"twintide"}
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    }

    assert len(names) > 20
    assert names <= pinned


def test_every_package_is_shipped() -> None:
    """A new sub-package that pyproject.toml forgets would be missing from the wheel."""
    on_disk = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in top_packages()
        for path in (ROOT / top).rglob("__init__.py")
    }

    assert on_disk <= set(project()["tool"]["setuptools"]["packages"])


def test_the_installed_command_finds_its_configurations_from_any_folder(tmp_path: Path) -> None:
    """The demo starts from the quickstart that is shipped, wherever it is typed."""
    command = Path(sys.executable).with_name("twintide")
    if not command.exists():
        pytest.skip("twintide is not installed here, only on the path")
    shown = subprocess.run(
        [command, "config", "show"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert shown.returncode == 0, shown.stderr
    assert "popularity_bias: true" in shown.stdout
