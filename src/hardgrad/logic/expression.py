"""Circuits from Boolean expressions. Never imports torch.

The grammar is Python's, of names, 0, 1, True, False and the operators `&` (also `and`), `|` (`or`), `^`, `~` (`not`), `==` (equal) and
`a if c else b`. Nothing is executed: the text is parsed, and only these are read.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from hardgrad.core.errors import ParameterError, suggestion
from hardgrad.logic.circuit import Circuit
from hardgrad.logic.circuit_build import FALSE, TRUE, NetworkBuilder

MOST_CHARACTERS = 1_000_000


def from_expression(text: str, *, inputs: Sequence[str] | None = None) -> Circuit:
    """Return a circuit of assignments such as `"s = a ^ b; c = a & b"`, one output each; one expression alone is the output y.

    Parameters
    ----------
    text : assignments separated by semicolons or line breaks; a name that was assigned may be read in later ones.
    inputs : names of the inputs in order; by default the names that are read and not assigned, as they come.

    Raises
    ------
    ParameterError : text that is no such expression, a name that is not among the inputs, a name assigned twice.

    Examples
    --------
    >>> majority = from_expression("(a & b) | (c & (a ^ b))")
    >>> majority.names_of_inputs, majority.evaluate([[1, 0, 1]]).tolist()
    (('a', 'b', 'c'), [[True]])
    """
    given: object = text
    if not isinstance(given, str):
        raise ParameterError(
            f"got a {type(given).__name__} for an expression; expected text, as 's = a ^ b; c = a & b'."
        )
    if len(text) > MOST_CHARACTERS:
        raise ParameterError(
            f"got an expression of {len(text):,} characters; expected at most {MOST_CHARACTERS:,}."
        )
    try:
        module = ast.parse(text.strip())
        targets = [_target(statement) for statement in module.body]
    except (RecursionError, MemoryError):
        raise ParameterError(
            f"the expression {text[:60]!r} is nested or chained too deeply. Give its parts names."
        ) from None
    except ParameterError:
        raise
    except (SyntaxError, ValueError) as error:
        raise ParameterError(
            f"cannot read the expression {text[:60]!r}: {error}. Expected, as an example, 's = a ^ b; c = a & b'."
        ) from None
    if not targets:
        raise ParameterError(
            "got an expression without anything in it; expected, as an example, 'y = a & b'."
        )
    names = [name for name, _ in targets]
    if len(set(names)) < len(names):
        raise ParameterError(
            f"the expression assigns a name twice: {', '.join(names)}. An expression without a name is y: name each of several."
        )
    known = list(inputs) if inputs is not None else _inputs(targets)
    clash = set(known) & set(names)
    if clash:
        raise ParameterError(
            f"{', '.join(sorted(clash))} is read before it is assigned, or is an input; expected different names."
        )
    net = NetworkBuilder(len(known))
    reader = _Reader(net, {name: net.input(i) for i, name in enumerate(known)})
    for name, value in targets:
        try:
            reader.signals[name] = reader.read(value)
        except RecursionError:
            raise ParameterError(
                f"the expression of {name!r} is nested too deeply. Give its parts names."
            ) from None
    return net.circuit([reader.signals[name] for name in names], input_names=known, output_names=names)


def _target(statement: ast.stmt) -> tuple[str, ast.expr]:
    match statement:
        case ast.Expr(value=value):
            return "y", value
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, value
    raise ParameterError(
        f"got {ast.unparse(statement)[:60]!r} in an expression; expected 'name = expression'."
    )


def _inputs(targets: list[tuple[str, ast.expr]]) -> list[str]:
    """Names that are read before they are assigned, in the order of the text."""
    found: dict[str, None] = {}
    assigned: set[str] = set()
    for name, value in targets:
        read = [node for node in ast.walk(value) if isinstance(node, ast.Name)]
        read.sort(key=lambda node: (node.lineno, node.col_offset))
        found |= dict.fromkeys(node.id for node in read if node.id not in assigned)
        assigned.add(name)
    return list(found)


class _Reader:
    """Turns parsed expressions into signals."""

    def __init__(self, net: NetworkBuilder, signals: dict[str, int]) -> None:
        self.net = net
        self.signals = signals
        self._binary: dict[type[ast.AST], Callable[[int, int], int]] = {
            ast.BitAnd: net.both, ast.BitOr: net.either, ast.BitXor: net.differ, ast.And: net.both, ast.Or: net.either,
        }  # fmt: skip

    def read(self, node: ast.expr) -> int:
        match node:
            case ast.Name(id=name):
                if name not in self.signals:
                    raise ParameterError(
                        f"the expression reads {name!r}, which is no input.{suggestion(name, list(self.signals))}"
                    )
                return self.signals[name]
            case ast.Constant(value=bool() | int() as constant) if constant in (0, 1):
                return TRUE if constant else FALSE
            case ast.BinOp(left=left, op=op, right=right) if type(op) in self._binary:
                return self._binary[type(op)](self.read(left), self.read(right))
            case ast.BoolOp(op=op, values=values):
                total = self.read(values[0])
                for value in values[1:]:
                    total = self._binary[type(op)](total, self.read(value))
                return total
            case ast.UnaryOp(op=ast.Invert() | ast.Not(), operand=operand):
                return self.net.complement(self.read(operand))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.net.choose(self.read(test), self.read(body), self.read(orelse))
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
                return self.net.complement(self.net.differ(self.read(left), self.read(right)))
        raise ParameterError(
            f"got {ast.unparse(node)[:60]!r} in an expression; expected names, 0, 1, &, |, ^, ~, ==, 'a if c else b'."
        )
