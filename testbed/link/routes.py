"""Routes to the emulated hosts: at each server, every client's prefix goes by way of that client's own address."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.link.enter import inside, netlink


def set_routes(namespace: str, routes: Mapping[str, str]) -> None:
    """Set routes in a namespace: prefix → gateway; one that is there is replaced."""
    inside(namespace, lambda: _replace(routes))


def _replace(routes: Mapping[str, str]) -> None:
    with netlink() as route:
        for prefix, gateway in routes.items():
            route.route("replace", dst=prefix, gateway=gateway)


def route_commands(routes: Mapping[str, str]) -> list[str]:
    """The same as lines for ``ip -batch -``, for a helper container where the namespace cannot be entered."""
    return [f"route replace {prefix} via {gateway}" for prefix, gateway in routes.items()]
