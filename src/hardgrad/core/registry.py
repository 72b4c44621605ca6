"""Registries: named members that drive the documentation tables, the contract suites and the command.

A member is either an object or a dotted reference that is imported when it is asked for, so that listing the members of a registry
never imports torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, cast

from hardgrad.core.errors import RegistryError, suggestion

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of named members of one kind.

    Examples
    --------
    >>> shapes = Registry[type]("shape")
    >>> shapes.register("list", list)
    >>> shapes.register_lazy("ordered", "collections:OrderedDict")
    >>> shapes["ordered"].__name__, sorted(shapes)
    ('OrderedDict', ['list', 'ordered'])
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._members: dict[str, T] = {}
        self._lazy: dict[str, str] = {}

    def register(self, name: str, member: T) -> None:
        """Add a member. A second, different member of the same name raises `RegistryError`."""
        present = self._members.get(name)
        if present is not None and not _same(present, member):
            raise RegistryError(f"{self.what} {name!r} is registered twice: {present!r} and {member!r}.")
        self._members[name] = member

    def register_lazy(self, name: str, reference: str) -> None:
        """Add a member as `"package.module:attribute"`, imported on first use."""
        self._lazy.setdefault(name, reference)

    def member(self, name: str) -> Callable[[T], T]:
        """Decorator form of `register`."""

        def decorate(member: T) -> T:
            self.register(name, member)
            return member

        return decorate

    def __getitem__(self, name: str) -> T:
        if name not in self._members:
            if name not in self._lazy:
                known = sorted(self)
                raise RegistryError(
                    f"no {self.what} is called {name!r}; known: {', '.join(known) or 'none'}."
                    f"{suggestion(name, known)}"
                )
            module, _, attribute = self._lazy[name].partition(":")
            self._members.setdefault(name, cast(T, getattr(importlib.import_module(module), attribute)))
        return self._members[name]

    def __contains__(self, name: object) -> bool:
        return name in self._members or name in self._lazy

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._members.keys() | self._lazy.keys()))

    def __len__(self) -> int:
        return len(self._members.keys() | self._lazy.keys())


def _same(first: Any, second: Any) -> bool:
    """A module that is imported again (a reload, a doctest) registers an equal member, not a second one."""
    names = [(getattr(m, "__module__", None), getattr(m, "__qualname__", None)) for m in (first, second)]
    return first is second or (names[0] == names[1] and names[0][1] is not None)


artifacts: Registry[Any] = Registry("artifact")
operations: Registry[Any] = Registry("operation")
estimators: Registry[Any] = Registry("estimator")
strategies: Registry[Any] = Registry("strategy")
reproductions: Registry[Any] = Registry("reproduction")
