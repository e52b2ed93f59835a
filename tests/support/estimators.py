"""Maximum likelihood estimators of the models the simulated shop follows, each with its standard errors.

They are written from the published likelihoods and know nothing of the simulator.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import gammaln

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """Parameters and their standard errors, in the order of the model."""

    values: Floats
    errors: Floats

    def deviations(self, truth: list[float]) -> Floats:
        """How many standard errors the estimates are away from the truth."""
        return (self.values - np.array(truth)) / self.errors


def bg_nbd(repeats: Floats, last: Floats, observed: Floats) -> Estimate:
    """r, alpha, a and b of BG/NBD.

    From each customer's number of repeat purchases, time from the first to the last purchase and time from
    the first purchase to the end of observation.

    Likelihood: Fader, Hardie, Lee, Marketing Science 24 (2005), equation 6, in the form of their note
    "Implementing the BG/NBD Model in Excel".
    """
    again = repeats > 0

    def log_likelihood(parameters: Floats) -> float:
        r, alpha, a, b = parameters
        base = gammaln(r + repeats) - gammaln(r) + r * np.log(alpha)
        base += gammaln(a + b) + gammaln(b + repeats) - gammaln(b) - gammaln(a + b + repeats)
        alive = -(r + repeats) * np.log(alpha + observed)
        dead = np.full(len(repeats), -np.inf)
        dead[again] = np.log(a) - np.log(b + repeats[again] - 1)
        dead[again] -= (r + repeats[again]) * np.log(alpha + last[again])
        return float((base + np.logaddexp(alive, dead)).mean())

    return _maximum(log_likelihood, np.ones(4), len(repeats))


def gamma_gamma(orders: Floats, mean_value: Floats) -> Estimate:
    """p, q and gamma of gamma-gamma, from each customer's number of orders and their mean value.

    Likelihood: Fader, Hardie, "The Gamma-Gamma Model of Monetary Value" (2013), equation 1a.
    """

    def log_likelihood(parameters: Floats) -> float:
        p, q, gamma = parameters
        shape = p * orders
        terms = gammaln(shape + q) - gammaln(shape) - gammaln(q) + q * np.log(gamma)
        terms += (shape - 1) * np.log(mean_value) + shape * np.log(orders)
        terms -= (shape + q) * np.log(gamma + orders * mean_value)
        return float(terms.mean())

    return _maximum(log_likelihood, np.array([2.0, 2.0, float(mean_value.mean())]), len(orders))


def zipf(counts: Floats, ranks: Floats) -> Estimate:
    """The exponent s of Zipf's law, from how often the product of each rank was sold: P(k) is k^-s / sum."""

    def log_likelihood(parameters: Floats) -> float:
        weights = -parameters[0] * np.log(ranks)
        return float((counts * (weights - np.log(np.exp(weights).sum()))).sum() / counts.sum())

    return _maximum(log_likelihood, np.ones(1), int(counts.sum()))


def elasticities(sales: Floats, log_price: Floats, group: NDArray[np.int64]) -> Estimate:
    """Price elasticity of demand by group of products, from sales by product (row) and day (column).

    Poisson regression: the mean is product effect * day effect * price ^ -elasticity of the product's group.
    The effects are profiled out by turns; where a product was not on sale its log price is not a number.
    """
    groups = int(group.max()) + 1
    on_sale = ~np.isnan(log_price)
    price = np.where(on_sale, log_price, 0.0)
    sales = np.where(on_sale, sales, 0.0)
    elasticity = np.ones(groups)
    per_day = np.ones(sales.shape[1])
    for _ in range(60):
        answer = np.where(on_sale, np.exp(-elasticity[group][:, None] * price), 0.0)
        for _ in range(3):
            per_product = sales.sum(axis=1) / (answer * per_day).sum(axis=1)
            per_day = sales.sum(axis=0) / (answer * per_product[:, None]).sum(axis=0)
        mean = answer * per_product[:, None] * per_day
        centred = np.where(on_sale, price - ((mean * price).sum(axis=1) / mean.sum(axis=1))[:, None], 0.0)
        information = np.bincount(group, (mean * centred**2).sum(axis=1), groups)
        step = np.bincount(group, ((sales - mean) * centred).sum(axis=1), groups) / information
        elasticity = elasticity - step
        if np.abs(step).max() < 1e-6:
            return Estimate(elasticity, 1 / np.sqrt(information))
    raise ValueError("the regression did not converge")


def _maximum(log_likelihood: Callable[[Floats], float], start: Floats, count: int) -> Estimate:
    """The maximum over positive parameters of a mean log-likelihood of `count` observations.

    Standard errors come from the curvature at the maximum in the parameters' logarithms.
    """

    def cost(logs: Floats) -> float:
        return -log_likelihood(np.exp(logs))

    found = minimize(cost, np.log(start), method="BFGS", options={"gtol": 1e-7})
    if np.abs(found.jac).max() > 1e-4:  # the slope is flat at a maximum
        raise ValueError(f"no maximum was found: {found.message}")
    size = len(start)
    step = 1e-3
    unit = np.eye(size) * step
    curvature = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            corners = [
                cost(found.x + first * unit[i] + second * unit[j]) * first * second
                for first in (-1, 1)
                for second in (-1, 1)
            ]
            curvature[i, j] = sum(corners) / (4 * step**2)
    errors = np.sqrt(np.diag(np.linalg.inv(curvature * count)))
    values = np.exp(found.x)
    return Estimate(values, values * errors)
