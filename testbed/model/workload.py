"""What a workload must say: the files that the server serves and what each client is told to ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from testbed.model.value import Value


class Workload(Value):
    """Base of all workloads. One subclass is one file in ``testbed.workload``."""

    @property
    def name(self) -> str:
        """How records and figures name it, e.g. "one-byte"."""
        raise NotImplementedError

    def documents(self) -> Mapping[str, bytes]:
        """The files below the server's document root: path → content."""
        raise NotImplementedError

    @property
    def digest(self) -> str | None:
        """Of what it reads from files of the user's: its fields name them alone. None where it reads none."""
        return None

    def client_files(self, client: int, clients: int, seed: int) -> Mapping[str, bytes]:
        """Files that client ``client`` of ``clients`` needs (traces): name → content. None by default."""
        return {}

    def client_flags(self, folder: str) -> Sequence[str]:
        """Flags of loadgen that say what to request; ``folder`` is where ``client_files`` were put."""
        raise NotImplementedError

    @property
    def requests_per_connection(self) -> float:
        """Mean requests in a connection: a request rate divided by it is the rate of connections."""
        return 1.0

    @property
    def beyond_get(self) -> tuple[str, ...]:
        """What its requests ask of a server beyond GET and HEAD without a body, e.g. "POST". Nothing by default."""
        return ()
