"""API reference as HTML, rendered from the OpenAPI document, and the documentation as Markdown."""
