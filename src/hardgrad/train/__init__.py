"""One training loop on Lightning Fabric: device, data-parallel, checkpoints, progress, resumable."""
