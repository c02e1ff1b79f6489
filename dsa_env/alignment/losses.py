"""The bi-directional contrastive loss, and the closed form that it can be held against."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dsa_env.errors import DSAError, unknown

DIRECTIONS = ("both", "image_to_text", "text_to_image")


def contrastive_loss(
    text_to_image: Tensor,
    image_to_text: Tensor | None = None,
    *,
    direction: str = "both",
    also_positive: Tensor | None = None,
) -> Tensor:
    """InfoNCE over a batch of B pairs, pair i on the diagonal, in one or both directions.

    L = (L_ti + L_it) / 2, L_ti = -1/B sum_i log softmax_j(s_ij)_i over the images j of the batch,
    and L_it the same over its texts (van den Oord et al. 2018, https://arxiv.org/abs/1807.03748;
    both directions as in Radford et al. 2021, https://arxiv.org/abs/2103.00020).

    Args:
        text_to_image: [B, B], similarity of text i and image j divided by the temperature.
        image_to_text: [B, B], the same where images ask, if their similarity is another one.
        direction: ``"both"``, ``"image_to_text"`` or ``"text_to_image"`` alone.
        also_positive: [B, B] bool, pairs off the diagonal that belong together too; they count
            neither for nor against.

    Returns:
        A scalar, 0 or more.
    """
    if direction not in DIRECTIONS:
        raise unknown("direction of the loss", direction, DIRECTIONS)
    if text_to_image.ndim != 2 or text_to_image.shape[0] != text_to_image.shape[1]:
        raise DSAError(f"Similarities must be [B, B], got {list(text_to_image.shape)}.")
    target = torch.arange(len(text_to_image), device=text_to_image.device)
    image_to_text = text_to_image if image_to_text is None else image_to_text
    if also_positive is not None:
        off = also_positive & ~torch.eye(len(target), dtype=torch.bool, device=target.device)
        text_to_image = text_to_image.masked_fill(off, -torch.inf)
        image_to_text = image_to_text.masked_fill(off, -torch.inf)
    if direction == "text_to_image":
        return cross_entropy(text_to_image, target)
    if direction == "image_to_text":
        return cross_entropy(image_to_text.T, target)
    return (cross_entropy(text_to_image, target) + cross_entropy(image_to_text.T, target)) / 2


def fit_least_squares(source: Tensor, target: Tensor, ridge: float = 0.0) -> Tensor:
    """The matrix that maps `source` to `target` with the least squared error, in closed form.

    argmin_A sum_i |A x_i - y_i|^2 + ridge |A|^2 = Y^T X (X^T X + ridge I)^-1 for rows x_i, y_i;
    of the smallest norm where it is not unique.

    Args:
        source: [n, D].
        target: [n, E].
        ridge: penalty, 0 or more.

    Returns:
        [E, D], in float64.

    Raises:
        DSAError: the rows do not pair up, or hold NaN or infinity.
    """
    if source.ndim != 2 or target.ndim != 2 or len(source) != len(target) or not len(source):
        raise DSAError(
            f"Least squares needs rows that pair up, got {list(source.shape)} and "
            f"{list(target.shape)}."
        )
    x, y = source.double(), target.double()
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise DSAError("The features hold NaN or infinity; clean them first.")
    gram = x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    solution: Tensor = torch.linalg.pinv(gram, hermitian=True) @ (x.T @ y)
    return solution.T
