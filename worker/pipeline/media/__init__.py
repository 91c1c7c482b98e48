"""Reading of audio, and writing of video files by ffmpeg."""
