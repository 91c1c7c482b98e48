"""HTTP service: uploads, jobs, people, health and the web page."""
