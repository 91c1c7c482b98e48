"""Turns a job into an MP4: claim, decode, animate, render, encode, publish."""
