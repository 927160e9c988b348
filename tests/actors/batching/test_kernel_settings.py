"""The same bits in any batch, with any kernels of a CPU: each setting in a separate process.

On a CPU that is not Intel's, MKL takes one path and ignores ``MKL_ENABLE_INSTRUCTIONS``. To make these
settings effective there too, a library of two lines answers MKL's check of the vendor, where there is a C
compiler.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy

_TESTS = Path(__file__).parents[1]
_QUICK = (
    "batching/test_tiles.py::test_every_kind_of_layer_is_tiled",
    "batching/test_tiles.py::test_products_that_a_model_calls_as_functions_are_tiled",
    "batching/test_kv.py::test_the_probe_tells_the_paths_apart",
)
_ALL = (
    "batching/test_tiles.py",
    "batching/test_kv.py",
    "batching/test_invariant_activations.py",
    "batching/test_invariance.py",
    "transformers_engine/test_transformers_engine.py",
    "transformers_engine/test_transformers_verifier.py",
    "diffusion_engine/test_diffusion_engine.py",
)
_SETTINGS = [
    *({"ATEN_CPU_CAPABILITY": name} for name in ("default", "avx2", "avx512")),
    *({"MKL_ENABLE_INSTRUCTIONS": name} for name in ("SSE4_2", "AVX2", "AVX512")),
]
_INTEL = "int mkl_serv_intel_cpu_true(void) {return 1;}\nint mkl_serv_intel_cpu(void) {return 1;}\n"


@pytest.fixture(scope="module")
def as_intel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which MKL treats this CPU as one of Intel's."""
    compiler, folder = shutil.which("cc"), tmp_path_factory.mktemp("intel")
    if compiler is None:
        return {}
    (folder / "intel.c").write_text(_INTEL)
    library = folder / "intel.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "intel.c"], check=True)
    return {"LD_PRELOAD": str(library)}


def run_tests(names: tuple[str, ...], settings: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    process = subprocess.run(
        [*command, *(str(_TESTS / name) for name in names)],
        check=False,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-2000:]


@pytest.mark.slow
def test_products_and_probe_with_other_kernels(as_intel: dict[str, str]) -> None:
    run_tests(
        _QUICK,
        {
            **as_intel,
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "ATEN_CPU_CAPABILITY": "avx2",
            "OMP_NUM_THREADS": "1",
        },
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("settings", _SETTINGS, ids=lambda settings: "-".join(*settings.items()))
def test_everything_with_other_kernels(settings: dict[str, str], as_intel: dict[str, str]) -> None:
    run_tests(_ALL, {**as_intel, **settings})
