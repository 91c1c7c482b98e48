"""Motion to frames. Knows nothing of audio."""

from models.avatar.avatar import Avatar, AvatarError, load_avatar
from models.avatar.camera import Camera, CameraError, CameraUnknown

__all__ = ["Avatar", "AvatarError", "Camera", "CameraError", "CameraUnknown", "load_avatar"]
