"""Writing C99: exact number literals, safe strings, comments and identifiers, tables.

Knows nothing about models; never imports torch.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardgrad.core.errors import ExportError, ParameterError
from hardgrad.core.files import write_text

LINE = 110
MAX_STRING = 4095  # bytes of one literal that every C99 compiler must take

# Words that a member or function may not be called: C99 to C23, C++ (the header is for both), common macros.
_KEYWORDS = frozenset(
    """
    auto break case char const continue default do double else enum extern float for goto if inline int long
    register restrict return short signed sizeof static struct switch typedef union unsigned void volatile
    while alignas alignof bool constexpr false nullptr static_assert thread_local true typeof typeof_unqual
    and and_eq asm bitand bitor catch class compl concept const_cast consteval constinit co_await co_return
    co_yield decltype delete dynamic_cast explicit export friend mutable namespace new noexcept not not_eq
    operator or or_eq private protected public reinterpret_cast requires static_cast template this throw try
    typeid typename using virtual wchar_t xor xor_eq char8_t char16_t char32_t
    NULL EOF NAN INFINITY HUGE_VAL I complex imaginary errno assert stdin stdout stderr linux unix i386 isnan
    isinf signbit near far small huge interface min max DOMAIN OVERFLOW UNDERFLOW DECIMAL_DIG
    """.split()  # noqa: SIM905
)
_MACROS = re.compile(r"(M|FP|FLT|DBL|LDBL|MATH|INT\w*|UINT\w*|SIZE|PTRDIFF|WCHAR|WINT|SIG)_[A-Z0-9_]+")


@dataclass(frozen=True)
class CSource:
    """A model in C.

    Parameters
    ----------
    name : prefix of every name, stem of both files.
    header : text of `<name>.h`.
    source : text of `<name>.c`, which includes the header.
    """

    name: str
    header: str
    source: str

    def files(self) -> dict[str, str | bytes]:
        """Return both texts by file name, the source first."""
        return {f"{self.name}.c": self.source, f"{self.name}.h": self.header}

    def write(self, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Write both files into a folder, each whole or not at all, and return their paths."""
        root = Path(folder)
        header = write_text(root / f"{self.name}.h", self.header)
        return header, write_text(root / f"{self.name}.c", self.source)


def c_double(value: float) -> str:
    """Return a literal that is this very double: hexadecimal, so that no compiler has to round.

    Raises
    ------
    ExportError : the value is NaN.

    Examples
    --------
    >>> c_double(0.1), c_double(-2.0), c_double(-0.0), c_double(float("inf"))
    ('0x1.999999999999ap-4', '-0x1p+1', '-0x0p+0', '(double)INFINITY')
    """
    if math.isnan(value):
        raise ExportError("NaN has no exact literal in C.")
    if math.isinf(value):
        return "(double)INFINITY" if value > 0 else "-(double)INFINITY"
    mantissa, exponent = float(value).hex().split("p")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}p{exponent}"


