"""Triangle rasterisation: a plain path and warp kernels."""
