"""The whole service on one machine: supervisor, embedded Redis, submission of one clip."""
