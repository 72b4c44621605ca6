"""What every test shares: quiet, repeatable settings. Fixtures of one room live in that room's folder."""

from __future__ import annotations

import os

# Before anything imports NumPy or torch: test processes run side by side, one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from hypothesis import HealthCheck, settings

settings.register_profile(
    "hardgrad",
    deadline=None,  # no test depends on the clock of a busy machine
    derandomize=True,  # the same examples everywhere: a red run is red for everyone
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "thorough", parent=settings.get_profile("hardgrad"), derandomize=False, max_examples=500
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "hardgrad"))
