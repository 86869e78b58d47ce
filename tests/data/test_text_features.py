"""Bags of words from texts: by hand, and with a vocabulary learnt from the training part alone."""

import math

import pytest
import torch

from flatlab.data import TextSet

POSTS = TextSet(
    "posts",
    ["Cats chase mice", "mice eat cheese; mice eat the cheese", "dogs chase cats"],
    torch.tensor([0, 1, 0]),
    ["mice chase unicorns", "the"],
    torch.tensor([1, 1]),
    ("a", "b"),
)


def test_counts_are_those_counted_by_hand():
    table = POSTS.features("counts", min_posts=1)
    assert table.features == ("cats", "chase", "cheese", "dogs", "eat", "mice")
    assert table.x_train.tolist() == [[1, 1, 0, 0, 0, 1], [0, 0, 2, 0, 2, 2], [1, 1, 0, 1, 0, 0]]
    assert table.x_test.tolist() == [[0, 1, 0, 0, 0, 1], [0] * 6] and table.x_test.dtype == torch.float32
    assert table.y_train.equal(POSTS.y_train) and table.classes == POSTS.classes


def test_tfidf_agrees_with_its_formula():
    table, counts = POSTS.features(min_posts=1), POSTS.features("counts", min_posts=1)
    in_posts = (counts.x_train > 0).sum(0)
    rarity = torch.tensor([1 + math.log((1 + 3) / (1 + int(k))) for k in in_posts])
    for x, c in ((table.x_train, counts.x_train), (table.x_test, counts.x_test)):
        torch.testing.assert_close(x, torch.nn.functional.normalize(c * rarity, dim=1))


def test_the_options_narrow_the_vocabulary():
    assert POSTS.features("counts", words=1, min_posts=1).features == ("mice",)
    assert POSTS.features("counts", words=3, min_posts=1).features == ("cats", "chase", "mice")
    assert POSTS.features("counts", words=2, min_posts=1).features == ("cats", "mice")  # of four with 2, the first
    assert POSTS.features("counts").features == ("cats", "chase", "mice")
    assert "the" in POSTS.features("counts", stop_words=None, min_posts=1).features
    assert POSTS.features("counts", words=2, min_posts=1, ngrams=(2, 2)).features == ("eat cheese", "mice eat")


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="weights must be one of tfidf, counts, got 'bm25'"):
        POSTS.features("bm25")
    with pytest.raises(ValueError, match="words must be at least 1, got 0"):
        POSTS.features(words=0)
    with pytest.raises(ValueError, match="no part 'header' of a post; there are headers, footers, quotes"):
        POSTS.without("header")


def test_headers_signatures_and_quotes_are_removed():
    post = "From: a@b\nSubject: x\n\nAnn writes:\n> old words\nnew words\n\n--\nBob"
    posts = TextSet("one", [post], torch.tensor([0]), [], torch.tensor([]), ("a",))
    assert posts.without("headers").x_train[0].startswith("Ann writes")
    assert "Bob" not in posts.without("footers").x_train[0] and "old" in posts.without("footers").x_train[0]
    assert "old" not in posts.without("quotes").x_train[0] and "Subject" in posts.without("quotes").x_train[0]
    assert posts.without("quotes", "footers", "headers").x_train[0].strip() == "new words"
    assert posts.without() == posts


def test_the_checksum_sees_texts_labels_and_where_texts_end():
    y = torch.tensor([0, 1])
    sums = {
        TextSet("n", x, labels, [], y[:0], ("a", "b")).checksum()
        for x in (["ab", "c"], ["a", "bc"])
        for labels in (y, 1 - y)
    }
    assert len(sums) == 4
