"""Texts with labels, and the features made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from flatlab.data.checksum import checksum
from flatlab.data.feature_set import FeatureSet

__all__ = ["TextSet"]

WEIGHTS = ("tfidf", "counts")
PARTS = ("headers", "footers", "quotes")


@dataclass(frozen=True)
class TextSet:
    """A split into training and test texts.

    `x_train` and `x_test` are lists of `n` texts; `y_train` and `y_test` are labels, shape `(n,)`, int64. Label `k`
    stands for `classes[k]`.
    """

    name: str
    x_train: list[str]
    y_train: Tensor
    x_test: list[str]
    y_test: Tensor
    classes: tuple[str, ...]

    def without(self, *parts: str) -> TextSet:
        """The same posts without `headers`, `footers` (signatures) or `quotes`, found by scikit-learn's rules.

        Headers name senders and hosts, by which a classifier can tell groups apart without their topic. Raises
        `ValueError` for another part.

        >>> y = torch.tensor([0])
        >>> TextSet("one", ["From: me\\n\\nHello"], y, [""], y, ("a",)).without("headers").x_train
        ['Hello']
        """
        from sklearn.datasets import _twenty_newsgroups as posts  # the rules that fetch_20newsgroups(remove=) applies

        unknown = [part for part in parts if part not in PARTS]
        if unknown:
            raise ValueError(f"no part {unknown[0]!r} of a post; there are {', '.join(PARTS)}")
        rules = {
            "headers": posts.strip_newsgroup_header,
            "footers": posts.strip_newsgroup_footer,
            "quotes": posts.strip_newsgroup_quoting,
        }

        def bare(text: str) -> str:
            for part in PARTS:  # in scikit-learn's order, whatever the order of the arguments
                text = rules[part](text) if part in parts else text
            return text

        return replace(self, x_train=[bare(t) for t in self.x_train], x_test=[bare(t) for t in self.x_test])

    def features(
        self,
        weights: str = "tfidf",
        words: int = 2000,
        stop_words: str | list[str] | None = "english",
        min_posts: int = 2,
        ngrams: tuple[int, int] = (1, 1),
    ) -> FeatureSet:
        """Bags of words, as a table with one column a word: `(n, d)`, float32, `d <= words`.

        The vocabulary is learnt from the training texts alone: lower-case runs of two or more letters, digits or
        underscores, without `stop_words` (`"english"`: scikit-learn's list; None: keep all), in sequences of the
        lengths `ngrams`; of those in at least `min_posts` texts the `words` most frequent, of equals the first in the
        alphabet.

        `weights="counts"` counts a word's occurrences `c`. `weights="tfidf"` weighs them by rarity,
        `c (1 + ln((1 + n) / (1 + n_word)))` with `n` training texts, `n_word` of them with the word, and scales every
        row to Euclidean length 1; a text without any word stays 0. scikit-learn's `CountVectorizer` and
        `TfidfTransformer` do it. The table is dense: `4 n d` bytes.

        Raises `ValueError` for other weights, a number of words below 1, or if no word is left.

        >>> y = torch.tensor([0, 1])
        >>> posts = TextSet("two", ["cat dog", "cat cat"], y, ["dog bird"], y[:1], ("a", "b"))
        >>> table = posts.features("counts", min_posts=1)
        >>> table.features, table.x_train.tolist(), table.x_test.tolist()
        (('cat', 'dog'), [[1.0, 1.0], [2.0, 0.0]], [[0.0, 1.0]])
        """
        from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer  # slow to import

        if weights not in WEIGHTS:
            raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
        if words < 1:
            raise ValueError(f"words must be at least 1, got {words}")
        counter = CountVectorizer(stop_words=stop_words, min_df=min_posts, ngram_range=ngrams, dtype=np.float32)
        train, test = counter.fit_transform(self.x_train), counter.transform(self.x_test)
        # Not by max_features, which leaves ties at the limit to a sort that differs between processors.
        best = np.sort(np.argsort(-np.asarray(train.sum(0)).ravel(), kind="stable")[:words])
        train, test = train[:, best], test[:, best]
        if weights == "tfidf":
            rarity = TfidfTransformer().fit(train)
            train, test = rarity.transform(train), rarity.transform(test)
        columns = tuple(str(word) for word in counter.get_feature_names_out()[best])
        x_train, x_test = (torch.from_numpy(part.toarray()) for part in (train, test))
        return FeatureSet(self.name, x_train, self.y_train, x_test, self.y_test, columns, self.classes)

    def checksum(self) -> str:
        """Twelve hexadecimal digits of a SHA-256 over all texts and labels."""
        return checksum((self.x_train, self.y_train, self.x_test, self.y_test))
