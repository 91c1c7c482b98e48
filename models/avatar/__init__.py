"""Motion to frames. Knows nothing of audio."""

from models.avatar.appearance import OWN, TRANSPARENT, RenderOptions
from models.avatar.camera import Camera, CameraError, CameraUnknown
from models.avatar.loading import Avatar, AvatarError, load_avatar

__all__ = [
    "OWN",
    "TRANSPARENT",
    "Avatar",
    "AvatarError",
    "Camera",
    "CameraError",
    "CameraUnknown",
    "RenderOptions",
    "load_avatar",
]
