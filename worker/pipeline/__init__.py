"""Pipeline from audio and a request to output files, without jobs or a server."""
