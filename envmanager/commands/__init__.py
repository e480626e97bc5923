"""The commands: each takes the parsed options and returns an `Outcome`; `cli` prints it."""
