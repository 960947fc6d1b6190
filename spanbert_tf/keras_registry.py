"""Classes that Keras finds by their registered names before they are imported."""

from collections.abc import Callable
from types import ModuleType
from typing import Any


class _Registry(dict):
    """Registered classes by their names, those of one package imported once one is asked for.

    Args:
        known: What is registered already.
        prefix: How the names of the package begin.
        register: Imports its classes.
    """

    def __init__(self, known: dict[str, Any], prefix: str, register: Callable[[], None]) -> None:
        super().__init__(known)
        self._prefix = prefix
        self._register: Callable[[], None] | None = register

    def __contains__(self, name: object) -> bool:
        is_ours = isinstance(name, str) and name.startswith(self._prefix)
        if is_ours and self._register and not super().__contains__(name):
            register, self._register = self._register, None  # Once: imports ask here themselves.
            register()
        return super().__contains__(name)


def register_on_demand(registration: ModuleType, prefix: str, register: Callable[[], None]) -> None:
    """Lets `keras.models.load_model` find classes of a package that were not imported yet.

    Args:
        registration: `keras.src.saving.object_registration`, whose table has no public way in.
        prefix: How the registered names of the package begin: `"package>"`.
        register: Imports the modules of its registered classes.
    """
    registration.GLOBAL_CUSTOM_OBJECTS = _Registry(  # type: ignore[attr-defined]
        registration.GLOBAL_CUSTOM_OBJECTS, prefix, register
    )
