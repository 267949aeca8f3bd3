"""compose.yaml → Topology: a checked subset of the compose specification, plus ``x-testbed``.

What is not listed here is refused with its path, never ignored: a key that did nothing would be a silent lie about the
world. Other ``x-…`` keys at the top are the user's own (places for anchors) and are skipped, as compose does.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError

from testbed.errors import InputError
from testbed.model.shape_text import parse_link
from testbed.model.topology import Network, Node, Role, Topology
from testbed.model.value import Value, first_problem


def _scalar(value: Any) -> Any:
    """YAML's numbers and booleans as the text that compose makes of them; pydantic refuses anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _mapping(value: Any) -> Any:
    """Compose's ``[KEY=VALUE, …]`` form as a mapping."""
    if not isinstance(value, list):
        return value
    pairs = {}
    for item in value:
        if not isinstance(item, str) or "=" not in item:
            raise ValueError(f"each item is KEY=VALUE, not {item!r}")
        key, _, text = item.partition("=")
        pairs[key] = text
    return pairs


def _idle(value: Any) -> Any:
    """What a node runs of itself: nothing, which plain compose needs a command for."""
    if value not in (_IDLE, _IDLE.split()):
        raise ValueError(f"only {_IDLE!r}, not {value!r}: programs are started in a node that stands")
    return value


def _network_names(value: Any) -> Any:
    """Compose's mapping form of a service's networks; per-endpoint settings have no place here."""
    if not isinstance(value, dict):
        return value
    for name, settings in value.items():
        if settings:
            raise ValueError(f"{name} has settings of its own, which are not supported: addresses are chosen")
    return list(value)


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _seccomp(value: Any) -> Any:
    """Compose's list of security options: the seccomp profile is the only one that has a place here."""
    if not isinstance(value, list) or len(value) != 1 or not str(value[0]).startswith("seccomp="):
        raise ValueError(f"one entry, seccomp=FILE or seccomp=unconfined, not {value!r}")
    return str(value[0]).removeprefix("seccomp=")


def _one_limit(value: Any) -> Any:
    """Compose's pair of limits as the one that both must be."""
    if not isinstance(value, dict):
        return value
    if set(value) != {"soft", "hard"} or value["soft"] != value["hard"]:
        raise ValueError(f"one number, or soft and hard alike, not {value!r}")
    return value["hard"]


def _empty(value: Any) -> Any:
    return {} if value is None else value


_IDLE = "sleep infinity"
Text = Annotated[str, BeforeValidator(_scalar)]
Mapping = Annotated[dict[str, Text], BeforeValidator(_mapping)]


class _Build(Value):
    """Only the project's own programs are built; anybody else's image is named by its tag."""

    context: Literal["images", "./images"]
    dockerfile: str = Field(pattern=r"^[a-z0-9_-]+/Dockerfile$")


class _Limits(Value):
    nofile: Annotated[int | None, BeforeValidator(_one_limit)] = None


class _ServiceExtension(Value):
    role: Role = "other"
    emulated_prefix_length: int | None = None
    links: dict[str, Any] = {}


class _Service(Value):
    image: str
    build: _Build | None = None
    command: Annotated[Any, BeforeValidator(_idle)] = None
    networks: Annotated[tuple[str, ...], BeforeValidator(_network_names)] = ()
    network_mode: str | None = Field(default=None, pattern=r"^service:.+$")
    environment: Mapping = {}
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    sysctls: Mapping = {}
    tmpfs: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = ()
    read_only: bool = False
    cpuset: Annotated[str | None, BeforeValidator(_scalar)] = None
    ulimits: _Limits = _Limits()
    security_opt: Annotated[str | None, BeforeValidator(_seccomp)] = None
    extension: _ServiceExtension = Field(default=_ServiceExtension(), alias="x-testbed")

    def node(self, name: str) -> dict[str, Any]:
        """The fields of a Node, still to be checked."""
        return {
            "name": name,
            "role": self.extension.role,
            "image": self.image,
            "build": PurePosixPath(self.build.dockerfile).parent.as_posix() if self.build else None,
            "networks": self.networks,
            "environment": self.environment,
            "cap_add": self.cap_add,
            "cap_drop": self.cap_drop,
            "sysctls": self.sysctls,
            "tmpfs": self.tmpfs,
            "read_only": self.read_only,
            "cpuset": self.cpuset,
            "nofile": self.ulimits.nofile,
            "emulated_prefix_length": self.extension.emulated_prefix_length,
            "shares_network_of": self.network_mode.removeprefix("service:") if self.network_mode else None,
            "seccomp": self.security_opt,
        }


