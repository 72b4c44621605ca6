"""The lists that the sorting reproductions learn from: shapes, labels that belong to the images, ties counted right."""

from __future__ import annotations

import torch

from hardgrad.reproductions.digit_lists import accuracy, digit_lists


def test_numbers_are_those_in_the_images() -> None:
    data = digit_lists()
    images, numbers = data.draw(5, 3, torch.Generator().manual_seed(0))
    assert images.shape == (5, 3, 128) and numbers.shape == (5, 3)
    for half, digit in ((images[..., :64], numbers // 10), (images[..., 64:], numbers % 10)):
        same = (data.images.flatten(1) == half[2, 1]).all(-1)
        assert same.any() and (data.labels[same] == digit[2, 1]).all()
    assert len(data.labels) + len(data.test_labels) == 1797


def test_equal_numbers_may_change_places() -> None:
    labels = torch.tensor([[3, 1, 3], [3, 1, 2]])
    assert accuracy(torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 2.0]]), labels) == (0.5, 0.5)
