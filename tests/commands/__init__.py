"""Commands of the tests, forked from a process that has imported what they import.

A command is a real process with its own arguments, folder, environment, descriptors, signals and
exit code; what it does not do again is to import TensorFlow, MLflow, DVC and the rest, a second or
three of processor time each. The project's own code is imported by each command from its folder.

`python` and `dvc`, first in the commands' PATH, are `shim.py`: it hands the command over to
`server.py`, and starts it from nothing wherever that could make a difference. `COLD=1` in the
environment, of the tests or of one command, starts everything from nothing.
"""
