"""Language models that behave well and badly: what is asked, what is read, what is counted, and that nothing hangs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardgrad.core.errors import EndpointError, HardgradWarning, ParameterError
from hardgrad.reproductions.scripted_endpoint import Reply, ScriptedEndpoint
from hardgrad.tabular.schema import Column, Feature, TableSchema
from hardgrad.trees import ChatEndpointProposer, EvolvedTreeClassifier, TaskContext, TreeText
from hardgrad.trees.tree_fitness import FitnessRows
from hardgrad.trees.tree_prompts import Answer, find_trees, read_answer, write_prompt

SCHEMA = TableSchema(
    (Column("pressure"), Column("city", "categorical", ("Bonn", "Ulm"))),
    (Feature("pressure", 0), Feature("city", 1, "codes", (0.25, 0.5, 0.3)), Feature("pressure is missing", 0, "missing")),
)  # fmt: skip
PARENTS = [
    TreeText.parse('{"pressure": {"<= 120": {"value": "well"}, "> 120": {"value": "ill"}}}'),
    TreeText.parse('{"city": {"<= 0.3": {"value": "ill"}, "> 0.3": {"value": "well"}}}'),
]
GOOD = '## {"pressure": {"<= 130.5": {"value": "well"}, "> 130.5": {"value": "ill"}}} ##'
LIMITS: dict[str, Any] = {
    "max_calls": 50,
    "max_tokens": 100_000,
    "timeout": 5.0,
    "retries": 0,
    "backoff": 0.0,
}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def context_of(seed: int = 0) -> TaskContext:
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(120, 10.123456789, 40), rng.choice([0.25, 0.5], 40), np.zeros(40)])
    rows = FitnessRows(X, np.eye(2)[(X[:, 0] > 125).astype(int)], np.ones(40))
    return TaskContext(
        SCHEMA, rows, 2, "balanced_accuracy", True, rng, classes=("well", "ill"), target="health",
        feature_descriptions={"pressure": "systolic, in mmHg"}, task_description="Is someone ill?",
    )  # fmt: skip


def ask(proposer: ChatEndpointProposer, context: TaskContext, target: float | None = 0.9) -> list[Any]:
    return proposer.propose(PARENTS, [0.6, 0.8], target, context, 4)


# --- prompts and answers -----------------------------------------------------------------------------------------------------------
def test_a_prompt_says_what_a_model_needs_and_holds_no_row() -> None:
    context = context_of()
    crossover = write_prompt(PARENTS, [0.6, 0.8], 0.82, context, 4)
    mutation = write_prompt(PARENTS, [0.6, 0.8], None, context, 4)
    for prompt in (crossover, mutation):
        assert "Is someone ill?" in prompt
        assert "health, one of well, ill" in prompt
        assert "40 rows with 1 numeric and 1 categorical" in prompt
        assert "systolic, in mmHg" in prompt
        assert "Bonn is 0.25, Ulm is 0.5" in prompt
        assert "1 where pressure is missing" in prompt
        assert all(parent.to_json() in prompt for parent in PARENTS)
        assert "At most 2 features" in prompt
    assert "balanced_accuracy: 0.6000" in crossover and "about 0.8200" in crossover
    assert "0.6000" not in mutation
    told = [repr(value) for value in np.sort(context.rows.X[:, 0])[1:-1].tolist()]
    assert not any(value in crossover + mutation for value in told)
    shown = write_prompt(PARENTS, [0.6, 0.8], None, context, 4, allow_rows=True)
    assert f"pressure = {float(context.rows.X[0, 0])!r}" in shown


def test_trees_are_found_in_prose() -> None:
    text = f"Sure!\n```json\n{GOOD}\n```\nand ## no tree ## {{ broken"
    assert [text[a:b] for a, b in find_trees(text)] == [GOOD[3:-3], "{ broken"]
    assert find_trees("nothing") == []
    text = '{"value": 1}'
    assert find_trees(text) == [(0, len(text))]


def test_the_log_probability_is_that_of_the_tokens_of_the_tree() -> None:
    tokens = (("Well: ", -9.0), ("##", -1.0), (' {"pressure": {"<= 130.5": ', -0.5), ('{"value": "well"}, "> 130.5": ', -0.25),
              ('{"value": "ill"}}} ', -0.125), ("##", -7.0))  # fmt: skip
    (proposal,) = read_answer(Answer("".join(token for token, _ in tokens), tokens), context_of())
    assert proposal.logprob == -0.875
    (proposal,) = read_answer(Answer(GOOD), context_of())
    assert proposal.logprob is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I cannot do that.", "no tree"),
        ('## {"pressure": {"<= 1": {"value": "well"}, "> 1": {"value": "ill"},}} ##', "json"),
        ('## {"pressure": {"<= 1": {"value": "well"}, "<= 1": {"value": "ill"}}} ##', "json"),
        ('## {"pressure": {"<= 1": {"value": "well"}} ##', "json"),
        ('## {"blood": {"<= 1": {"value": "well"}, "> 1": {"value": "ill"}}} ##', "attribute"),
        ('## {"pressure": {"<= 1": {"value": "well"}, "> 2": {"value": "ill"}}} ##', "condition"),
        ('## {"pressure": {"is high": {"value": "well"}, "is low": {"value": "ill"}}} ##', "condition"),
        ('## {"pressure": {"<= NaN": {"value": "well"}, "> NaN": {"value": "ill"}}} ##', "condition"),
        ('## {"pressure": [1, 2]} ##', "structure"),
        ('## {"pressure": {"<= 1": {"value": null}, "> 1": {"value": "ill"}}} ##', "value"),
        ("## " + '{"city": {"<= 1": {"value": 0}, "> 1": ' * 3 + '{"value": 0}' + "}}" * 3 + " ##", "depth"),
        ("## " + '{"a":' * 100_000 + "1" + "}" * 100_000 + " ##", "depth"),
    ],
)  # fmt: skip
def test_what_is_no_tree_is_counted(text: str, reason: str) -> None:
    context = context_of()
    assert read_answer(Answer(text), context) == []
    assert dict(context.rejected) == {reason: 1}


# --- the endpoint ------------------------------------------------------------------------------------------------------------------
def test_an_endpoint_that_behaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_TEST", "secret-0815")
    tokens = tuple((letter, -0.5) for letter in GOOD)
    with ScriptedEndpoint([Reply(GOOD), Reply(GOOD, tokens=tokens), Reply(GOOD, usage=False)]) as endpoint:
        proposer = ChatEndpointProposer(endpoint.url, "m", api_key_env="KEY_OF_TEST", **LIMITS)
        context = context_of()
        (crossed,) = ask(proposer, context)
        assert proposer.tokens == 100
        (mutated,) = ask(proposer, context, None)
        ask(proposer, context)
    assert crossed.tree == mutated.tree == TreeText.parse(GOOD[3:-3])
    assert crossed.logprob is None
    assert mutated.logprob == -0.5 * len(GOOD[3:-3])
    assert proposer.calls == 3 and not proposer.closed and not context.rejected
    assert 300 < proposer.tokens < 2000  # what the endpoint does not count is estimated
    first, second, _ = endpoint.requests
    assert first["path"] == "/v1/chat/completions"
    assert first["headers"]["Authorization"] == "Bearer secret-0815"
    assert (first["model"], first["logprobs"], second["logprobs"]) == ("m", False, True)
    assert first["max_tokens"] == 1024 and first["seed"] != second["seed"]
    assert "secret-0815" not in repr(proposer) + json.dumps(first["messages"])
    with ScriptedEndpoint([Reply(GOOD, tokens=(("other", -1.0),))]) as endpoint:
        (proposal,) = ask(ChatEndpointProposer(endpoint.url, "m", **LIMITS), context, None)
    assert proposal.logprob is None  # tokens that are not the text


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(status=500), "http 500"),
        (Reply(status=429), "http 429"),
        (Reply(body=b"<html>"), "answer is no completion"),
        (Reply(body=b'{"choices": []}'), "answer is no completion"),
        (Reply(body=b'{"choices": [{"message": {"content": null}}]}'), "answer is no completion"),
        (Reply(body=b"[" * 100_000), "answer is no completion"),
        (Reply(body=b"x" * (2**22 + 2**17)), "answer is no completion"),
        (Reply(GOOD, headers=(("Transfer-Encoding", "chunked"),)), "no connection"),
        (Reply(silent=True), "timeout"),
        (Reply(drips=True), "timeout"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_endpoint_that_does_not(reply: Reply, reason: str) -> None:
    context = context_of()
    with ScriptedEndpoint([reply, reply, Reply(GOOD)]) as endpoint:
        proposer = ChatEndpointProposer(endpoint.url, "m", **{**LIMITS, "timeout": 0.3})
        assert ask(proposer, context) == []
        assert dict(context.rejected) == {reason: 1}
        # With enough tries the good answer comes.
        proposer = ChatEndpointProposer(endpoint.url, "m", **{**LIMITS, "timeout": 0.3, "retries": 1})
        assert len(ask(proposer, context)) == 1
        assert proposer.calls == 2


def test_nobody_there() -> None:
    with ScriptedEndpoint([Reply(GOOD)]) as endpoint:
        url = endpoint.url
    context = context_of()
    proposer = ChatEndpointProposer(url, "m", **LIMITS)
    for _ in range(5):
        assert ask(proposer, context) == []
    assert proposer.calls == 3  # it gives up
    assert proposer.closed == "no connection, 3 times in a row"
    assert context.rejected == {"no connection": 3, proposer.closed: 2}


@pytest.mark.parametrize("status", [301, 401, 404])
def test_a_refusal_is_an_error_at_first_and_the_end_of_asking_later(status: int) -> None:
    refusal = Reply(status=status, body=b"no such model", headers=(("Location", "http://127.0.0.1:9/"),))
    wanted = pytest.raises(EndpointError, match=f"{status}.*no such model.*base_url")
    with ScriptedEndpoint([refusal]) as endpoint, wanted:
        ask(ChatEndpointProposer(endpoint.url, "m", **LIMITS), context_of())
    with ScriptedEndpoint([Reply(GOOD), refusal]) as endpoint:
        context, proposer = context_of(), ChatEndpointProposer(endpoint.url, "m", **LIMITS)
        assert [len(ask(proposer, context)) for _ in range(3)] == [1, 0, 0]
        assert proposer.calls == 2 and context.rejected == {f"http {status}": 2}


@pytest.mark.parametrize(("limits", "calls"), [({"max_calls": 2}, 2), ({"max_tokens": 500}, 3)])
def test_budgets_are_kept(limits: dict[str, int], calls: int) -> None:
    with ScriptedEndpoint([Reply(GOOD)]) as endpoint:
        context, proposer = context_of(), ChatEndpointProposer(endpoint.url, "m", **{**LIMITS, **limits})
        for _ in range(5):
            ask(proposer, context)
        assert len(endpoint.requests) == proposer.calls == calls
        assert all(request["max_tokens"] < 500 for request in endpoint.requests if "max_tokens" in limits)
    assert context.rejected == {"budget used up": 5 - calls}


def test_answers_are_kept(tmp_path: Path) -> None:
    with ScriptedEndpoint([Reply(GOOD)]) as endpoint:
        for cache in (None, tmp_path / "kept"):
            proposer = ChatEndpointProposer(endpoint.url, "m", cache=cache, **LIMITS)
            found = [ask(proposer, context_of(seed)) for seed in (0, 1, 0, 1)]
            assert found[:2] == found[2:]
            assert proposer.calls == 2
        again = ChatEndpointProposer(endpoint.url, "m", cache=tmp_path / "kept", **LIMITS)
        assert [ask(again, context_of(seed)) for seed in (0, 1)] == found[:2]
        assert again.calls == 0
        other = ChatEndpointProposer(endpoint.url, "another model", cache=tmp_path / "kept", **LIMITS)
        ask(other, context_of(0))
        assert other.calls == 1
    assert len(list((tmp_path / "kept").iterdir())) == 3


@pytest.mark.parametrize(
    "bad",
    [
        {"base_url": "localhost:8000"}, {"base_url": "file:///etc/passwd"}, {"max_calls": 0}, {"max_tokens": -1}, {"timeout": 0},
        {"retries": -1}, {"backoff": -1.0}, {"answer_tokens": 0}, {"temperature": -0.1},
    ],
)  # fmt: skip
def test_bad_settings(bad: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="got"):
        ChatEndpointProposer(**{"base_url": "http://localhost/v1", "model": "m", **LIMITS, **bad})


def test_limits_are_not_optional_and_a_key_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="max_calls"):
        ChatEndpointProposer("http://localhost/v1", "m")  # type: ignore[call-arg]
    monkeypatch.delenv("KEY_OF_TEST", raising=False)
    proposer = ChatEndpointProposer("http://localhost:9/v1", "m", api_key_env="KEY_OF_TEST", **LIMITS)
    with pytest.raises(ParameterError, match="KEY_OF_TEST is not set"):
        ask(proposer, context_of())


# --- a whole evolution ---------------------------------------------------------------------------------------------------------------
def test_an_evolution_by_a_model_that_is_sometimes_wrong() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(120, 10, size=(90, 2))
    y = np.where(X[:, 0] > 125, "ill", "well")
    said = [
        Reply(GOOD.replace("pressure", "x0").replace("130.5", "125.1")),
        Reply(GOOD.replace("pressure", "x9")),
        Reply('## {"x0": {"<= 1e9": {"value": "well"}, "> 1e9": {"value": "ill"}}} ##'),
        Reply(status=502),
        Reply("no"),
    ]
    with ScriptedEndpoint(said) as endpoint:
        proposer = ChatEndpointProposer(endpoint.url, "m", **LIMITS)
        model = EvolvedTreeClassifier(
            population=4, generations=2, proposer=copy.deepcopy(proposer), random_state=0
        )
        with pytest.warns(HardgradWarning, match=r"drew \d+ trees at random.*http 502"):
            model.fit(X, y)
        assert model.score(X, y) > 0.9
        assert {"attribute", "splits nothing", "http 502", "no tree"} <= set(model.rejected_)
        assert proposer.calls == 0


def test_an_evolution_by_a_model_that_never_answers_ends_and_says_so() -> None:
    rng = np.random.default_rng(4)
    X = rng.normal(size=(60, 2))
    with ScriptedEndpoint([Reply(silent=True)]) as endpoint:
        proposer = ChatEndpointProposer(endpoint.url, "m", **{**LIMITS, "timeout": 0.1})
        model = EvolvedTreeClassifier(population=4, generations=3, proposer=proposer, random_state=0)
        with pytest.warns(HardgradWarning, match=r"drew 24 trees at random.*timeout: 3"):
            model.fit(X, X[:, 0] > 0)
    assert proposer.calls == 3
    assert model.score(X, X[:, 0] > 0) > 0.8
    assert model.rejected_["filled at random"] == 24