def c_string(text: str) -> str:
    r"""Return a string literal of the UTF-8 bytes of a text, in ASCII whatever the compiler's character set.

    Raises
    ------
    ExportError : the text holds U+0000 or half a surrogate pair, or is longer than 4095 bytes.

    Examples
    --------
    >>> print(c_string('say "é" ??/'))
    "say \"\303\251\" \?\?/"
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ExportError(
            f"{text!r} is not valid unicode, C cannot hold it as UTF-8: {error.reason}."
        ) from None
    if 0 in data:
        raise ExportError(
            f"{text!r} holds the character U+0000, which ends a string in C. Rename the category."
        )
    if len(data) > MAX_STRING:
        raise ExportError(
            f"{text[:40]!r}... has {len(data):,} bytes, a C string literal holds {MAX_STRING:,}."
        )
    return '"' + "".join(map(_byte, data)) + '"'


def _byte(byte: int) -> str:
    character = chr(byte)
    if character in '"\\?':  # an escaped question mark cannot be part of a trigraph
        return "\\" + character
    return character if 32 <= byte < 127 else f"\\{byte:03o}"


def c_comment(text: str) -> str:
    """Return a text that can stand within a comment: one line, no control characters, no way out.

    >>> c_comment("a */ b")
    'a * / b'
    """
    shown = "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text)
    return re.sub(r"(?<=[*/])(?=[*/])|(?<=\?)(?=\?)", " ", shown)


def c_identifier(text: str) -> str:
    """Return an identifier that resembles a text: no accents, underscores for other characters, no keywords.

    >>> c_identifier("prix €/m²"), c_identifier("1st"), c_identifier("double"), c_identifier("日本")
    ('prix_m2', 'x_1st', 'double_', 'x')
    """
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    name = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")
    if text.isidentifier() and text.isascii() and not text.startswith("_"):
        name = text
    if not name or not name[0].isalpha():
        name = f"x_{name}" if name else "x"
    return f"{name}_" if name in _KEYWORDS or _MACROS.fullmatch(name) else name


def unique_identifiers(texts: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Return one identifier a text, all different: an identifier keeps its name, others get _2, _3, ..

    >>> unique_identifiers(["a b", "a_b", "a-b"])
    ['a_b_2', 'a_b', 'a_b_3']
    """
    names = list(texts)
    wanted = [c_identifier(text) for text in names]
    used = set(taken)
    found: dict[int, str] = {}
    for i in sorted(range(len(names)), key=lambda i: wanted[i] != names[i]):
        name, count = wanted[i], 1
        while name in used:
            count += 1
            name = f"{wanted[i]}_{count}"
        used.add(name)
        found[i] = name
    return [found[i] for i in range(len(names))]


def require_identifier(name: str) -> str:
    """Return a name if it can prefix C functions.

    Raises
    ------
    ParameterError : it is not an identifier, is reserved, or is a keyword.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", name) or name in _KEYWORDS:
        raise ParameterError(
            f"got the name {name!r} for C code; expected letters, digits, underscores, a letter first, at "
            f"most 31, no keyword. Try {c_identifier(name)[:31]!r}."
        )
    return name


def integer_type(values: Sequence[int]) -> str:
    """Return the smallest of int8_t, int16_t, int32_t that holds all values.

    >>> integer_type([0, -128]), integer_type([128]), integer_type([])
    ('int8_t', 'int16_t', 'int8_t')
    """
    low, high = min(values, default=0), max(values, default=0)
    for bits in (8, 16, 32):
        if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1):
            return f"int{bits}_t"
    raise ExportError(f"{max(-low, high)} does not fit 32 bits.")


def c_table(declaration: str, items: Iterable[str]) -> str:
    """Return the definition of a constant table; an empty one gets a 0, C has no empty arrays.

    >>> print(c_table("int8_t days[]", ["31", "28"]))
    static const int8_t days[] = {
        31, 28
    };
    """
    return f"static const {declaration} = {{\n{fill(list(items) or ['0'])}\n}};"


def fill(items: Sequence[str], indent: str = "    ") -> str:
    """Return items separated by commas in lines of at most 110 characters."""
    lines, line = [], indent
    for i, item in enumerate(items):
        piece = item + ("," if i + 1 < len(items) else "")
        if len(line) + len(piece) + 1 > LINE and line.strip():
            lines.append(line.rstrip())
            line = indent
        line += piece + " "
    return "\n".join([*lines, line.rstrip()])


_SEARCH = """/* The number of a category: -1 missing, count where unseen. Texts are sorted by their bytes. */
static int32_t {name}_category(const char *text, const char *const *known, int32_t count)
{{
    int32_t low = 0, high = count;
    if (!text)
        return -1;
    while (low < high) {{
        const int32_t middle = low + (high - low) / 2;
        const unsigned char *a = (const unsigned char *)known[middle], *b = (const unsigned char *)text;
        while (*a && *a == *b)
            a++, b++;
        if (*a == *b)
            return middle;
        if (*a < *b)
            low = middle + 1;
        else
            high = middle;
    }}
    return count;
}}
"""


def category_search(name: str) -> str:
    """Return the definition of `<name>_category(text, known, count)`: the number of a text among sorted ones, by binary search."""
    return _SEARCH.format(name=name)
