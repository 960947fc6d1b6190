"""Values as valid JSON has them."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """The same with `None` for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
