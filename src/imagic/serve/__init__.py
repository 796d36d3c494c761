"""The service: edits as jobs over HTTP. A job survives the death of its worker and of the server.

`store` holds the jobs, `worker` is the process that makes them, `supervisor` keeps it alive, `service` is what the
routes call. Needs the extra `ui`.
"""
