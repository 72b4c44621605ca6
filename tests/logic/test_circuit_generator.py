"""Tokenizer and generator: what is learned comes back, any codes are circuits, proposals are ordered, training resumes."""

import numpy as np
import pytest
import torch
from random_circuits import plain_evaluation

from hardgrad.core.errors import DataError, ParameterError
from hardgrad.logic import (
    Circuit,
    CircuitGenerator,
    CircuitSearch,
    CircuitTokenizer,
    TruthTable,
    bits_distance,
    random_circuits,
)
from hardgrad.logic.circuit_graphs import EMPTY, KINDS, CircuitGraphs
from hardgrad.logic.circuit_tokens import TableEncoder, TokenSizes, tensors
from hardgrad.logic.gate_ids import truth_rows
from hardgrad.logic.graph_training import GraphPlan
from hardgrad.train.checkpoint import checkpointing
from hardgrad.train.progress import listen

SMALL = {"n_codes": 32, "dim": 16, "depth": 1, "batch_size": 16}


def circuits(count=24, inputs=3, gates=3, outputs=1):
    return random_circuits(count, inputs, gates, n_outputs=outputs, random_state=2)


def same_weights(one, two):
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def learned():
    """A tokenizer that has seen its circuits often, and a generator of its codes."""
    few = circuits()
    tokenizer = CircuitTokenizer(
        3, n_codes=96, dim=32, depth=1, n_steps=120, batch_size=48, learning_rate=5e-3
    )
    tokenizer.fit(few)
    generator = CircuitGenerator(tokenizer, n_steps=120, batch_size=48, learning_rate=5e-3).fit(few)
    return few, tokenizer, generator


# --- tokens ------------------------------------------------------------------------------------------------------------------------


def test_circuits_that_were_learned_come_back(learned):
    few, tokenizer, _ = learned
    codes = tokenizer.encode(few)
    assert codes.shape == (24, 4) and codes.dtype == np.int64 and codes.min() >= 0 and codes.max() < 96
    again = tokenizer.decode(codes)
    equal = [np.array_equal(a.truth_table(), b.truth_table()) for a, b in zip(again, few, strict=True)]
    assert np.mean(equal) >= 0.9
    np.testing.assert_array_equal(tokenizer.encode(few[3:5]), codes[3:5])
    assert 4 < tokenizer.network_.quantizer.perplexity() <= 96


@pytest.mark.parametrize(("inputs", "gates", "outputs"), [(1, 2, 1), (2, 3, 2), (4, 5, 1), (6, 3, 3)])
def test_any_codes_are_circuits(inputs, gates, outputs):
    wires = Circuit(
        *(np.zeros(0, kind) for kind in (np.uint8, np.int32, np.int32)), np.zeros(outputs, np.int32), inputs
    )
    tokenizer = CircuitTokenizer(gates, n_steps=1, **SMALL).fit([wires])
    codes = np.random.default_rng(0).integers(0, 32, (60, gates + outputs))
    graphs = tokenizer.decode_graphs(codes)
    found = tokenizer.decode(codes)
    assert len(found) == 60 and max(one.n_gates for one in found) > 0
    for k, one in enumerate(found):
        assert (one.n_inputs, one.n_outputs) == (inputs, outputs)
        said = plain_evaluation(one, truth_rows(inputs))
        np.testing.assert_array_equal(said, graphs.tables[k])
        assert one.n_gates <= gates + outputs  # an output that is complemented takes a gate
    assert tokenizer.decode(codes[:0]) == []


def test_slots_that_are_empty_are_not_read():
    tokenizer = CircuitTokenizer(3, n_steps=1, **SMALL).fit(circuits())
    drawn = torch.Generator().manual_seed(0)
    kinds, wires = (torch.randn(300, 4, *shape, generator=drawn) for shape in ((KINDS,), (2, 6)))
    kinds[..., EMPTY] += 2.0
    wires = wires.masked_fill(~tokenizer.network_.earlier[:, None], -torch.inf)
    found = tokenizer._most_likely(kinds, wires)
    empty = np.concatenate([np.zeros((300, 3), bool), found.kinds[:, :3] == EMPTY], axis=1)
    assert 0.2 < empty[:, 3:].mean() < 0.8
    assert not np.take_along_axis(empty[:, None], found.operands, axis=2).any()
    said = [plain_evaluation(found.circuit(k), truth_rows(3)) for k in range(300)]
    np.testing.assert_array_equal(said, found.tables)


