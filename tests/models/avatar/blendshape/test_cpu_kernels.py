"""The light of CPUs: the bytes of the kernel for GPUs, which runs on both."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from models.avatar.appearance import RenderOptions
from models.avatar.blendshape import warp_painter
from models.avatar.blendshape.renderer import BlendshapeAvatar

Tensor = torch.Tensor


def light_pixels_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the light of CPUs by that of GPUs."""
    kernels = warp_painter.shading_kernels()
    launch = warp_painter.KernelPainter._launch

    def by_pixel(self: Any, kernel: Any, shape: tuple[int, ...], inputs: list[Any]) -> None:
        if kernel is kernels.light_pixels:
            *_, samples, keys, _ = inputs
            shape = (*shape, keys.shape[2] // samples)
        launch(self, kernel, shape, inputs)

    other = SimpleNamespace(light_rows=kernels.light_pixels)
    monkeypatch.setattr(warp_painter, "_cpu_kernels", lambda: other)
    monkeypatch.setattr(warp_painter.KernelPainter, "_launch", by_pixel)


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
@pytest.mark.parametrize("background", [None, "transparent"])
def test_both_kernels_give_the_same_bytes(
    demo: BlendshapeAvatar,
    face: Tensor,
    pose: Tensor,
    samples: int,
    background: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cameras = [demo.camera("front").resized(90, 120), demo.camera("side").resized(302, 120)]
    options = RenderOptions(samples=samples, background=background, shading="fast")
    ours = np.concatenate(list(demo.render(face[:2], pose[:2], cameras, options=options)))

    light_pixels_by_row(monkeypatch)

    other = np.concatenate(list(demo.render(face[:2], pose[:2], cameras, options=options)))
    assert np.array_equal(ours, other)
    assert ours.std() > 20


def test_the_light_of_cpus_is_of_wet_and_matt_surfaces(demo: BlendshapeAvatar) -> None:
    """The demo person has all kinds of surface that the kernels distinguish."""
    shine = demo.model.shine
    assert shine.min() < 0.15
    assert ((shine > 0.15) & (shine < 0.8)).any()
    assert shine.max() > 0.8
