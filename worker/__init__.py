"""Worker: claims jobs and turns audio into video."""
