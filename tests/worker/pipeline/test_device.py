"""Device and threads are what the settings say, or the refusal says what to set."""

from pathlib import Path

import pytest
import torch

from jobs.settings import Settings
from worker.pipeline.device import DeviceError, choose_device, describe, start, works

WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.parametrize("wanted", ["gpu", "cuda:x", "CPU", "", "mps"])
def test_a_word_that_is_no_device_is_refused(wanted: str) -> None:
    with pytest.raises(DeviceError, match="set it to auto, cpu, cuda"):
        choose_device(wanted)


@WITHOUT_GPU
@pytest.mark.parametrize("wanted", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_refused(wanted: str) -> None:
    with pytest.raises(DeviceError, match=f"VISAVIS_DEVICE is {wanted} and torch"):
        choose_device(wanted)


@WITHOUT_GPU
def test_auto_takes_the_cpu_where_there_is_no_gpu() -> None:
    device = choose_device("auto")

    assert describe(device) == "cpu"
    assert works(device)


@pytest.mark.gpu
def test_auto_takes_the_first_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:0")
    with pytest.raises(DeviceError, match="there are"):
        choose_device("cuda:99")


def test_threads_are_set_where_they_are_given(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        start(Settings(data=tmp_path, device="cpu", threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
