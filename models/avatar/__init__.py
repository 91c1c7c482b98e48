"""Motion to frames. Knows nothing of audio."""

from models.avatar.avatar import Avatar, AvatarError, load_avatar
from models.avatar.camera import Camera, CameraError, CameraUnknown
from models.avatar.look import OWN, TRANSPARENT, Look

__all__ = [
    "OWN",
    "TRANSPARENT",
    "Avatar",
    "AvatarError",
    "Camera",
    "CameraError",
    "CameraUnknown",
    "Look",
    "load_avatar",
]
