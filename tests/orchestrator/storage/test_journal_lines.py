"""Journal lines: what is written reads back exactly, and a digest knows one request from another."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.protocols import (
    Completion,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    OptionsRequest,
    ScoreReply,
    ScoreRequest,
)
from orchestrator.storage.journal_lines import (
    FORMAT,
    Record,
    Reply,
    _checked,
    checksum_of,
    digest_of,
    read_record,
    write_record,
)
from orchestrator.types import (
    Denoising,
    EstimatedDenoising,
    Finish,
    Reward,
    RoundRecord,
    Sampling,
    Step,
    Usage,
)

numbers = st.floats(allow_nan=False)
counts = st.integers(0, 2**40)
usages = st.builds(Usage, *[counts] * 7, st.floats(0, 1e300))
steps = st.builds(
    Step,
    st.text(st.characters(exclude_categories=())),  # lone surrogates too: half of a character may be cut off
    st.lists(counts, max_size=5).map(tuple),
    st.none() | numbers,
    st.none(),
    st.sampled_from(Finish),
)
replies: st.SearchStrategy[Reply] = st.one_of(
    st.builds(Completion, st.lists(steps, max_size=3).map(tuple), usages),
    st.builds(ScoreReply, st.lists(numbers.map(Reward), max_size=3).map(tuple), usages),
    st.builds(Loglik, st.lists(numbers, max_size=3).map(tuple), usages),
    st.builds(RoundRecord, counts, st.floats(0, 1), st.floats(0, 1e6), counts),
)

REQUEST = GenerateRequest("p", "q", "i", (1, 2, 3), Sampling(0.8, 1.0, 16), 7, "\n", None)


@given(st.text(), st.none() | st.lists(replies, max_size=4).map(tuple))
def test_a_line_reads_back_exactly_and_is_strict_json(call: str, replied: tuple[Reply, ...] | None) -> None:
    record = Record(call, "ab" * 16, 1.25, 2, 3, replied)
    line = write_record(record, 0xABCDEF)
    assert read_record(line, 0xABCDEF) == record
    assert json.loads(line)["crc32"] == f"{checksum_of(line):08x}"
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    json.loads(line, parse_constant=pytest.fail)


@pytest.mark.parametrize("other", [2, 4, "3", None])
def test_a_line_of_another_format_is_none(other: object) -> None:
    """As of a release that wrote digests or replies otherwise: it is asked again, and not misread."""
    line = json.loads(write_record(Record("c", "", 0.0, 1, 1, ())))
    assert line.pop("format") == FORMAT and line.pop("crc32")
    for changed in (line, {**line, "format": other}):
        text = json.dumps(changed).encode()
        for written in (text + b"\n", _checked(text[:-1], 0)):
            with pytest.raises((ValueError, KeyError)):
                read_record(written)


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_a_digest_takes_any_text(one: str, two: str) -> None:
    """Half of a character too: a byte-level tokenizer may cut a step off there."""
    texts = [digest_of([ScoreRequest("p", "q", (text,), 0)]) for text in (one, two, one)]
    assert texts[0] == texts[2]
    assert (texts[0] == texts[1]) == (one == two)


@pytest.mark.parametrize(
    ("request_", "digest"),
    [
        (LoglikRequest("p", "q", "i", (1, 2), ((3,),)), "bf5418b5912306e8d3c32197a1e207f8"),
        (ScoreRequest("p", "q", ("a\n",), 0), "4828fd2af50a886881367aa933d7b994"),
        (
            OptionsRequest("p", "q", "i", (1, 2), (), (), "Right?", ("yes", "no")),
            "38fc12ad6abeb1c1abbf9e7f9ffb1324",
        ),
    ],
)
def test_a_request_at_its_problems_home_has_the_digest_of_earlier_releases(
    request_: LoglikRequest | ScoreRequest, digest: str
) -> None:
    assert digest_of([request_]) == digest
    assert digest_of([request_.at("p#1")]) != digest


def test_the_estimate_of_a_canvas_is_kept_and_no_other_line_has_one() -> None:
    """Lines and digests of requests without it are those of earlier releases."""
    plain, estimated = (
        Completion((Step("a", (1,), -1.0, None, Finish.EOS, one_step_nll=x),), Usage()) for x in (None, 0.5)
    )
    for reply in (plain, estimated):
        line = write_record(Record("c", "", 0.0, 1, 1, (reply,)))
        assert read_record(line).replies == (reply,)
        assert (b"one_step_nll" in line) is (reply is estimated)
    canvas = replace(REQUEST, params=Denoising(8, 16, 4))
    assert digest_of([canvas]) == "c0ceb17ea2cdee7e246b3841d06ac3a4"
    assert digest_of([replace(REQUEST, params=EstimatedDenoising(8, 16, 4))]) != digest_of([canvas])


def test_the_nucleus_of_a_canvas_leaves_no_trace_where_there_is_none() -> None:
    """Digests are those of releases without it, those of half a character included."""
    canvas, estimated = (replace(REQUEST, params=kind(8, 16, 4)) for kind in (Denoising, EstimatedDenoising))
    assert digest_of([replace(canvas, question="\ud800")]) == "20be0b46adf3fbb7c319ce26de06ce98"
    assert digest_of([estimated]) == "db06e22f42739febe8d85692e76070c9"
    with_one = [replace(REQUEST, params=Denoising(8, 16, 4, top_p=p)) for p in (0.9, 0.95)]
    assert len({digest_of([each]) for each in (canvas, *with_one)}) == 3


def test_a_likelihood_that_is_no_number_stays_none() -> None:
    line = write_record(Record("c", "", 0.0, 1, 1, (Loglik((math.nan, -math.inf), Usage()),)))
    (reply,) = read_record(line).replies or ()
    assert isinstance(reply, Loglik)
    assert math.isnan(reply.logprobs[0]) and reply.logprobs[1] == -math.inf


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, home="x"),
        replace(REQUEST, question="x"),
        replace(REQUEST, instruction="x"),
        replace(REQUEST, token_ids=(1, 2)),
        replace(REQUEST, token_ids=(3, 2, 1)),
        replace(REQUEST, params=Sampling(0.8 + 1e-16, 1.0, 16)),
        replace(REQUEST, params=Sampling(0.8, 1.0, 17)),
        replace(REQUEST, params=Denoising(8, 16, 4)),
        replace(REQUEST, seed=8),
        replace(REQUEST, delimiter="\n\n"),
        replace(REQUEST, answer_marker="#"),
        replace(REQUEST, to_end=True),
        LoglikRequest("p", "q", "i", (1, 2, 3), ((4,), (5,))),
    ],
)
def test_a_digest_knows_every_field(other: object) -> None:
    assert digest_of([REQUEST]) != digest_of([other])
    assert digest_of([REQUEST, other]) != digest_of([other, REQUEST])


def test_equal_requests_have_equal_digests() -> None:
    """Whatever kind of integers an engine counts in; and for ever: a run may go on after an update."""
    numpys = replace(REQUEST, token_ids=tuple(np.array([1, 2, 3])), seed=np.int64(7))
    assert digest_of([REQUEST]) == digest_of([numpys]) == "f5b1e73387621217846d904e56c157fb"
    assert digest_of([ScoreRequest("p", "q", ("a\n", "b"), 1)]) == "7c8b09a5b90e3dfdc84f3f9881c4ebcd"
    one, two = (LoglikRequest("p", "q", "", (1,), steps) for steps in (((2,), (3,)), ((2, 3),)))
    assert digest_of([one]) != digest_of([two])
