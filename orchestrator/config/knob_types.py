"""What a knob may be in a configuration file; in Python it may be more."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from typing_extensions import is_protocol


def plain_type(hint: Any) -> Any:
    """Return the part of a knob's type that a file can hold: names of functions, without the functions.

    Of ``Literal["systematic", "ssp"] | Resampler`` that is the first. A knob that only takes an object, such
    as an engine's configuration, keeps its type.
    """
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    plain = tuple(option for option in options if not is_protocol(option))
    return Union[plain] if set(plain) - {NoneType} else hint  # noqa: UP007 - of a tuple that is built here
