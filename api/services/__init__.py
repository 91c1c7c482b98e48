"""What routes do: accept uploads, submit jobs, serve files, answer conditional requests."""
