"""Layers that keep no more for backward than their gradients need, and the converter that puts them into a model."""
