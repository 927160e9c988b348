"""Keys and values: a token's numbers do not depend on how they came about, and the store forgets safely."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from actors.batching.attention import GROUPED, INVARIANT, PADDED, SINGLE, register
from actors.batching.forward import Runner, probe
from actors.batching.kv import KVShape, SlotCache
from actors.embedded.models import build_tokenizer
from actors.transformers_engine.prefix import PrefixStore, Stored
from tests.actors.small_models import ALPHABET, save_policy

LENGTH = 260


def load_runner(folder: Path, attention: str, *, invariant: bool = True) -> Runner:
    register()
    model = LlamaForCausalLM.from_pretrained(folder, attn_implementation=attention).eval()
    shape = KVShape.of(model.config, model.dtype, model.device)
    return Runner(model, shape, invariant=invariant)


@pytest.fixture(scope="module", params=["heads", "shared"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    num_kv_heads = {"heads": 2, "shared": 1}[request.param]
    target = tmp_path_factory.mktemp(request.param)
    return save_policy(target, build_tokenizer(ALPHABET), num_kv_heads=num_kv_heads, context=512)


@pytest.mark.parametrize("attention", [PADDED, SINGLE])
@torch.inference_mode()
def test_a_tokens_logits_are_bitwise_the_same_by_every_route(
    folder: Path, attention: str, num_threads: int
) -> None:
    """Prefill or decode, alone or beside others, narrow or wide, in any chunks: one result."""
    assert torch.get_num_threads() == num_threads
    runner = load_runner(folder, attention)
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, 29, LENGTH)
    cache = SlotCache(runner.shape)
    zero = np.zeros(1, np.int64)
    reference = runner.forward(cache, tokens[None], zero)[0]
    for num_rows, row in ((1, 0), (5, 3), (33, 32)):
        others = SlotCache(runner.shape)
        done = np.zeros(num_rows, np.int64)
        lengths = [LENGTH if num_rows < 33 else 150] * num_rows
        while done[row] < lengths[row]:
            most = min(int(rng.choice([1, 1, 3, 16, 60, 200])), lengths[row] - int(done[row]))
            num_queries = runner.num_queries(num_rows, most) if most > 1 else 1
            rows = max(num_rows, 16) if most == 1 else num_rows
            chunk = rng.integers(3, 29, (rows, num_queries))
            chunk[row, :most] = tokens[done[row] : done[row] + most]
            starts = np.zeros(rows, np.int64)
            starts[:num_rows] = done
            logits = runner.forward(others, chunk, starts)[row, :most]
            assert torch.equal(logits, reference[done[row] : done[row] + most])
            # The others stand elsewhere, so that the width differs from what this row needs.
            done += rng.integers(1, most + 1, num_rows)
            done[row] = starts[row] + most
        width = lengths[row]
        assert torch.equal(others.data[:, :, row, :, :width], cache.data[:, :, 0, :, :width])


@torch.inference_mode()
def test_logits_are_those_of_the_model(folder: Path) -> None:
    tokens = np.random.default_rng(1).integers(3, 29, (2, 70))
    expected = LlamaForCausalLM.from_pretrained(folder).eval()(torch.from_numpy(tokens)).logits
    for attention in (PADDED, SINGLE, GROUPED, "sdpa"):
        runner = load_runner(folder, attention, invariant=attention in INVARIANT)
        cache = SlotCache(runner.shape)
        first = runner.forward(cache, tokens[:, :64], np.zeros(2, np.int64))
        second = runner.forward(cache, tokens[:, 64:], np.full(2, 64))
        assert torch.allclose(torch.cat([first, second], 1), expected, atol=1e-4)


@torch.inference_mode()
def test_grouped_attention_copies_no_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' own copies them for each head, which takes longer than all else of a step."""

    def copies(*_args: object) -> None:
        raise AssertionError("keys are copied")

    monkeypatch.setattr("transformers.integrations.sdpa_attention.repeat_kv", copies)
    tokens, begin = np.full((2, 1), 5), np.zeros(2, np.int64)
    for attention in (GROUPED, "sdpa"):
        runner = load_runner(folder, attention, invariant=False)
        are_shared = runner.shape.num_heads < runner.model.config.num_attention_heads
        with pytest.raises(AssertionError) if are_shared and attention == "sdpa" else nullcontext():
            runner.forward(SlotCache(runner.shape), tokens, begin)


