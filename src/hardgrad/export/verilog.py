"""Writing Verilog (IEEE 1364-2001): identifiers, comments, ports, modules.

Knows nothing about models; never imports torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hardgrad.core.errors import ParameterError
from hardgrad.core.files import write_text

# Words that nothing may be called: Verilog-2001, and of SystemVerilog those that are likely as names.
_KEYWORDS = frozenset(
    """
    always and assign automatic begin bit buf bufif0 bufif1 byte case casex casez cell class cmos config const deassign default defparam
    design disable do edge else end endcase endconfig endfunction endgenerate endmodule endprimitive endspecify endtable endtask enum
    event final for force forever fork function generate genvar highz0 highz1 if ifnone incdir include initial inout input instance int
    integer interface join large let liblist library localparam logic longint macromodule medium module nand negedge new nmos nor
    noshowcancelled not notif0 notif1 null or output package packed parameter pmos posedge primitive priority program property pull0
    pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent rand rcmos real realtime ref reg release repeat return rnmos rpmos rtran
    rtranif0 rtranif1 scalared sequence shortint showcancelled signed small specify specparam static string strong0 strong1 struct super
    supply0 supply1 table task this time tran tranif0 tranif1 tri tri0 tri1 triand trior trireg type typedef union unique unsigned use
    vectored virtual void wait wand weak0 weak1 while wire with wor xnor xor
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Port:
    """One port of a module.

    Parameters
    ----------
    direction : "input" or "output".
    name : an identifier.
    width : bits.
    """

    direction: Literal["input", "output"]
    name: str
    width: int = 1

    def __str__(self) -> str:
        return f"{self.direction} wire {bits(self.width)}{self.name}"


@dataclass(frozen=True)
class VerilogSource:
    """A model in Verilog.

    Parameters
    ----------
    name : of the module, stem of the file.
    source : text of `<name>.v`.
    """

    name: str
    source: str

    def files(self) -> dict[str, str | bytes]:
        """Return the text by file name."""
        return {f"{self.name}.v": self.source}

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write the file into a folder, whole or not at all, and return its path."""
        return write_text(Path(folder) / f"{self.name}.v", self.source)


def bits(width: int) -> str:
    """Return the range of a vector in front of its name; nothing for one bit.

    >>> bits(8), bits(1)
    ('[7:0] ', '')
    """
    return f"[{width - 1}:0] " if width > 1 else ""


def part(vector: str, index: int, width: int) -> str:
    """Return one of the equal parts of a vector, part 0 in the lowest bits.

    >>> part("x", 2, 8), part("x", 2, 1)
    ('x[23:16]', 'x[2]')
    """
    return f"{vector}[{index}]" if width == 1 else f"{vector}[{(index + 1) * width - 1}:{index * width}]"


def verilog_module(name: str, ports: Iterable[Port], body: Iterable[str], note: str = "") -> str:
    """Return the text of a module: a note, its ports, the lines of its body indented.

    Raises
    ------
    ParameterError : the name of the module or of a port is no identifier.

    Examples
    --------
    >>> print(verilog_module("both", [Port("input", "x", 2), Port("output", "y")], ["assign y = &x;"]))
    module both (
        input wire [1:0] x,
        output wire y
    );
        assign y = &x;
    endmodule
    """
    listed = list(ports)
    for word in (name, *(port.name for port in listed)):
        require_identifier(word)
    lines = [f"// {line}" for line in map(verilog_comment, note.splitlines())]
    lines += [f"module {name} (", ",\n".join(f"    {port}" for port in listed), ");"]
    return "\n".join([*lines, *(f"    {line}".rstrip() for line in body), "endmodule"])


def verilog_comment(text: str) -> str:
    """Return a text that can stand within a comment: one line, printable.

    >>> verilog_comment("a" + chr(10) + "b")
    'a b'
    """
    return "".join(c if c.isprintable() else " " for c in text).rstrip("\\")


def require_identifier(name: str) -> str:
    """Return a name if a module or signal can have it.

    Raises
    ------
    ParameterError : it is not an identifier, or is a keyword.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", name) or name in _KEYWORDS:
        raise ParameterError(
            f"got the name {name!r} for Verilog; expected letters, digits and underscores, a letter first, at most 63, no keyword."
        )
    return name
