"""The contrastive loss of a batch in which several queries may have the same answer. Made by `losses`; needs torch.

The stock loss has a column of answers, one a query: an article that its title, a label and a click ask for would be embedded three
times, or, within one batch, be taken for wrong. Where no two queries share an answer this is
MultipleNegativesRankingLoss(partition_mode="joint") of sentence-transformers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize


class JointLoss(torch.nn.Module):
    """-log(exp(s(q, d)) / Z), s a scaled cosine, Z over all `directions` (Li et al. 2023, GTE, eq. 3).

    The directions are names of the stock loss. A query's own answer is no wrong one, nor are the other queries that ask for it, nor,
    between documents, what was mined for it.
    """

    def __init__(self, *, scale: float, directions: Sequence[str]) -> None:
        super().__init__()
        self.scale = scale
        self.directions = frozenset(directions)

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Mean over the queries. `embeddings`: queries (rows x dimensions); answers and, where there are mined ones, negatives
        (documents x dimensions). `labels` (rows): a number for each row's document; its rows stand side by side, the documents in
        that order.
        """
        queries, answers, *mined = (normalize(vectors, dim=1) for vectors in embeddings)
        documents = torch.cat([answers, *mined])
        _, place = torch.unique_consecutive(labels, return_inverse=True)
        own = answers[place]
        asks_for_same = place[:, None] == place[None, :]
        columns = torch.arange(len(answers), device=place.device).repeat(1 + len(mined))
        of_same = place[:, None] == columns[None, :]
        itself = torch.eye(len(queries), dtype=torch.bool, device=place.device)
        right = (queries * own).sum(dim=1)

        logits = [queries @ documents.T]
        if "query_to_query" in self.directions:
            logits.append((queries @ queries.T).masked_fill(asks_for_same, -torch.inf))
        if "doc_to_query" in self.directions:
            logits.append((own @ queries.T).masked_fill(asks_for_same & ~itself, -torch.inf))
        if "doc_to_doc" in self.directions:
            logits.append((own @ documents.T).masked_fill(of_same, -torch.inf))
        loss: Tensor = (torch.logsumexp(self.scale * torch.cat(logits, dim=1), dim=1) - self.scale * right).mean()
        return loss
