"""Images of the nodes, and the base image that they stand on.

A tag is made of the sources: ``testbed/server:3f2a…``. What has not changed is not built again, several source trees
side by side do not disturb each other, and a result that names the tag names the program.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound

from testbed.errors import EnvironmentLack, RunError
from testbed.project import images_folder
from testbed.runtime.docker_engine import connect, faults

BASE_IMAGE = "debian:bookworm-slim"
BASE_FIX = f"apt-get install mmdebstrap (Debian, Ubuntu), or docker pull {BASE_IMAGE} where a registry answers"
_SUITE = "bookworm"
_DEBOOTSTRAP = """
folder=$(mktemp -d) && debootstrap --variant=minbase "$0" "$folder" >&2 && tar -C "$folder" -c .
status=$?; rm -rf "$folder"; exit $status
"""
_COPIED = re.compile(r"^COPY ([\w.]+) /src/", re.MULTILINE)
"""What an image of ours is built with, beside its own folder: what its Dockerfile copies."""

_PULL_SILENCE_S = 15.0
"""A registry that says nothing for so long is taken for one that cannot be reached."""

Say = Callable[[str], None]


def build(progress: Say) -> dict[str, str]:
    """Build the base image and the images of our programs where they are missing; returns name → tag.

    Raises EnvironmentLack without an engine or the means for a base image, RunError with the build's last words.
    """
    client = connect()
    ensure_base_image(client, progress)
    return {name: ensure_image(client, name, progress) for name in program_images()}


def program_images() -> list[str]:
    """Folders of ``images/`` with a Dockerfile and programs of our own. Other images are built when they are used."""
    folders = (path.parent for path in images_folder().glob("*/Dockerfile"))
    return sorted(folder.name for folder in folders if any(folder.glob("*.c")))


def ensure_image(client: docker.DockerClient, build_from: str, progress: Say) -> str:
    """The tag of the image of a folder (below ``images/``, or an absolute path), built if it is missing."""
    tag = image_tag(build_from)
    if not _is_there(client, tag):
        ensure_base_image(client, progress)
        began = time.monotonic()
        progress(f"building {tag}")
        _build(client, build_from, tag)
        progress(f"built {tag} in {time.monotonic() - began:.1f} s")
    return tag


def _is_there(client: docker.DockerClient, tag: str) -> bool:
    with faults(f"image {tag}"):
        try:
            client.images.get(tag)
        except ImageNotFound:
            return False
        return True


def image_tag(build_from: str) -> str:
    """The tag that the present sources have."""
    digest = hashlib.sha256()
    for name, path in _context(build_from):
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return f"testbed/{Path(build_from).name}:{digest.hexdigest()[:12]}"


def _folder(build_from: str) -> Path:
    folder = images_folder() / build_from  # an absolute path stays as it is
    if not (folder / "Dockerfile").is_file():
        raise EnvironmentLack(f"{folder} has no Dockerfile", "name a folder that has one")
    return folder


def _context(build_from: str) -> list[tuple[str, Path]]:
    """The files that a build sees, as (name in the context, file), sorted."""
    folder = _folder(build_from)
    images = images_folder()
    if folder.parent != images:
        return sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    copied = _COPIED.findall((folder / "Dockerfile").read_text(encoding="utf-8"))
    roots = [images / name for name in copied] + [folder]
    files = {path for root in roots for path in ([root] if root.is_file() else root.rglob("*")) if path.is_file()}
    return sorted((path.relative_to(images).as_posix(), path) for path in files)


def _dockerfile(build_from: str) -> str:
    folder = _folder(build_from)
    return f"{folder.name}/Dockerfile" if folder.parent == images_folder() else "Dockerfile"


def _build(client: docker.DockerClient, build_from: str, tag: str) -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, path in _context(build_from):
            archive.add(path, name, recursive=False)
    context.seek(0)
    said: list[str] = []
    with faults(f"building {tag}"):
        for event in client.api.build(
            fileobj=context,
            custom_context=True,
            dockerfile=_dockerfile(build_from),
            tag=tag,
            rm=True,
            forcerm=True,
            decode=True,
        ):
            said += [line for line in str(event.get("stream", "")).splitlines() if line.strip()]
            if "error" in event:
                errors = [line for line in said if "error:" in line.lower()] or said
                raise RunError(f"building {tag} failed: {' | '.join(errors[:3])} ({event['error']})")


def ensure_base_image(client: docker.DockerClient, progress: Say) -> None:
    """Have the base image: it is there, or a registry gives it, or it is made from Debian's packages.

    Raises EnvironmentLack where there is no means to have it, RunError with the last words of what makes it.
    """
    if _is_there(client, BASE_IMAGE):
        return
    progress(f"pulling {BASE_IMAGE}")
    reason = _pull(client)
    if reason:
        progress(f"no registry gives {BASE_IMAGE} ({reason}): making it from Debian's packages")
        _bootstrap(client, progress)


def _pull(client: docker.DockerClient) -> str:
    """Pull it; "" or why not. A registry that does not answer is left alone: its thread ends with the program."""
    last_sign = [time.monotonic()]
    outcome: list[str] = []

    def pull() -> None:
        try:
            for event in _pull_events(client):
                last_sign[0] = time.monotonic()
                if "error" in event:
                    outcome.append(str(event["error"]))
                    return
            outcome.append("")
        except (APIError, docker.errors.DockerException, OSError) as error:
            outcome.append(str(getattr(error, "explanation", None) or error))

    thread = threading.Thread(target=pull, name="pull", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
        if time.monotonic() - last_sign[0] > _PULL_SILENCE_S:
            return f"nothing for {_PULL_SILENCE_S:g} s"
    return outcome[0].splitlines()[0] if outcome[0] else ""


def _pull_events(client: docker.DockerClient) -> Iterator[dict[str, Any]]:
    repository, tag = BASE_IMAGE.split(":")
    events: Iterator[dict[str, Any]] = client.api.pull(repository, tag=tag, stream=True, decode=True)
    return events


def cannot_be_had() -> str:
    """Why ``build`` could not have the base image that is missing, in one line; "" if it could. Downloads nothing."""
    if _maker() is not None:
        return ""
    try:
        connect(_PULL_SILENCE_S).images.get_registry_data(BASE_IMAGE)
    except (docker.errors.DockerException, OSError) as error:
        words = str(getattr(error, "explanation", None) or error).splitlines()
        return f"no registry gives it ({words[0] if words else type(error).__name__}), and nothing here can make it"
    return ""


def _maker() -> list[str] | None:
    """The command that writes the base image's files as an archive, by what this machine has for it."""
    if shutil.which("mmdebstrap"):
        return ["mmdebstrap", "--quiet", "--variant=minbase", _SUITE, "-"]
    return ["sh", "-c", _DEBOOTSTRAP, _SUITE] if shutil.which("debootstrap") else None


