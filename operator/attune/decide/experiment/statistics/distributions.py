"""Tails and quantiles of the normal, t and chi-square distributions, and the nodes of an integral. Used by the modules beside it.

The normal distribution is the standard library's. The rest is scipy's, imported at the first call: numpy and scipy take a third of a
second and 50 MB, which an operator that judges no test does not spend.
"""

import math
import statistics
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_NORMAL = statistics.NormalDist()


def normal_tail(z: float) -> float:
    """P(Z > z) of a standard normal Z, with full relative precision in the upper tail."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def normal_quantile(tail: float) -> float:
    """The z with P(Z > z) = `tail`, from 0 to 1, both excluded; ValueError otherwise. Wichura's algorithm AS 241."""
    return -_NORMAL.inv_cdf(tail)


def t_tail(t: float, degrees_of_freedom: float) -> float:
    """P(T > t) of Student's t distribution."""
    from scipy.special import stdtr

    return float(stdtr(degrees_of_freedom, -t))


def t_quantile(tail: float, degrees_of_freedom: float) -> float:
    """The t with P(T > t) = `tail`."""
    from scipy.special import stdtrit

    return -float(stdtrit(degrees_of_freedom, tail))


def chi_square_tail(x: float, degrees_of_freedom: int) -> float:
    """P(X > x) of the chi-square distribution."""
    from scipy.special import chdtrc

    return float(chdtrc(degrees_of_freedom, x))


def normal_tails(z: "Array") -> "Array":
    """`normal_tail` of each element."""
    from scipy.special import ndtr

    tails: Array = ndtr(-z)
    return tails


def normal_densities(z: "Array") -> "Array":
    """The standard normal density at each element."""
    import numpy as np

    densities: Array = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return densities


@cache
def legendre(count: int) -> tuple["Array", "Array"]:
    """Nodes and weights of the Gauss-Legendre rule on 0 to 1, `count` of them."""
    from scipy.special import roots_legendre

    nodes, weights = roots_legendre(count)
    return nodes / 2 + 0.5, weights / 2
