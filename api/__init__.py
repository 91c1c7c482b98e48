"""The HTTP door: uploads, jobs, people, health and the page. Knows `jobs` and nobody else."""
