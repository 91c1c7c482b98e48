"""Toy avatar kind: frames of one grey, chosen by the request field `grey`."""

from contracts.avatar_kinds import AvatarKind, AvatarSetting

BRIGHTNESS = AvatarSetting("toy_brightness", int, 0, "brightness of the toy")


class ToyAvatar:
    def __init__(self, folder, brightness):
        from models.avatar.camera import read_cameras

        self.cameras, self.brightness = read_cameras(folder / "cameras.json"), brightness

    def camera(self, name=None):
        from models.avatar.camera import camera_named

        return camera_named(name, self.cameras)

    def render(self, face, pose, cameras, *, batch, options):
        import numpy as np

        height, width = cameras[0].height, sum(camera.width for camera in cameras)
        grey = options.option("grey", 0) + self.brightness
        spread = int(pose.abs().sum() > 0)  # 0 for motion of the toy sampler
        for start in range(0, len(face), batch):
            count = min(batch, len(face) - start)
            frames = np.full((count, height, width, options.channels), grey, np.uint8)
            frames[..., 1] = spread
            yield frames


def load(folder, *, device, settings):
    return ToyAvatar(folder, settings["toy_brightness"])


AVATAR_KIND = AvatarKind("toy", "frames of one grey", load, settings=(BRIGHTNESS,))
