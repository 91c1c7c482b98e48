"""One job stage by stage, and the page about speed that is generated from all reports."""
