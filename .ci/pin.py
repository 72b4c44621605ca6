"""Print constraints.txt: every installed package with its version, nothing of this machine (no path, no address, no build tag)."""

from __future__ import annotations

import importlib.metadata
import re
import sys

OURS = {"hardgrad", "pip"}
HEADER = """\
# Every package that hardgrad is developed and tested with. Written by `make constraints`; do not edit by hand.
# Install with:  pip install -c constraints.txt -e '.[dev]'
"""


def main() -> None:
    """Write one `name==version` a line, sorted, with local build tags such as `+cpu` removed."""
    found = {}
    for distribution in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if name not in OURS:
            found[name] = distribution.version.partition("+")[0]
    sys.stdout.write(HEADER + "".join(f"{name}=={version}\n" for name, version in sorted(found.items())))


if __name__ == "__main__":
    main()
