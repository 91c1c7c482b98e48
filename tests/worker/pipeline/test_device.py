"""Choice of device and threads from the settings."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jobs.settings import Settings
from tests.house.source import ROOT
from worker.pipeline.device import ARENAS, DeviceError, choose_device, describe, start, works

ALLOCATING = """
import ctypes
import threading

from worker.pipeline.device import limit_arenas

limit_arenas()
together = threading.Barrier(8)


def allocate() -> None:
    together.wait()
    kept = [bytearray(100_000) for _ in range(100)]
    together.wait()
    del kept


threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
ctypes.CDLL(None).malloc_stats()
"""

WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "CPU", "", "mps"])
def test_an_invalid_device_name_is_rejected(name: str) -> None:
    with pytest.raises(DeviceError, match="use auto, cpu, cuda"):
        choose_device(name)


@WITHOUT_GPU
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_missing_gpu_is_rejected(name: str) -> None:
    with pytest.raises(
        DeviceError, match=f"VISAVIS_DEVICE: {name} is not available, because torch"
    ):
        choose_device(name)


@WITHOUT_GPU
def test_auto_selects_the_cpu_without_a_gpu() -> None:
    device = choose_device("auto")

    assert describe(device) == "cpu"
    assert works(device)


@pytest.mark.gpu
def test_auto_selects_the_first_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:0")
    with pytest.raises(DeviceError, match="does not exist; the last of"):
        choose_device("cuda:99")


def test_the_number_of_threads_is_set(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        start(Settings(data=tmp_path, device="cpu", threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_threads_share_few_arenas() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATING], cwd=ROOT, capture_output=True, text=True
    )
    assert 1 <= done.stderr.count("Arena ") <= ARENAS, done.stderr
