"""The contract: mode and temperature, relaxed modules, artifacts, gap reports, schedules, registries, errors. Imports nothing of ours."""