def test_scores_of_wires_that_are_not_earlier_are_left_out():
    tokenizer = CircuitTokenizer(3, n_steps=1, **SMALL).fit(circuits())
    kinds, wires = tokenizer.network_.decode(torch.zeros(2, 4, 16))
    assert kinds.shape == (2, 4, KINDS) and wires.shape == (2, 4, 2, 6)
    for node, count in enumerate([3, 4, 5, 6]):
        assert wires[:, node, :, :count].isfinite().all() and wires[:, node, :, count:].isneginf().all()


def test_tables_are_seen_through_their_spectrum_and_their_parts():
    sizes = TokenSizes(3, 1, 2, dim=16)
    encoder = TableEncoder(sizes)
    seen = []
    encoder.layers = torch.nn.Sequential(torch.nn.Identity())
    encoder.layers.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    tables = np.random.default_rng(0).integers(0, 2, (5, 8, 1))
    with pytest.raises(RuntimeError):  # what the layers would make of it has another shape
        encoder(torch.from_numpy(tables).float())
    (features,) = seen
    rows = truth_rows(3).astype(int)
    for table, found in zip(tables[..., 0], features.numpy(), strict=True):
        signs = 1 - 2 * table
        spectrum = [np.mean(signs * (1 - 2 * (rows[:, mask == 1].sum(axis=1) % 2))) for mask in rows]
        np.testing.assert_allclose(found[:24], np.concatenate([signs, spectrum, np.abs(spectrum)]), atol=1e-6)
        at = 24
        for i, j in [(0, 1), (0, 2), (1, 2)]:
            parts = [signs[(rows[:, i] == a) & (rows[:, j] == b)] for a in (0, 1) for b in (0, 1)]
            agreement = [np.mean(parts[p] * parts[q]) for p in range(4) for q in range(p + 1, 4)]
            np.testing.assert_allclose(found[at : at + 6], agreement, atol=1e-6)
            np.testing.assert_array_equal(found[at + 6 : at + 12], np.abs(agreement) == 1)
            at += 12
        assert at == len(found)


def test_same_seed_same_bits_whatever_torch_has_drawn():
    few = circuits()
    state = torch.get_rng_state()
    one = CircuitTokenizer(3, n_steps=5, **SMALL).fit(few)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    two = CircuitTokenizer(3, n_steps=5, **SMALL).fit(few)
    three = CircuitTokenizer(3, n_steps=5, random_state=1, **SMALL).fit(few)
    assert same_weights(one.network_, two.network_) and not same_weights(one.network_, three.network_)
    first, again, other = (
        CircuitGenerator(tokenizer, n_steps=5, batch_size=16, random_state=seed).fit(few)
        for tokenizer, seed in ((one, 0), (two, 0), (one, 1))
    )
    assert same_weights(first.network_, again.network_) and not same_weights(first.network_, other.network_)


