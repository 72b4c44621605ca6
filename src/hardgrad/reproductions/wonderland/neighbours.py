"""A graph convolution lets each node hear its neighbours.

Each node takes the mean of itself and those it is tied to, weighed so that nodes with many ties do not drown the others, through one
linear map. Nothing depends on how the nodes are numbered. Two layers hear two ties away; that is enough to tell the two camps of a karate
club that fell out, from two named members of each.

Its discrete end is the camp itself: one of two for each member, and the ties that run between camps as a set of edges.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import hardgrad.functional as HF
from hardgrad.nn.blocks import GraphConvolution
from hardgrad.reproductions.registry import Measured
from hardgrad.reproductions.wonderland.report import ChapterReport

TITLE = "Neighbours"


class TwoLayers(nn.Module):
    """Two graph convolutions with a bend between them."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = GraphConvolution(features, hidden), GraphConvolution(hidden, classes)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Return a score for each node and class."""
        found: Tensor = self.second(self.first(x, adjacency).relu(), adjacency)
        return found


def club() -> tuple[Tensor, Tensor]:
    """Zachary's karate club: who is tied to whom, and the camp of each."""
    import networkx

    graph = networkx.karate_club_graph()
    adjacency = torch.from_numpy(networkx.to_numpy_array(graph, weight=None)).float()
    camps = torch.tensor([int(graph.nodes[k]["club"] != "Mr. Hi") for k in graph])
    return adjacency, camps


def learn(adjacency: Tensor, camps: Tensor, named: Tensor, steps: int = 200) -> TwoLayers:
    """Train from the camps of a few named members."""
    n = len(camps)
    model = TwoLayers(n, 16, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=5e-4)
    for _ in range(steps):
        scores = model(torch.eye(n), adjacency)
        loss = nn.functional.cross_entropy(scores[named], camps[named])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def run(random_state: int = 0, quick: bool = True) -> ChapterReport:
    """Renumber the nodes, then learn the camps from two named members of each."""
    torch.manual_seed(random_state)
    generator = torch.Generator().manual_seed(random_state)
    adjacency, camps = club()
    accuracies = []
    for _ in range(2 if quick else 5):
        named = torch.cat([
            side[torch.randperm(len(side), generator=generator)[:2]] for side in (torch.where(camps == c)[0] for c in (0, 1))
        ])  # fmt: skip
        model = learn(adjacency, camps, named)
        others = torch.ones(len(camps), dtype=torch.bool)
        others[named] = False
        right = model(torch.eye(len(camps)), adjacency).argmax(-1) == camps
        accuracies.append(float(right[others].double().mean()))
    order, x = torch.randperm(len(camps), generator=generator), torch.eye(len(camps))
    scores = model(x, adjacency).detach()
    renumbered = model(x[order], adjacency[order][:, order])
    accuracy = sum(accuracies) / len(accuracies)
    return ChapterReport(
        TITLE,
        (
            Measured.at_most(
                "renumbered nodes against renumbered answers",
                float((renumbered - scores[order]).abs().max()),
                1e-4,
            ),
            Measured.at_least("accuracy on the members that were not named", accuracy, 0.8 if quick else 0.9),
        ),
        HF.gap(HF.choice, scores, temperature=1.0),
        {"accuracy": accuracy},
    )
