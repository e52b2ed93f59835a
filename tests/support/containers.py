"""A container engine for tests, where there is one; and the images, or stand-ins of Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

from ecommerce_dw.settings import PROJECT_DIR

STAND_INS = PROJECT_DIR / "tests" / "support" / "stand_ins" / "build.sh"

#: With the TLS of the server in the folder that the variable names, or without: see stand_ins/build.sh.
_POSTGRES = "localhost/ecommerce-dw-stand-in-postgres:18" + (
    "-tls" if os.environ.get("STAND_IN_POSTGRES") else ""
)

#: Setting of docker-compose.yml → the image it means by default, and its stand-in.
IMAGES = {
    "PYTHON_IMAGE": ("python:3.12-slim-bookworm", "localhost/ecommerce-dw-stand-in-python:3.11"),
    "POSTGRES_IMAGE": ("postgres:18", _POSTGRES),
    "REDIS_IMAGE": ("redis:7", "localhost/ecommerce-dw-stand-in-redis:7"),
}


class NoEngineError(RuntimeError):
    """No container can be run here; the message says what is missing."""


@dataclass(frozen=True)
class Engine:
    """A container engine that answers.

    Attributes:
        program: `docker` or `podman`.
        compose: How compose is called with it.
    """

    program: str
    compose: tuple[str, ...]

    def call(self, *arguments: str) -> str:
        """Output of one of its commands, which has to succeed."""
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def has_image(self, name: str) -> bool:
        """Whether an image is there without any registry."""
        return _succeeds(self.program, "image", "inspect", name)


def find_engine() -> Engine:
    """Docker with compose, else Podman with podman-compose, as deploy.sh looks for them.

    Raises:
        NoEngineError: Neither answers.
    """
    if _succeeds("docker", "info") and _succeeds("docker", "compose", "version"):
        return Engine("docker", ("docker", "compose"))
    if _succeeds("podman", "info") and shutil.which("podman-compose"):
        return Engine("podman", ("podman-compose",))
    raise NoEngineError(
        "no container engine answers: neither `docker info` and `docker compose version` succeed, nor "
        "`podman info` and `podman-compose --version`"
    )


def images_for(engine: Engine) -> dict[str, str]:
    """What docker-compose.yml's settings have to be: the images themselves where the machine has all of
    them, else stand-ins, which are built unless they are there; and no TLS where their server has none.

    Raises:
        NoEngineError: There are no images, and no stand-ins can be built.
    """
    if all(engine.has_image(image) for image, _ in IMAGES.values()):
        return _settings(engine, {name: image for name, (image, _) in IMAGES.items()})
    if not all(engine.has_image(stand_in) for _, stand_in in IMAGES.values()):
        if os.geteuid() != 0 or shutil.which("debootstrap") is None:
            raise NoEngineError(
                f"the images {', '.join(image for image, _ in IMAGES.values())} are not on this machine, and "
                "stand-ins are built by root with debootstrap"
            )
        done = subprocess.run(
            [str(STAND_INS), engine.program, sys.executable],
            env=os.environ | {"DOCKER_BUILDKIT": "0"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return _settings(engine, {name: stand_in for name, (_, stand_in) in IMAGES.items()})


def _settings(engine: Engine, images: dict[str, str]) -> dict[str, str]:
    looks = 'grep -q SSL_CTX_new "$(command -v postgres)"'
    has_tls = _succeeds(
        engine.program, "run", "--rm", "--entrypoint", "sh", images["POSTGRES_IMAGE"], "-c", looks
    )
    return images if has_tls else images | {"WAREHOUSE_SSLMODE": "disable"}


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