@pytest.mark.parametrize("kind", ["tokenizer", "generator"])
def test_interrupted_training_goes_on_to_the_same_bits(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("hardgrad.train.loop.SAVE_EVERY", 10)
    few = circuits()
    tokenizer = CircuitTokenizer(3, n_steps=2, **SMALL).fit(few)

    def fit():
        if kind == "tokenizer":
            return CircuitTokenizer(3, n_steps=24, **SMALL).fit(few).network_
        return CircuitGenerator(tokenizer, n_steps=24, batch_size=16).fit(few).network_

    expected, events = fit(), []

    def interrupt(event):
        if event.fraction >= 15 / 24:
            raise KeyboardInterrupt

    with checkpointing(tmp_path):
        with listen(interrupt), pytest.raises(KeyboardInterrupt):
            fit()
        with listen(events.append):
            resumed = fit()
        again = fit()
    assert [event.fraction for event in events] == [step / 24 for step in range(11, 25)]
    assert {event.phase for event in events} == {f"circuit {kind}"} and events[-1].soft > 0
    assert same_weights(resumed, expected) and same_weights(again, expected)


def test_a_generator_of_another_tokenizer_is_another_training(tmp_path):
    few = circuits()
    with checkpointing(tmp_path):
        found = [
            CircuitGenerator(CircuitTokenizer(3, n_steps=n, **SMALL).fit(few), n_steps=2).fit(few)
            for n in (1, 3)
        ]
    alone = CircuitGenerator(found[1].tokenizer, n_steps=2).fit(few)
    assert same_weights(found[1].network_, alone.network_)


# --- proposals ---------------------------------------------------------------------------------------------------------------------


def test_proposals_are_circuits_of_the_table_the_best_first(learned):
    few, _, generator = learned
    table = TruthTable.of(few[0])
    found = generator(table, 12, 3)
    wrong = [bits_distance(one, table) for one in found]
    assert len(found) == 12 and wrong == sorted(wrong)
    assert {(one.n_inputs, one.n_outputs) for one in found} == {(3, 1)}
    more = CircuitGenerator(generator.tokenizer, n_draws=1)
    more.network_ = generator.network_
    assert np.mean(wrong) < np.mean([bits_distance(one, table) for one in more(table, 12, 3)])


def test_proposals_follow_from_the_seed(learned):
    few, tokenizer, trained = learned
    table = TruthTable.of(few[1])
    generator = CircuitGenerator(tokenizer, temperature=3.0)  # so that proposals differ
    generator.network_ = trained.network_

    def drawn(seed):
        return [
            (one.gates.tobytes(), one.left.tobytes(), one.right.tobytes())
            for one in generator(table, 8, seed)
        ]

    assert drawn(0) == drawn(0) != drawn(1)


def test_what_was_learned_depends_on_the_table(learned):
    few, tokenizer, trained = learned
    generator = CircuitGenerator(tokenizer, n_draws=1)  # none of them is picked by its wrong bits
    generator.network_ = trained.network_
    own, other = [], []
    tables = [TruthTable.of(circuit) for circuit in few]
    for k, table in enumerate(tables):
        for one in generator(table, 4, k):
            own.append(bits_distance(one, table))
            other.append(bits_distance(one, tables[(k + 7) % len(tables)]))
    assert np.mean(own) < 0.85 * np.mean(other), (np.mean(own), np.mean(other))


def test_rows_that_do_not_matter_are_not_counted(learned):
    few, _, generator = learned
    care = np.arange(8)[:, None] < 3
    table = TruthTable.of(few[2].truth_table(), care=care)
    wrong = [bits_distance(one, table) for one in generator(table, 8)]
    assert wrong == sorted(wrong) and max(wrong) <= 3


@pytest.mark.parametrize("rounds", [1, 2, 9])
def test_all_codes_are_filled_in_however_many_rounds(learned, rounds):
    few, tokenizer, generator = learned
    other = CircuitGenerator(tokenizer, n_rounds=rounds)
    other.network_ = generator.network_
    codes = other._drawn(TruthTable.of(few[0]), 20, torch.Generator().manual_seed(0))
    assert codes.shape == (20, 4) and int(codes.max()) < 96  # 96 is the mask


def test_rounds_fill_in_by_the_cosine_and_what_is_sure_stays(learned):
    few, tokenizer, generator = learned
    asked = []
    other = CircuitGenerator(tokenizer, n_rounds=4)
    network = generator.network_

    class Watched:
        mask = network.mask

        def __call__(self, codes, tables):
            asked.append(codes.clone())
            return network(codes, tables)

    other.network_ = Watched()
    last = other._drawn(TruthTable.of(few[0]), 10, torch.Generator().manual_seed(0))
    masked = [(codes == 96).sum(dim=1) for codes in asked]
    expected = [4, *(int(4 * np.cos(np.pi / 2 * k / 4)) for k in (1, 2, 3))]
    assert [set(count.tolist()) for count in masked] == [{count} for count in expected]
    for before, after in zip(asked, [*asked[1:], last], strict=True):
        assert torch.equal(before[before != 96], after[before != 96])


def test_a_search_begins_at_what_is_proposed(learned):
    few, _, generator = learned
    search = CircuitSearch(layers=(4, 4), n_restarts=6, n_steps=40, check_every=5, prior=generator)
    results = [search.search(TruthTable.of(circuit)) for circuit in few[:6]]
    assert any(result.first_exact == 0 for result in results)
    assert all(
        bits_distance(r.circuit, TruthTable.of(c)) == r.bits_distance
        for r, c in zip(results, few[:6], strict=True)
    )


# --- refusals ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_gates": 0}, "max_gates=0"), ({"n_codes": 0}, "n_codes=0"), ({"dim": 6}, "multiple of 4"), ({"dim": 0}, "dim=0"),
        ({"depth": 0}, "depth=0"), ({"n_steps": 0}, "n_steps=0"), ({"batch_size": 0}, "batch_size=0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"), ({"learning_rate": float("nan")}, "learning_rate=nan"),
    ],
)  # fmt: skip
def test_settings_of_a_tokenizer_out_of_range_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        CircuitTokenizer(**{"max_gates": 3} | options)


