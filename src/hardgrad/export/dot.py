"""Writing DOT, the language of Graphviz. Knows nothing about models; never imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def dot_string(text: str) -> str:
    r"""Return a quoted label: a line break stays one, everything else is taken literally.

    >>> print(dot_string('a "b" \\ & c'))
    "a \"b\" \\ &amp; c"
    """
    escaped = (
        text.replace("\\", "\\\\")
        .replace('"', '\\"')
        .replace("&", "&amp;")
        .replace("\0", "\N{REPLACEMENT CHARACTER}")
    )
    return '"' + escaped.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\\n") + '"'


def attributes(values: Mapping[str, str]) -> str:
    """Return attributes in brackets, with a space before, or nothing where there are none.

    >>> attributes({"shape": "box"})
    ' [shape="box"]'
    """
    return f" [{', '.join(f'{key}={dot_string(value)}' for key, value in values.items())}]" if values else ""


def digraph(
    name: str,
    nodes: Iterable[tuple[str, Mapping[str, str]]],
    edges: Iterable[tuple[str, str, Mapping[str, str]]],
    *,
    graph: Mapping[str, str] | None = None,
    node: Mapping[str, str] | None = None,
    edge: Mapping[str, str] | None = None,
) -> str:
    """Return a directed graph.

    Parameters
    ----------
    name : title of the graph.
    nodes : (identifier, attributes) pairs; identifiers are letters, digits and underscores.
    edges : (from, to, attributes) triples.
    graph, node, edge : attributes for all.

    Examples
    --------
    >>> print(digraph("g", [("a", {"label": "A"})], [("a", "a", {})]))
    digraph "g" {
      a [label="A"];
      a -> a;
    }
    <BLANKLINE>
    """
    lines = [f"digraph {dot_string(name)} {{"]
    for what, values in (("graph", graph), ("node", node), ("edge", edge)):
        if values:
            lines.append(f"  {what}{attributes(values)};")
    lines += [f"  {identifier}{attributes(values)};" for identifier, values in nodes]
    lines += [f"  {start} -> {end}{attributes(values)};" for start, end, values in edges]
    return "\n".join([*lines, "}"]) + "\n"
