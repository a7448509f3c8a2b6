"""What things cost on this machine: `python -m bench [name...]`. Prints tables; asserts nothing about time."""
