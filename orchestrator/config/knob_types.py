"""What a knob may be in a configuration file, where it may be more in Python."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from typing_extensions import is_protocol


def plain_type(hint: Any) -> Any:
    """The part of a knob's type that a file can hold: the names, without the functions that they stand for.

    ``Literal["systematic", "ssp"] | Resampler`` is the first of the two. A knob that only takes an object,
    such as an engine's configuration, keeps its type.
    """
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    plain = tuple(option for option in options if not is_protocol(option))
    return Union[plain] if set(plain) - {NoneType} else hint  # noqa: UP007 - of a tuple that is built here
