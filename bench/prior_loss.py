"""What the prior-consistency loss is worth: ``python -m bench.prior_loss [--steps 5000]``.

The recipe of ``dt-position``, trained with and without the second term of the loss for the same
number of steps; then divergences from exact posteriors, and filters of 100 steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import json

from bench.amortized import dt_position
from bench.train_amortized import RECIPES


def main() -> None:
    """Train twice and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5_000)
    options = parser.parse_args()
    recipe = RECIPES["dt-position"]
    for consistency in (1.0, 0.0):
        method = dataclasses.replace(recipe.amortizer, consistency=consistency)
        fitted = method.fit(
            recipe.source, key=0, steps=options.steps, learning_rate=recipe.learning_rate
        )
        print(f"consistency={consistency:g}", json.dumps(dt_position(fitted), indent=1), flush=True)


if __name__ == "__main__":
    main()
