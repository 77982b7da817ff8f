"""Times commands in turns: python bench/with_commands.py ROUNDS '{"name": ["argv", ...], ...}'.

@ in a word of a command is the command's name and the number of the turn: NAME-0 and on.
"""

from __future__ import annotations

import json
import os
import sys

from measure import seconds_of


def main(rounds: int, commands: dict[str, list[str]]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, argv in commands.items():
            took = seconds_of([word.replace("@", f"{name}-{turn}") for word in argv], os.environ)
            if turn:  # the first turn fills the caches
                times[name].append(took)
    return times


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), json.loads(sys.argv[2]))))
