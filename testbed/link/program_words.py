"""A shape in the words of our own programs (images/shape), and as they print it: shares from 0 to 1."""

from __future__ import annotations

from typing import Any

from testbed.model.shape import DEFAULT_LIMIT_PKTS, Distribution, GilbertElliott, Shape
from testbed.model.value import Value


class _Reported(Value):
    """A shape as a program prints it."""

    delay_ns: int
    jitter_ns: int
    distribution: Distribution
    correlation: float
    loss: float
    bursts: bool
    to_bad: float
    to_good: float
    bad_loss: float
    good_loss: float
    duplicate: float
    reorder: float
    corrupt: float
    rate_bps: int
    burst_bytes: int
    limit: int
    seed: int


def shape_words(shape: Shape, default_seed: int) -> dict[str, str]:
    """Word → value: linkem's flags, and what stands in a file of access links."""
    words = {
        "delay": f"{shape.delay_us}us",
        "jitter": f"{shape.jitter_us}us",
        "distribution": shape.distribution,
        "correlation": _share(shape.correlation_percent),
        "loss": _share(shape.loss_percent),
        "duplicate": _share(shape.duplicate_percent),
        "reorder": _share(shape.reorder_percent),
        "corrupt": _share(shape.corrupt_percent),
        "rate": str(shape.rate_bps or 0),
        "burst": str(shape.burst_bytes or 0),
        "limit": str(shape.limit_pkts or DEFAULT_LIMIT_PKTS),
        "seed": str(default_seed if shape.seed is None else shape.seed),
    }
    if shape.gemodel is not None:
        model = shape.gemodel
        shares = (model.p_percent, model.r_percent, model.bad_loss_percent, model.good_loss_percent)
        words["gemodel"] = ",".join(_share(percent) for percent in shares)
    return words


def read_shape(data: dict[str, Any], default_seed: int) -> Shape:
    """A shape as a program printed it."""
    reported = _Reported.model_validate(data)
    gemodel = (
        GilbertElliott(
            p_percent=_percent(reported.to_bad),
            r_percent=_percent(reported.to_good),
            bad_loss_percent=_percent(reported.bad_loss),
            good_loss_percent=_percent(reported.good_loss),
        )
        if reported.bursts
        else None
    )
    return Shape(
        delay_us=reported.delay_ns // 1000,
        jitter_us=reported.jitter_ns // 1000,
        distribution=reported.distribution,
        correlation_percent=_percent(reported.correlation),
        loss_percent=_percent(reported.loss),
        gemodel=gemodel,
        duplicate_percent=_percent(reported.duplicate),
        reorder_percent=_percent(reported.reorder),
        corrupt_percent=_percent(reported.corrupt),
        rate_bps=reported.rate_bps or None,
        burst_bytes=reported.burst_bytes or None,
        limit_pkts=reported.limit if reported.rate_bps else None,
        seed=None if reported.seed == default_seed else reported.seed,
    )


def _share(percent: float) -> str:
    return f"{percent / 100:.10f}"


def _percent(share: float) -> float:
    return round(share * 100, 6)
