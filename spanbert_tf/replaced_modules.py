"""Other modules in the place of those of their names, for as long as something is imported."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced_modules(replacements: Mapping[str, Any]) -> Iterator[None]:
    """Has imports find these; afterwards all is as it was.

    Args:
        replacements: Modules by the names that they are found by.  `None`: an import of it fails,
            as if it were not installed.
    """
    before = {name: sys.modules[name] for name in replacements if name in sys.modules}
    sys.modules.update(replacements)
    try:
        yield
    finally:
        for name in replacements:
            del sys.modules[name]
        sys.modules.update(before)