@pytest.mark.parametrize(
    "options",
    [{"n_rounds": 0}, {"n_draws": 0}, {"temperature": 0.0}, {"temperature": float("nan")}, {"n_steps": 0}, {"batch_size": 0}],
)  # fmt: skip
def test_settings_of_a_generator_out_of_range_are_refused(options):
    with pytest.raises(ParameterError, match=next(iter(options))):
        CircuitGenerator(CircuitTokenizer(3), **options)
    with pytest.raises(ParameterError, match="n_steps=0"):
        GraphPlan(0, 1, 0.1, 0)


def test_circuits_of_other_shapes_are_refused(learned):
    few, tokenizer, generator = learned
    with pytest.raises(DataError, match="of 0 shapes"):
        CircuitTokenizer(3).fit([])
    with pytest.raises(DataError, match="got a circuit of .* gates; expected at most 1"):
        CircuitTokenizer(1).fit(few)
    for inputs in (0, 7):
        constant = Circuit.from_truth_table(np.ones(1 << inputs, bool))
        with pytest.raises(DataError, match=f"circuits of {inputs} inputs and 1 outputs; expected 1 to 6"):
            CircuitTokenizer(3).fit([constant])
    other = circuits(4, inputs=4)
    for refuse in (tokenizer.encode, generator.fit):
        with pytest.raises(DataError, match="learned circuits of 3 inputs, 1 outputs and 3 slots"):
            refuse(other)
    with pytest.raises(DataError, match="got 3, 1 and 5"):
        tokenizer.encode(CircuitGraphs.of(few, 5))
    for outputs in (np.zeros((16, 1)), np.zeros((8, 2))):
        with pytest.raises(DataError, match="the generator learned circuits of 3 inputs and 1 outputs"):
            generator(TruthTable.of(outputs), 2)
    with pytest.raises(ParameterError, match="count=0"):
        generator(TruthTable.of(few[0]), 0)


def test_what_has_learned_nothing_says_so():
    few = circuits(4)
    tokenizer = CircuitTokenizer(3)
    for call in (
        lambda: tokenizer.encode(few), lambda: tokenizer.decode(np.zeros((1, 4), int)), lambda: CircuitGenerator(tokenizer).fit(few),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match="CircuitTokenizer has learned no circuits yet; call fit"):
            call()
    with pytest.raises(ParameterError, match="CircuitGenerator has learned nothing yet; call fit"):
        CircuitGenerator(tokenizer)(TruthTable.of(few[0]), 2)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros(4, int), "shape \\(4,\\)"), (np.zeros((2, 3), int), "shape \\(2, 3\\)"), (np.zeros((2, 4)), "whole numbers"),
        (np.full((2, 4), 96), "outside 0 .. 95"), (np.full((2, 4), -1), "outside 0 .. 95"),
    ],
)  # fmt: skip
def test_codes_that_are_none_are_refused(learned, codes, message):
    with pytest.raises(DataError, match=message):
        learned[1].decode(codes)


def test_tensors_are_the_arrays():
    graphs = CircuitGraphs.of(circuits(5), 3)
    kinds, operands, tables = tensors(graphs)
    assert torch.equal(kinds, torch.from_numpy(graphs.kinds)) and operands.shape == (5, 4, 2)
    assert tables.dtype == torch.get_default_dtype() and np.array_equal(tables.numpy(), graphs.tables)