class _Subnet(Value):
    subnet: str


class _AddressManagement(Value):
    config: tuple[_Subnet] | tuple[()] = ()


class _NetworkEntry(Value):
    driver: Literal["bridge"] = "bridge"
    ipam: _AddressManagement = _AddressManagement()


class _File(Value):
    version: Text | None = None
    services: dict[str, _Service] = Field(min_length=1)
    networks: dict[str, Annotated[_NetworkEntry, BeforeValidator(_empty)]] = Field(min_length=1)


class _Loader(yaml.SafeLoader):
    """Plain data only, and a key written twice is an error: YAML would keep the last one in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value == "<<" or not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_compose(path: Path) -> Topology:
    """Read a compose file. Raises InputError that names the file, the place in it, and what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(str(path), "is not UTF-8 text") from None
    topology = parse_compose(text, path.name)
    return topology.model_copy(update={"nodes": tuple(_beside(path, node) for node in topology.nodes)})


def _beside(path: Path, node: Node) -> Node:
    """The node with the path of its seccomp profile taken from the compose file's folder."""
    if node.seccomp in (None, "unconfined"):
        return node
    return node.model_copy(update={"seccomp": str(path.parent / str(node.seccomp))})


def parse_compose(text: str, where: str) -> Topology:
    """The topology that a compose file's text declares; ``where`` is how errors name the file."""
    data = _plain_data(text, where)
    own = {key: value for key, value in data.items() if key == "x-testbed" or not str(key).startswith("x-")}
    _refuse_variables(where, own)
    try:
        file = _File.model_validate(own)
        nodes = [_node(where, name, service) for name, service in file.services.items()]
        networks = [_network(where, name, entry) for name, entry in file.networks.items()]
        return Topology.model_validate({"networks": networks, "nodes": nodes})
    except ValidationError as error:
        raise InputError(*first_problem(where, error)) from None


def _plain_data(text: str, where: str) -> dict[str, Any]:
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}: line {mark.line + 1}" if mark else where
        raise InputError(place, error.problem or "is not YAML") from None
    except yaml.YAMLError as error:
        raise InputError(where, f"is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict):
        raise InputError(where, "is not a mapping with services and networks")
    return data


def _refuse_variables(where: str, value: Any, path: str = "") -> None:
    """Compose would put environment variables in; the same file must mean the same world everywhere."""
    if isinstance(value, str) and "$" in value:
        raise InputError(f"{where}: {path}", f"variables are not supported: {value!r}")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        _refuse_variables(where, item, f"{path}.{key}" if path else str(key))


def _node(where: str, name: str, service: _Service) -> Node:
    place = f"{where}: services.{name}"
    declared = service.extension.links.items()
    links = {network: parse_link(f"{place}.x-testbed.links.{network}", words) for network, words in declared}
    for network in links:
        if network not in service.networks:
            raise InputError(f"{place}.x-testbed.links.{network}", f"{name} is on {', '.join(service.networks)} only")
    return Node.checked(place, {**service.node(name), "links": links})


def _network(where: str, name: str, entry: _NetworkEntry) -> Network:
    subnet = entry.ipam.config[0].subnet if entry.ipam.config else None
    return Network.checked(f"{where}: networks.{name}", {"name": name, "subnet": subnet})
