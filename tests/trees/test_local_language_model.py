"""The proposer that runs a language model on this machine: with transformers where it is installed, and with a stand-in everywhere."""

from __future__ import annotations

import copy
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hardgrad.core.errors import ParameterError, UnsupportedError
from hardgrad.tabular.schema import TableSchema
from hardgrad.trees import EvolvedTreeClassifier, LocalCausalLMProposer, TaskContext, TreeText
from hardgrad.trees.tree_fitness import FitnessRows

LIMITS: dict[str, Any] = {"max_calls": 100, "max_new_tokens": 80, "timeout": 30.0}
SAID = [f'## {{"x0": {{"<= {t}": {{"value": "a"}}, "> {t}": {{"value": "b"}}}}}} ##' for t in range(9)]
PARENT = TreeText.parse('{"x0": {"<= 1": {"value": "a"}, "> 1": {"value": "b"}}}')


def context_of(seed: int = 0) -> TaskContext:
    rng = np.random.default_rng(seed)
    rows = FitnessRows(rng.normal(size=(30, 2)), np.eye(2)[rng.integers(2, size=30)], np.ones(30))
    return TaskContext(TableSchema.numeric(["x0", "x1"]), rows, 2, "accuracy", True, rng, classes=("a", "b"))


class Inputs(dict[str, torch.Tensor]):
    def to(self, device: str) -> Inputs:
        assert device == "cpu"
        return self


class Letters:
    """A tokenizer whose tokens are letters; 0 ends a text."""

    eos_token_id = 0
    chat_template: str | None = None

    def __call__(self, text: str, return_tensors: str) -> Inputs:
        assert return_tensors == "pt"
        return Inputs(input_ids=torch.tensor([[ord(letter) for letter in text]]))

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return "".join(map(chr, ids))

    def apply_chat_template(self, messages: Any, tokenize: bool, add_generation_prompt: bool) -> str:
        assert not tokenize and add_generation_prompt
        return "<chat>" + messages[-1]["content"]


class Parrot:
    """A model that draws one of some texts."""

    asked: list[str]

    def __init__(self) -> None:
        self.asked = []

    def to(self, device: str) -> Parrot:
        return self

    def eval(self) -> Parrot:
        return self

    def generate(self, input_ids: torch.Tensor, num_return_sequences: int, **options: Any) -> Any:
        assert options["do_sample"] and options["max_time"] == 30.0 and options["max_new_tokens"] == 80
        self.asked.append("".join(map(chr, input_ids[0].tolist())))
        said = [SAID[k] for k in torch.randint(9, (num_return_sequences,)).tolist()]
        longest = max(map(len, said)) + 2
        new = torch.tensor([[*map(ord, text), *[0] * (longest - len(text))] for text in said])
        return types.SimpleNamespace(
            sequences=torch.cat([input_ids.expand(len(said), -1), new], 1), scores=longest
        )

    def compute_transition_scores(
        self, sequences: torch.Tensor, scores: int, normalize_logits: bool
    ) -> torch.Tensor:
        assert normalize_logits
        return torch.full((len(sequences), scores), -0.25)


@pytest.fixture
def stand_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[LocalCausalLMProposer, Parrot, Letters]:
    model, tokenizer = Parrot(), Letters()

    def reader(thing: Any) -> Any:
        def from_pretrained(path: Path, local_files_only: bool) -> Any:
            assert path == tmp_path and local_files_only
            return thing

        return types.SimpleNamespace(from_pretrained=from_pretrained)

    package: Any = types.ModuleType("transformers")
    package.AutoModelForCausalLM, package.AutoTokenizer = reader(model), reader(tokenizer)
    monkeypatch.setitem(sys.modules, "transformers", package)
    return LocalCausalLMProposer(tmp_path, **LIMITS), model, tokenizer


def test_answers_become_trees_with_their_probabilities(stand_in: Any) -> None:
    proposer, model, tokenizer = stand_in
    state = torch.random.get_rng_state()
    found = proposer.propose([PARENT], [0.5], None, context_of(), 4)
    assert len(found) == 4
    for proposal in found:
        assert proposal.logprob == -0.25 * len(SAID[0][3:-3])
        assert proposal.tree.feature == "x0"
    assert len({proposal.tree.threshold for proposal in found}) > 1
    assert torch.equal(state, torch.random.get_rng_state())  # the caller's stream is as it was
    assert proposer.propose([PARENT], [0.5], None, context_of(), 4) == found
    assert "Write 1 new trees" in model.asked[0] and PARENT.to_json() in model.asked[0]
    tokenizer.chat_template = "anything"
    proposer.propose([PARENT], [0.5], 0.6, context_of(), 4)
    assert model.asked[-1].startswith("<chat>")


def test_calls_are_bounded_and_copies_carry_no_model(stand_in: Any) -> None:
    proposer, _, _ = stand_in
    proposer.max_calls = 1
    context = context_of()
    assert len(proposer.propose([PARENT], [0.5], None, context, 2)) == 2
    assert proposer._loaded is not None
    assert copy.deepcopy(proposer)._loaded is None
    assert proposer.propose([PARENT], [0.5], None, context, 2) == []
    assert context.rejected == {"budget used up": 1}


def test_an_evolution(stand_in: Any) -> None:
    proposer, _, _ = stand_in
    X = np.random.default_rng(0).normal(4, 3, size=(80, 2))
    y = np.where(X[:, 0] > 3, "b", "a")
    model = EvolvedTreeClassifier(population=4, generations=3, proposer=proposer, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.95
    assert model.rejected_ == {}


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UnsupportedError, match=r"hardgrad\[llm\]"):
        LocalCausalLMProposer(tmp_path, **LIMITS).propose([PARENT], [0.5], None, context_of(), 1)
    package: Any = types.ModuleType("transformers")
    package.AutoModelForCausalLM = package.AutoTokenizer = None
    monkeypatch.setitem(sys.modules, "transformers", package)
    with pytest.raises(ParameterError, match="Nothing is downloaded"):
        LocalCausalLMProposer(tmp_path / "none", **LIMITS).propose([PARENT], [0.5], None, context_of(), 1)


@pytest.mark.parametrize("name", ["max_calls", "max_new_tokens", "timeout", "temperature"])
def test_bad_settings(name: str) -> None:
    with pytest.raises(ParameterError, match=f"got {name}=0"):
        LocalCausalLMProposer("folder", **{**LIMITS, name: 0})


def test_a_tiny_model_of_transformers(tmp_path: Path) -> None:
    """A model of two layers with random weights: what it says is no tree, and that is counted."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    letters = {chr(code): code - 31 for code in range(32, 127)} | {"<end>": 0, "\n": 96, "?": 97}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(letters, unk_token="?"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    raw.decoder = tokenizers.decoders.Fuse()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<end>", unk_token="?"
    ).save_pretrained(tmp_path)
    torch.manual_seed(0)
    settings = transformers.GPT2Config(
        vocab_size=98, n_positions=4096, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    transformers.GPT2LMHeadModel(settings).save_pretrained(tmp_path)
    proposer, context = LocalCausalLMProposer(tmp_path, **{**LIMITS, "max_new_tokens": 12}), context_of()
    answers = proposer._sample("Say something.", 3, seed=1)
    assert len({answer.text for answer in answers}) == 3
    for answer in answers:
        assert answer.tokens is not None
        assert "".join(token for token, _ in answer.tokens) == answer.text
        assert all(-10 < logprob < 0 for _, logprob in answer.tokens)
    assert proposer.propose([PARENT], [0.5], None, context, 3) == []
    assert sum(context.rejected.values()) == 3
