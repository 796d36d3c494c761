"""The routes under /api/v1: thin, since what they do is in `service`."""
