"""toysup in one file: train three of the post's conditions in plain NumPy and measure their superposition.

The model is x' = ReLU(WᵀW x + b), from 20 features to 10 hidden dimensions and back. A hidden context is comedy or
tragedy by a fair coin; features 1-10 belong to comedy, 11-20 to tragedy. In `fixed` the context has no effect, in
`conditional` it decides which errors matter, and in `anticorrelated` which features can be active.

`python docs/nano_toysup.py --seeds 5` takes about 13 s on one core. It prints the number of represented features, the
energy of each quadrant of WᵀW and the last epoch's training loss: means over seeds ± half of Student's 95% interval.

                   represented   comedy-comedy  comedy-tragedy  tragedy-comedy tragedy-tragedy     1000 × loss
fixed             17.20 ± 0.56     3.41 ± 2.12     3.56 ± 1.82     3.56 ± 1.82     3.61 ± 3.35    14.29 ± 0.68
conditional       16.80 ± 0.56     3.18 ± 2.28     3.56 ± 1.85     3.56 ± 1.85     3.18 ± 2.30     7.18 ± 0.45
anticorrelated    20.00 ±  nan     0.02 ± 0.06    10.24 ± 0.58    10.24 ± 0.58     0.01 ± 0.04     0.04 ± 0.12
"""

import argparse

import numpy as np

N_FEATURES, N_HIDDEN, SUBSET_SIZE = 20, 10, 10
SAMPLES, BATCH_SIZE, EPOCHS = 100_000, 256, 12
LEARNING_RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
STATISTICS = ("represented", "comedy-comedy", "comedy-tragedy", "tragedy-comedy", "tragedy-tragedy", "1000 × loss")

# A regime is three tables: context_probability (context,), activation_probability and importance (context, feature).
COIN, PROBABILITY = np.array([0.5, 0.5]), np.full((2, N_FEATURES), 0.15)
IMPORTANCE = np.tile(0.7 ** np.arange(1, SUBSET_SIZE + 1), (2, 2))
INSIDE = np.repeat(np.eye(2), SUBSET_SIZE, axis=1)  # Row c is 1 for the features of context c, and 0 for the others.
REGIMES = {
    "fixed": (COIN, PROBABILITY, IMPORTANCE),
    "conditional": (COIN, PROBABILITY, IMPORTANCE * INSIDE),
    "anticorrelated": (COIN, PROBABILITY * INSIDE, IMPORTANCE),
}


def sample(context_probability, activation_probability, rng, size):
    """Draw x (sample, feature) and the index of each sample's context (sample,)."""
    context = rng.choice(2, size, p=context_probability)
    # Given the context, features are independent. The value of an active feature is uniform on [0, 1].
    active = rng.random((size, N_FEATURES), np.float32) < activation_probability[context]
    return active * rng.random((size, N_FEATURES), np.float32), context


def batches(x, context, rngs, epochs):
    """Yield x (seed, row, feature) and context (seed, row). Each epoch takes every sample once, in a new order."""
    seed = np.arange(len(x))[:, None]
    for _ in range(epochs):
        order = np.stack([rng.permutation(x.shape[1]) for rng in rngs])
        for rows in np.split(order, range(BATCH_SIZE, x.shape[1], BATCH_SIZE), axis=1):
            yield x[seed, rows], context[seed, rows]


def loss_and_gradients(W, b, x, importance):
    """Each seed's L = mean over rows of Σ_i I_i (x'_i - x_i)², and the gradients of L with respect to W and b."""
    hidden = x @ W.mT
    before_relu = hidden @ W + b[:, None]
    error = np.maximum(before_relu, 0) - x
    loss = (importance * error**2).sum((1, 2)) / x.shape[1]
    # δ = dL/d(WᵀW x + b). The square gives 2 I error. ReLU passes a gradient only where its input is positive.
    delta = 2 / x.shape[1] * importance * error * (before_relu > 0)
    # W is used twice: Wᵀ decodes, which gives h δᵀ, and W encodes, which gives (W δ) xᵀ because dL/dh = W δ.
    return loss, hidden.mT @ delta + (delta @ W.mT).mT @ x, delta.sum(1)


