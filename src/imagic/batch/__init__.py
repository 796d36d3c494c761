"""Many edits: a folder or a table in, a folder out, by this process, by several, or by a Ray cluster.

`engine.run` gives tasks to a crew of workers and keeps a row of each, exactly once; `imagic bench` runs on it too.
`edits` is the work of an edit, `reading` finds the jobs, and `results` is what is done of them.
"""
