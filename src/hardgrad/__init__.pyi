"""The names of hardgrad and where they are defined; made by `make stubs`."""

from hardgrad.core.artifact import Artifact as Artifact
from hardgrad.core.artifact import load as load
from hardgrad.core.errors import HardgradError as HardgradError
from hardgrad.core.gap import GapReport as GapReport
from hardgrad.core.mode import checks as checks
from hardgrad.core.mode import mode as mode
from hardgrad.core.mode import temperature as temperature
from hardgrad.core.relaxed import Relaxed as Relaxed
from hardgrad.core.relaxed import harden as harden
from hardgrad.core.relaxed import set_temperature as set_temperature
from hardgrad.core.relaxed import straight_through as straight_through
from hardgrad.core.schedule import Schedule as Schedule

__version__: str
