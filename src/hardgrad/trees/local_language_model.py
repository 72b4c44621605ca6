"""LocalCausalLMProposer: trees from a language model on this machine, through the package transformers (extra `llm`), imported late."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardgrad.core.errors import ParameterError, UnsupportedError
from hardgrad.trees.proposers import Proposal, TaskContext
from hardgrad.trees.tree_prompts import SYSTEM, Answer, read_answer, write_prompt
from hardgrad.trees.tree_text import TreeText


@dataclass
class LocalCausalLMProposer:
    """Crossover and mutation by a causal language model that lies on this machine; nothing is downloaded.

    Each tree is sampled by itself, with the log-probability of its tokens.

    Parameters
    ----------
    path : folder of a model and its tokenizer, as transformers saves them.
    max_calls : generations over the life of this object; afterwards it proposes nothing.
    max_new_tokens : of one answer.
    timeout : seconds for one generation of all answers.
    temperature : of the sampling.
    device : "cpu" or "cuda".
    allow_rows : show ten training rows to the model.

    Attributes
    ----------
    calls : generations so far.

    Raises
    ------
    UnsupportedError : transformers is not installed. ParameterError : there is no model at the path, or a limit is not positive.

    Examples
    --------
    >>> proposer = LocalCausalLMProposer("models/small", max_calls=100, max_new_tokens=400, timeout=60)
    >>> proposer.calls
    0

    Source: Liu, Huynh and van der Schaar, 2025, Decision Tree Induction Through LLMs via Semantically-Aware Evolution.
    """

    path: str | Path
    max_calls: int = field(kw_only=True)
    max_new_tokens: int = field(kw_only=True)
    timeout: float = field(kw_only=True)
    temperature: float = field(default=1.0, kw_only=True)
    device: str = field(default="cpu", kw_only=True)
    allow_rows: bool = field(default=False, kw_only=True)
    calls: int = field(default=0, init=False)
    _loaded: tuple[Any, Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("max_calls", "max_new_tokens", "timeout", "temperature"):
            if not getattr(self, name) > 0:
                raise ParameterError(
                    f"LocalCausalLMProposer got {name}={getattr(self, name)!r}; expected a number above 0."
                )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model out of copies: it is read again where it is needed."""
        return self.__dict__ | {"_loaded": None}

    def propose(
        self,
        parents: list[TreeText],
        fitness: list[float],
        target: float | None,
        context: TaskContext,
        n: int,
    ) -> list[Proposal]:
        """Return up to n trees, each sampled by itself (see `TreeProposer`)."""
        if self.calls >= self.max_calls:
            context.reject("budget used up")
            return []
        self.calls += 1
        prompt = write_prompt(parents, fitness, target, context, 1, allow_rows=self.allow_rows)
        answers = self._sample(prompt, n, int(context.rng.integers(2**31)))
        return [proposal for answer in answers for proposal in read_answer(answer, context)[:1]]

    def _sample(self, prompt: str, n: int, seed: int) -> list[Answer]:
        import torch

        tokenizer, model = self._load()
        if getattr(tokenizer, "chat_template", None):
            messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        else:
            text = f"{SYSTEM}\n\n{prompt}\n\n"
        inputs = tokenizer(text, return_tensors="pt").to(self.device)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            out = model.generate(
                **inputs, do_sample=True, temperature=self.temperature, max_new_tokens=self.max_new_tokens, max_time=self.timeout,
                num_return_sequences=n, return_dict_in_generate=True, output_scores=True,
            )  # fmt: skip
            scores = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
        new = out.sequences[:, inputs["input_ids"].shape[1] :].tolist()
        return [_answer(tokenizer, ids, logs) for ids, logs in zip(new, scores.tolist(), strict=True)]

    def _load(self) -> tuple[Any, Any]:
        """The tokenizer and the model, read once."""
        if self._loaded is None:
            try:
                from transformers import AutoModelForCausalLM, AutoTokenizer
            except ImportError as error:
                raise UnsupportedError(
                    "LocalCausalLMProposer needs the package transformers. Run: pip install 'hardgrad[llm]', or take ChatEndpointProposer."
                ) from error
            if not Path(self.path).is_dir():
                raise ParameterError(
                    f"LocalCausalLMProposer got path={str(self.path)!r}; expected a folder with a model. Nothing is downloaded."
                )
            tokenizer = AutoTokenizer.from_pretrained(self.path, local_files_only=True)
            model: Any = AutoModelForCausalLM.from_pretrained(self.path, local_files_only=True)
            self._loaded = tokenizer, model.to(self.device).eval()
        return self._loaded


def _answer(tokenizer: Any, ids: list[int], logprobs: list[float]) -> Answer:
    """The text of generated tokens up to the end mark, and what each token adds to it."""
    if tokenizer.eos_token_id in ids:
        ids = ids[: ids.index(tokenizer.eos_token_id)]
    texts = [tokenizer.decode(ids[: k + 1], skip_special_tokens=True) for k in range(len(ids))]
    added = [text[len(before) :] for before, text in zip(["", *texts], texts, strict=False)]
    return Answer(
        texts[-1] if texts else "", tuple(zip(added, logprobs[: len(ids)], strict=True))
    )  # a token may complete a letter: its text is what it adds
