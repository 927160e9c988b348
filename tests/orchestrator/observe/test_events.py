"""Events: one line each, with the names of run and point, and never in the way of the search."""

from __future__ import annotations

import json
import logging
import re
import resource
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.emit import emit
from orchestrator.observe.events import EVENTS, LEVELS, recorded, run_names
from orchestrator.storage.sweep_index import INDEX

log = logging.getLogger("orchestrator.somewhere")


def events_of(run_dir: Path) -> list[dict[str, Any]]:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    lines = (run_dir / EVENTS).read_text(encoding="utf-8").splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def tell(number: int = 0) -> None:
    emit("replica_ready", "%s is ready", "engine-0", replica="engine-0", n=number)


def test_an_event_is_a_line_with_its_fields(tmp_path: Path) -> None:
    with recorded(tmp_path, "info"):
        tell()
        logging.getLogger("actors.elsewhere").warning("no event, and \u00fc")
        logging.getLogger("transformers").warning("not ours")
    tell()
    ready, warning = events_of(tmp_path)
    assert ready.pop("time").endswith("+00:00")
    assert ready == {
        "event": "replica_ready", "level": "INFO", "message": "engine-0 is ready", "run": tmp_path.name,
        "point": None, "replica": "engine-0", "n": 0,
    }  # fmt: skip
    assert (warning["event"], warning["message"]) == (None, "no event, and \u00fc")


def test_a_line_byte_for_byte(tmp_path: Path) -> None:
    """Other tools read these: the order of the fields, the escapes and the forms of times stay."""
    when = datetime(2026, 1, 2, 3, 4, 5, 6789, tzinfo=UTC)
    with recorded(tmp_path, "debug"):
        fields = {
            "zeta": 1.5,
            "run": "its own",
            "alpha": {"of": [1, None, True]},
            "at": when,
            "path": Path("/x"),
        }
        emit("told", "\u00fc %d%%", 100, level=logging.DEBUG, **fields)
        log.error("an error", exc_info=ValueError("no"))
    first, second = (tmp_path / EVENTS).read_text().splitlines()
    assert re.sub(r'^{"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"', "{", first) == (
        r'{,"event":"told","level":"DEBUG","message":"\u00fc 100%","run":"its own","point":null,'
        r'"zeta":1.5,"alpha":{"of":[1,null,true]},"at":"2026-01-02T03:04:05.006+00:00","path":"/x"}'
    )
    assert second.endswith(
        f',"event":null,"level":"ERROR","message":"an error","run":"{tmp_path.name}","point":null}}'
    )


def test_a_file_that_is_deleted_is_begun_again(tmp_path: Path) -> None:
    with recorded(tmp_path, "info"):
        tell(0)
        (tmp_path / EVENTS).unlink()
        tell(1)
    assert [line["n"] for line in events_of(tmp_path)] == [1]


def test_what_a_library_adds_to_every_record_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        record.vllm_process_name = "MainProcess"
        return record

    monkeypatch.setattr(logging, "_logRecordFactory", factory)
    with recorded(tmp_path, "info"):
        tell()
    (ready,) = events_of(tmp_path)
    assert ready["replica"] == "engine-0"
    assert ready["level"] == "INFO"
    assert "vllm_process_name" not in ready


def test_a_point_of_a_sweep_is_named_with_its_sweep(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text("{}")
    point = tmp_path / "budget=4,seed=1"
    point.mkdir()
    assert run_names(point) == {"run": tmp_path.name, "point": "budget=4,seed=1"}
    assert run_names(tmp_path) == {"run": tmp_path.name, "point": None}


@pytest.mark.parametrize("level", LEVELS)
def test_the_level_is_that_of_the_file_alone(
    level: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it is, a person sees the warnings, and nothing is left behind afterwards."""
    names = ("debug", "info", "warning", "error")
    with recorded(tmp_path, level):
        for name in names:
            log.log(logging.getLevelName(name.upper()), "this is %s", name)
    assert [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()] == [
        "WARNING: this is warning",
        "ERROR: this is error",
    ]
    if level == "none":
        assert not (tmp_path / EVENTS).exists()
    else:
        kept = [line["message"].removeprefix("this is ") for line in events_of(tmp_path)]
        assert kept == list(names[names.index(level) :])
    assert logging.getLogger("orchestrator").handlers == []
    assert not log.isEnabledFor(logging.INFO)


def test_a_full_disk_ends_no_search_and_tears_no_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """RLIMIT_FSIZE stands for the disk. What it has no room for is left out; later lines come again."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with recorded(tmp_path, "info"):
        tell(0)
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / EVENTS).stat().st_size + 10, before[1]))
        try:
            tell(1)
            tell(2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        tell(3)
    assert [line["n"] for line in events_of(tmp_path)] == [0, 3]
    (told,) = capsys.readouterr().err.splitlines()
    assert "File too large" in told and told.endswith("events.jsonl'; events are left out")


def test_a_line_that_was_cut_short_takes_no_other_along(tmp_path: Path) -> None:
    (tmp_path / EVENTS).write_text('{"event":"torn')
    with recorded(tmp_path, "info"):
        tell(1)
    torn, whole = (tmp_path / EVENTS).read_text().splitlines()
    assert torn == '{"event":"torn' and json.loads(whole)["n"] == 1


def test_a_line_that_cannot_be_made_ends_no_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with recorded(tmp_path, "info"):
        log.info("infinite", extra={"event": "x", "ratio": float("inf")})
        tell(1)
    assert [line["n"] for line in events_of(tmp_path)] == [1]
    assert "not JSON compliant" in capsys.readouterr().err