@torch.inference_mode()
def test_the_probe_tells_the_paths_apart(folder: Path) -> None:
    assert probe(load_runner(folder, PADDED))
    assert probe(load_runner(folder, SINGLE))
    assert not probe(load_runner(folder, "sdpa", invariant=False))
    assert not probe(load_runner(folder, "eager", invariant=True)), "eager attention is not invariant"


SHAPE = KVShape(num_layers=2, num_heads=1, head_dim=3, dtype=torch.float32, device=torch.device("cpu"))


def keys_of(tokens: tuple[int, ...]) -> torch.Tensor:
    """Made-up keys and values that depend on each token and all tokens before it."""
    names = [hash(tokens[: i + 1]) % 1_000_003 for i in range(len(tokens))]
    return torch.tensor(names, dtype=torch.float32)


def remember(store: PrefixStore, *sequences: tuple[int, ...]) -> None:
    cache = SlotCache(SHAPE)
    cache.reserve(len(sequences), max(map(len, sequences)))
    for slot, tokens in enumerate(sequences):
        cache.data[:, :, slot, :, : len(tokens)] = keys_of(tokens)[:, None]
    store.insert(cache, [Stored(slot, tokens) for slot, tokens in enumerate(sequences)])


def assert_loads(store: PrefixStore, tokens: tuple[int, ...]) -> int:
    """What is known of ``tokens`` is right; returns how much that is."""
    places = store.match(tokens)
    cache = SlotCache(SHAPE)
    cache.reserve(1, len(tokens))
    store.load(cache, [0], [0], [places])
    found = cache.data[1, 1, 0, 0, : len(places), 2]
    assert torch.equal(found, keys_of(tokens)[: len(places)])
    return len(places)


SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=25)


@given(SEQUENCES)
def test_the_store_knows_the_longest_prefix(sequences: list[tuple[int, ...]]) -> None:
    store = PrefixStore(SHAPE, 10_000 * SHAPE.bytes_per_token)
    for i in range(0, len(sequences), 3):
        remember(store, *sequences[i : i + 3])
    for tokens in sequences:
        assert assert_loads(store, tokens) == len(tokens)
        longer = (*tokens, 0, 1)
        prefixes = {s[:n] for s in sequences for n in range(len(s) + 1)}
        assert assert_loads(store, longer) == max(n for n in range(len(longer) + 1) if longer[:n] in prefixes)
    assert store.num_tokens == len({s[: n + 1] for s in sequences for n in range(len(s))})


@given(SEQUENCES, st.integers(0, 12))
def test_a_full_store_forgets_and_never_lies(sequences: list[tuple[int, ...]], capacity: int) -> None:
    store = PrefixStore(SHAPE, capacity * SHAPE.bytes_per_token)
    for i in range(0, len(sequences), 2):
        remember(store, *sequences[i : i + 2])
        assert store.num_tokens <= capacity
        for tokens in sequences[: i + 2]:
            assert_loads(store, tokens)
    if len(sequences[-1]) <= capacity and len(sequences) % 2:
        assert assert_loads(store, sequences[-1]) == len(sequences[-1]), "the newest is kept"


def test_the_least_recently_used_leaf_goes_first() -> None:
    store = PrefixStore(SHAPE, 6 * SHAPE.bytes_per_token)
    remember(store, (1, 2, 3))
    remember(store, (1, 2, 4))
    remember(store, (5, 6))
    store.match((1, 2, 3))
    remember(store, (7,))
    assert len(store.match((1, 2, 4))) == 2
    assert len(store.match((1, 2, 3))) == 3
    remember(store, (8,), (9,))
    assert len(store.match((5, 6))) == 0


def test_growing_a_cache_keeps_what_it_holds() -> None:
    cache = SlotCache(SHAPE)
    cache.reserve(3, 10)
    cache.write(np.array([2, 2]), np.array([0, 9]), torch.full((2, 2, 2, 1, 3), 7.0))
    before = cache.read(np.array([2, 2, 0]), np.array([0, 9, 0]))
    cache.reserve(40, 100)
    assert torch.equal(cache.read(np.array([2, 2, 0]), np.array([0, 9, 0])), before)
    assert before[:, 0, 0, 0, 0].tolist() == [7, 7, 0]
    assert cache.data[:, :, 3:].abs().sum() == 0