def _bootstrap(client: docker.DockerClient, progress: Say) -> None:
    """Make the base image with mmdebstrap, or with debootstrap, and import it."""
    began = time.monotonic()
    command = _maker()
    if command is None:
        raise EnvironmentLack(f"there is no {BASE_IMAGE}, no registry gives it, and nothing here can make it", BASE_FIX)
    repository, tag = BASE_IMAGE.split(":")
    unfinished = f"{tag}-in-the-making"
    status, words = _import(client, command, repository, unfinished)
    image = f"{repository}:{unfinished}"
    with faults("the base image"):
        if status != 0 or not _is_there(client, image):
            if _is_there(client, image):  # a stream that was cut short is imported all the same
                client.images.remove(image, force=True)
            raise RunError(f"{command[0]} could not make the base image: {words or f'it ended with status {status}'}")
        client.images.get(image).tag(repository, tag)
        client.images.remove(image)
    progress(f"made {BASE_IMAGE} in {time.monotonic() - began:.0f} s")


def _import(client: docker.DockerClient, command: list[str], repository: str, tag: str) -> tuple[int, str]:
    """Import what the command writes, an archive of files; returns its status, and what it or the engine said last."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as making:
        lines: list[bytes] = []
        listener = threading.Thread(target=lambda: lines.extend(making.stderr or ()), daemon=True)
        listener.start()
        said = ""
        try:
            # Unlike the function that is named after streams, this one waits as long as it takes.
            client.api.import_image_from_data(making.stdout, repository=repository, tag=tag)
        except (APIError, OSError) as error:
            said = f"the engine took no image: {error}"
        if making.stdout is not None:
            making.stdout.close()  # nobody reads it any more: the command shall not wait for that
        status = making.wait()
        listener.join(5)
    return status, (lines[-1].decode("utf-8", "replace").strip() if lines and status else said)
