"""A process of its own for one synthesis: `python yosys_process.py COMMANDS`. It imports nothing but pyosys, so it starts at once."""

import sys

from pyosys import libyosys

if __name__ == "__main__":
    design = libyosys.Design()
    for command in sys.argv[1].splitlines():
        libyosys.run_pass(command, design)
