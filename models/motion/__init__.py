"""Audio to motion: 256 face codes and 104 joint angles at 30 frames a second."""

from models.motion.pipeline import Animator, Motion, MotionError, Sampling, load_animator, take_seed

__all__ = ["Animator", "Motion", "MotionError", "Sampling", "load_animator", "take_seed"]
