"""Codec networks on torch's meta device: it refuses copies to the host and mixed devices."""

import pytest
import torch

from models.avatar.codec import model as codec
from models.avatar.codec.config import CodecConfig
from models.avatar.codec.model import CodecModel
from models.avatar.codec.networks.view import faces_around
from tests.models.avatar.codec.tiny import FROM_OCCLUSION, FROM_POSE, tiny_motion, tiny_released

Tensor = torch.Tensor
META = torch.device("meta")
READ_ON_THE_HOST = {"texture_spread"}  # a number of the finish, once for each person


@pytest.mark.parametrize("config", [FROM_POSE, FROM_OCCLUSION], ids=["pose", "occlusion"])
def test_all_networks_of_a_frame_stay_on_their_device(
    config: CodecConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny_released(config)
    on_host: list[int] = []

    def around(faces: Tensor, vertices: int) -> Tensor:
        """Sort on the host, once for each person: the only other copy."""
        assert faces.device == META
        on_host.append(vertices)
        return faces_around(made.weights["faces"], vertices).to(META)

    monkeypatch.setattr(codec, "faces_around", around)
    weights = {
        name: value if name in READ_ON_THE_HOST else value.to(META)
        for name, value in made.weights.items()
    }
    model = CodecModel(made.config, weights)
    face, pose = (value.to(META) for value in tiny_motion(2))

    posed = model.with_view_light(model.posed(face, pose), 0)
    texture = model.view_texture(posed, torch.zeros(3, device=META))

    assert {posed.vertices.device, posed.normals.device, texture.device} == {META}
    assert texture.shape == (2, 3, 64, 64)
    assert on_host == [len(model.body.template)]


def test_the_meta_device_finds_a_copy_to_the_host() -> None:
    weights = {name: value.to(META) for name, value in tiny_released().weights.items()}
    with pytest.raises(NotImplementedError, match="meta tensor"):
        CodecModel(tiny_released().config, weights)
