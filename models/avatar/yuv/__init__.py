"""RGB frames as YUV 4:2:0 for video encoders: BT.709, limited range."""
