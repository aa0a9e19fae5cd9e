"""`sweep ...`: the command line. The only part of the engine that knows every room."""
