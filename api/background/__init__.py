"""Tasks that run beside the API's requests: upkeep, webhooks, job watching, shutdown."""
