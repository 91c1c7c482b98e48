"""Operations of routes: receive uploads, submit jobs, serve files, answer conditional requests."""