def train(importance, W, batches):
    """Train W (seed, hidden, feature), and b from 0, with Adam. Return W, b (seed, feature) and losses (step, seed)."""
    W, b, losses = W.copy(), np.zeros_like(W[:, 0]), []
    first, second = ([np.zeros_like(W), np.zeros_like(b)] for _ in range(2))  # Adam's running means of g and of g²
    for step, (x, context) in enumerate(batches, start=1):
        loss, *gradients = loss_and_gradients(W, b, x, importance.astype(W.dtype)[context])
        losses.append(loss)
        for parameter, g, m, v in zip((W, b), gradients, first, second, strict=True):
            m += (1 - BETA1) * (g - m)
            v += (1 - BETA2) * (g**2 - v)
            # Both means start at 0; dividing by 1 - βᵗ removes the bias towards it.
            parameter -= LEARNING_RATE * m / (1 - BETA1**step) / (np.sqrt(v / (1 - BETA2**step)) + EPSILON)
    return W, b, np.array(losses)


def measure(W):
    """The number of represented features (seed,), and each quadrant's energy Σ_{i≠j} G_ij² (seed, subset, subset)."""
    G = W.mT @ W  # G_ij is the linear response of output i to feature j: for i ≠ j, interference. G is symmetric.
    energy = np.where(np.eye(N_FEATURES, dtype=bool), 0, G**2).reshape(-1, 2, SUBSET_SIZE, 2, SUBSET_SIZE).sum((2, 4))
    return (G.diagonal(axis1=1, axis2=2) >= 0.5).sum(1), energy  # A feature is represented if ‖W_i‖² ≥ ½.


def half_width(values):
    """Half of Student's 95% interval for the mean over seeds; NaN if all agree and so give no estimate of the error."""
    # With t = √ν tan θ, Student's density is cos^(ν-1) θ up to a factor; inverting its integral gives the quantile.
    degrees, theta = len(values) - 1, np.linspace(0, np.pi / 2, 10_001)
    integral = np.cumsum(np.cos((theta[1:] + theta[:-1]) / 2) ** (degrees - 1))
    quantile = np.sqrt(degrees) * np.tan(np.interp(0.95, integral / integral[-1], theta[1:]))
    return quantile * np.std(values, ddof=1) / np.sqrt(len(values)) if np.ptp(values) else np.nan


def run(context_probability, activation_probability, importance, seeds, epochs):
    """Train one model per seed; return STATISTICS (statistic, seed). Conditions share each seed's random numbers."""
    rngs = [np.random.default_rng(seed) for seed in range(seeds)]
    xavier = np.sqrt(2 / (N_FEATURES + N_HIDDEN))
    W = np.stack([rng.normal(0, xavier, (N_HIDDEN, N_FEATURES)) for rng in rngs]).astype(np.float32)
    datasets = [sample(context_probability, activation_probability, rng, SAMPLES) for rng in rngs]
    x, context = map(np.stack, zip(*datasets, strict=True))
    W, _, losses = train(importance, W, batches(x, context, rngs, epochs))
    represented, energy = measure(W)
    return np.stack([represented, *energy.reshape(seeds, 4).T, 1000 * losses.reshape(epochs, -1, seeds)[-1].mean(0)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="models per condition")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over each dataset")
    options = vars(parser.parse_args())
    print(f"{'':14}" + "".join(f"{name:>16}" for name in STATISTICS))
    for condition, tables in REGIMES.items():
        cells = (f"{values.mean():9.2f} ± {half_width(values):4.2f}" for values in run(*tables, **options))
        print(f"{condition:14}" + "".join(cells))


if __name__ == "__main__":
    main()
