"""The base of all values that users write or read: frozen, checked, and strict about unknown fields."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from testbed.errors import InputError


class Value(BaseModel):
    """A frozen value. Unknown fields are refused; ``checked`` turns pydantic's report into one line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def checked(cls, where: str, data: Any) -> Self:
        """Build from plain data. Raises InputError that names ``where`` and the path of the first bad field."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InputError(*first_problem(where, error)) from None


def first_problem(where: str, error: ValidationError) -> tuple[str, str]:
    """The place and the text of the first problem in a pydantic report, with a count of the others."""
    problems = error.errors()
    first = problems[0]
    path = ".".join(str(part) for part in first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        text = "unknown or unsupported key"
    elif first["type"] not in ("missing", "value_error"):
        text = f"{text}, not {first['input']!r}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return (f"{where}: {path}" if path else where), text + more
