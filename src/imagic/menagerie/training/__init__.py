"""Training of everything the menagerie ships: one loop, one file per network."""
