"""ChatEndpointProposer: trees from any OpenAI-compatible endpoint, over plain HTTP of the standard library. Never imports torch.

Every request is bounded: in time, in tokens, and in number over the life of the proposer. What cannot be used is counted, never waited for.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardgrad.core.errors import EndpointError, ParameterError
from hardgrad.core.files import write_text
from hardgrad.trees.proposers import Proposal, TaskContext
from hardgrad.trees.tree_prompts import SYSTEM, Answer, read_answer, write_prompt
from hardgrad.trees.tree_text import TreeText

GIVES_UP_AFTER = 3
"""Requests in a row that fail, each with its retries, after which the endpoint is asked no more."""
LARGEST_ANSWER = 2**22
CHARACTERS_A_TOKEN = 4
AGAIN = (408, 409, 425, 429)


@dataclass
class ChatEndpointProposer:
    """Crossover and mutation by a language model behind an OpenAI-compatible endpoint (`POST base_url/chat/completions`).

    One request asks for all trees of an operation. Answers are kept by the hash of their request, so that the same fit with the same seed
    asks nothing twice. No row of the table is sent unless `allow_rows` says so; ranges and levels of the columns are.

    Parameters
    ----------
    base_url : address, as "http://localhost:8000/v1".
    model : name of the model.
    max_calls : requests over the life of this object, retries among them.
    max_tokens : tokens of all prompts and answers together, as the endpoint counts them, else a quarter of the characters.
    timeout : seconds for one request.
    api_key_env : name of the environment variable that holds the key; None sends none.
    answer_tokens : tokens that one answer may have.
    temperature : of the model's sampling.
    retries : further tries after a timeout, a lost connection, an answer that makes no sense, or a status of 408, 409, 425, 429 or 5xx.
    backoff : seconds before the first retry, doubled for each further one.
    cache : folder that answers are kept in; None keeps them in memory.
    allow_rows : show ten training rows to the model.

    Attributes
    ----------
    calls, tokens : what was used so far.
    closed : why the endpoint is asked no more, empty while it is.

    Raises
    ------
    ParameterError : an address that is none, a budget that is not positive, an environment variable that is not set.
    EndpointError : the first request is refused (a status of 3xx or 4xx): a wrong address, model or key. Refused later, the endpoint is
        closed, and the fit goes on without it.

    Examples
    --------
    >>> proposer = ChatEndpointProposer("http://localhost:8000/v1", "small-model", max_calls=200, max_tokens=400_000, timeout=30)
    >>> proposer.calls, proposer.closed
    (0, '')

    `EvolvedTreeClassifier(proposer=proposer, generations=5)` then evolves with it; `rejected_` tells what it said that was no tree.

    Source: Liu, Huynh and van der Schaar, 2025, Decision Tree Induction Through LLMs via Semantically-Aware Evolution.
    """

    base_url: str
    model: str
    max_calls: int = field(kw_only=True)
    max_tokens: int = field(kw_only=True)
    timeout: float = field(kw_only=True)
    api_key_env: str | None = field(default=None, kw_only=True)
    answer_tokens: int = field(default=1024, kw_only=True)
    temperature: float = field(default=1.0, kw_only=True)
    retries: int = field(default=2, kw_only=True)
    backoff: float = field(default=0.5, kw_only=True)
    cache: str | Path | None = field(default=None, kw_only=True)
    allow_rows: bool = field(default=False, kw_only=True)
    calls: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)
    closed: str = field(default="", init=False)
    _answers: dict[str, dict[str, Any]] = field(default_factory=dict, init=False, repr=False)
    _failures: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(str(self.base_url))
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ParameterError(
                f"ChatEndpointProposer got base_url={self.base_url!r}; expected an address as http://localhost:8000/v1."
            )
        for name in ("max_calls", "max_tokens", "timeout", "answer_tokens"):
            if not getattr(self, name) > 0:
                raise ParameterError(
                    f"ChatEndpointProposer got {name}={getattr(self, name)!r}; expected a number above 0."
                )
        for name in ("retries", "backoff", "temperature"):
            if not getattr(self, name) >= 0:
                raise ParameterError(
                    f"ChatEndpointProposer got {name}={getattr(self, name)!r}; expected 0 or more."
                )

    def propose(
        self,
        parents: list[TreeText],
        fitness: list[float],
        target: float | None,
        context: TaskContext,
        n: int,
    ) -> list[Proposal]:
        """Return the trees of one answer (see `TreeProposer`); none where there is no answer, which `context.rejected` counts."""
        prompt = write_prompt(parents, fitness, target, context, n, allow_rows=self.allow_rows)
        request = {
            "model": self.model,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}],
            "max_tokens": self.answer_tokens,
            "temperature": self.temperature,
            "seed": int(context.rng.integers(2**31)),
            "logprobs": target is None,
        }
        answer = self._ask(request, context)
        return [] if answer is None else read_answer(answer, context)[:n]

    # --- asking --------------------------------------------------------------------------------------------------------------
    def _ask(self, request: dict[str, Any], context: TaskContext) -> Answer | None:
        body = json.dumps(request, sort_keys=True)
        key = hashlib.sha256(f"{self.base_url}\n{body}".encode()).hexdigest()
        kept = self._kept(key)
        if kept is None:
            kept = self._fetch(request, context)
            if kept is None:
                return None
            self._keep(key, kept)
        tokens = kept["tokens"]
        return Answer(kept["text"], None if tokens is None else tuple((str(t), float(p)) for t, p in tokens))

    def _fetch(self, request: dict[str, Any], context: TaskContext) -> dict[str, Any] | None:
        """Ask, and ask again; None where the budget is used up or nothing sensible came back."""
        prompt_tokens = sum(len(m["content"]) for m in request["messages"]) // CHARACTERS_A_TOKEN
        reason = self.closed
        for attempt in range(self.retries + 1):
            if reason == self.closed and reason:
                break
            left = self.max_tokens - self.tokens - prompt_tokens
            if self.calls >= self.max_calls or left < 1:
                self.closed = reason = "budget used up"
                break
            if attempt:
                time.sleep(min(self.backoff * 2 ** (attempt - 1), self.timeout))
            self.calls += 1
            bounded = request | {"max_tokens": min(self.answer_tokens, left)}
            try:
                found = self._post(json.dumps(bounded).encode())
            except urllib.error.HTTPError as error:
                reason = f"http {error.code}"
                with error:
                    if error.code < 500 and error.code not in AGAIN:
                        self._refused(error)
            except TimeoutError:
                reason = "timeout"
            except urllib.error.URLError as error:
                reason = "timeout" if isinstance(error.reason, TimeoutError) else "no connection"
            except (OSError, http.client.HTTPException):
                reason = "no connection"
            else:
                read = _read_envelope(found)
                used = None if read is None else read.pop("used")
                said = 0 if read is None else len(read["text"]) // CHARACTERS_A_TOKEN
                self.tokens += used if used is not None else prompt_tokens + said
                if read is not None:
                    self._failures = 0
                    return read
                reason = "answer is no completion"
        context.reject(reason)
        self._failures += 1
        if self._failures >= GIVES_UP_AFTER and not self.closed:
            self.closed = f"{reason}, {GIVES_UP_AFTER} times in a row"
        return None

    def _refused(self, error: urllib.error.HTTPError) -> None:
        """Raise on the first request of all; later, ask no more."""
        said = error.read(300).decode(errors="replace").strip()
        if self.calls == 1:
            raise EndpointError(
                f"{self._url} answered {error.code} {error.reason}: {said or 'nothing more'}. Check base_url, the model {self.model!r} and "
                f"the key in {self.api_key_env or 'no environment variable (api_key_env is None)'}."
            )
        self.closed = f"http {error.code}"

    @property
    def _url(self) -> str:
        return f"{str(self.base_url).rstrip('/')}/chat/completions"

    def _post(self, body: bytes) -> bytes:
        """Return the body of the answer. The time limit holds for all of it, also where it comes in drops."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.api_key_env is not None:
            if not os.environ.get(self.api_key_env):
                raise ParameterError(
                    f"the environment variable {self.api_key_env} is not set; set it to the key of the endpoint, or pass api_key_env=None."
                )
            headers["Authorization"] = f"Bearer {os.environ[self.api_key_env]}"
        request = urllib.request.Request(self._url, body, headers, method="POST")
        ends, parts, size = time.monotonic() + self.timeout, [], 0
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=self.timeout) as response:
            while part := response.read1(65536):
                parts.append(part)
                size += len(part)
                if time.monotonic() > ends:
                    raise TimeoutError
                if size > LARGEST_ANSWER:
                    return b""  # no completion is so long
        return b"".join(parts)

    # --- answers that are kept -----------------------------------------------------------------------------------------------
    def _kept(self, key: str) -> dict[str, Any] | None:
        if self.cache is None:
            return self._answers.get(key)
        path = Path(self.cache) / f"{key}.json"
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def _keep(self, key: str, answer: dict[str, Any]) -> None:
        if self.cache is None:
            self._answers[key] = answer
            return
        Path(self.cache).mkdir(parents=True, exist_ok=True)
        write_text(Path(self.cache) / f"{key}.json", json.dumps(answer, ensure_ascii=False))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key is sent to the address that was given, and to no other."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def _read_envelope(body: bytes) -> dict[str, Any] | None:
    """The text, the tokens with their log-probabilities and the tokens used of a completion; None where it is none."""
    try:
        data = json.loads(body)
        choice = data["choices"][0]
        text = choice["message"]["content"]
        if not isinstance(text, str):
            return None
        usage, logprobs = data.get("usage"), choice.get("logprobs")
        content = logprobs.get("content") if isinstance(logprobs, dict) else None
        tokens = None
        if content:
            tokens = [(str(token["token"]), float(token["logprob"])) for token in content]
            if "".join(token for token, _ in tokens) != text:
                tokens = None  # tokens that are not text one by one cannot be told apart
        used = usage.get("total_tokens") if isinstance(usage, dict) else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return None
    return {"text": text, "tokens": tokens, "used": used if isinstance(used, int) and used >= 0 else None}
