"""Binary glTF 2.0 files: takes (glb), avatars (VRM) and VRM animations (vrma)."""
