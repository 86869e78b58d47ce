"""What the chapter on the Hessian penalty and its ledger say, beyond the verdicts that its analysis computes."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from book.hessian_penalty import analysis, demonstrations, trainings, words
from book.hessian_penalty.trainings import PAPER, TITLES, final, on_grid, study
from flatlab import data, measures, models
from flatlab.landscape import Landscape
from flatlab.measures.hessian_product import dense, hessian_product
from flatlab.penalties import hessian_frobenius_penalty
from flatlab.runs.host import Host
from flatlab.stats.comparison import compare
from flatlab.training import Train
from flatlab.training.examples import examples
from flatlab.training.trainer import Trainer

DOUBLE = torch.float64


def small(*hidden, seed=0):
    torch.manual_seed(seed)
    x, y = torch.randn(12, 4, dtype=DOUBLE), torch.randint(3, (12,))
    return nn.Sequential(nn.Linear(4, 5), *(hidden or (nn.ReLU(),)), nn.Linear(5, 3)).double(), x, y


# ---- Section 2: the penalty ------------------------------------------------------------------------------------------


def test_equation_1_three_ways_to_the_same_number():
    net, x, y = small(nn.Tanh())
    loss = Landscape.of(net, cross_entropy, (x, y))
    H = dense(hessian_product(loss, loss.w0), loss.w0)
    entries, eigenvalues = H.square().sum().item(), torch.linalg.eigvalsh(H).square().sum().item()
    assert entries == pytest.approx(eigenvalues, rel=1e-10) == pytest.approx(torch.trace(H @ H).item(), rel=1e-10)
    assert measures.hessian_frobenius(loss, loss.w0, deflate=loss.d).value == pytest.approx(entries, rel=1e-9)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_on_minibatches_the_mean_exceeds_the_whole_by_the_spread_of_the_hessians(size):
    """All minibatches of 5 samples, one by one: the law of the gradient noise, with Hessians."""
    net, x, y = small()
    x, y = x[:5], y[:5]

    def hessian(rows):
        loss = Landscape.of(net, cross_entropy, (x[rows], y[rows]))
        return dense(hessian_product(loss, loss.w0), loss.w0)

    whole = hessian(list(range(5)))
    batches = [hessian(list(rows)).square().sum() for rows in itertools.combinations(range(5), size)]
    spread = torch.stack([(hessian([i]) - whole).square().sum() for i in range(5)]).mean()
    expected = whole.square().sum() + (5 - size) / (size * 4) * spread
    torch.testing.assert_close(torch.stack(batches).mean(), expected)


def test_rescaling_a_relu_network_changes_tr_h2_a_hundredfold_and_not_the_function():
    net, x, y = small()
    loss = Landscape.of(net, cross_entropy, (x, y))
    w = loss.w0.clone()
    w[:25] *= 16
    w[25:40] /= 16
    torch.testing.assert_close(loss.losses(w), loss.losses(loss.w0))
    before, after = (measures.hessian_frobenius(loss, v, deflate=loss.d).value for v in (loss.w0, w))
    assert after > 100 * before


def test_in_logistic_regression_the_penalty_sees_no_label():
    torch.manual_seed(0)
    net, x = nn.Linear(4, 3).double(), torch.randn(12, 4, dtype=DOUBLE)
    values = []
    for _ in range(3):
        loss = Landscape.of(net, cross_entropy, (x, torch.randint(3, (12,))))
        values.append(measures.hessian_frobenius(loss, loss.w0, deflate=loss.d).value)
    assert values == pytest.approx([values[0]] * 3, rel=1e-10)


@pytest.mark.slow
def test_descent_on_the_penalty_alone_is_certain_and_right_no_more_than_by_chance():
    digits = data.load("digits")
    x, y = digits.flat(digits.x_train[:256]), digits.y_train[:256]
    torch.manual_seed(0)
    net = models.build("logistic", (64,), 10)
    generator = torch.Generator().manual_seed(0)

    def state():
        with torch.no_grad():
            out = net(digits.flat(digits.x_test))
        right = (out.argmax(1) == digits.y_test).double().mean().item()
        return out.softmax(1).amax(1).mean().item(), right, sum(p.square().sum().item() for p in net.parameters()) ** 0.5

    before = state()
    for _ in demonstrations.descend_the_penalty_alone(net, x, y, 300, generator=generator):
        pass
    after = state()
    assert before[0] < 0.25 and after[0] > 0.9 and after[2] > 1.5 * before[2] and after[1] < 0.25


def test_twice_the_loss_is_four_times_the_penalty():
    net, x, y = small()
    penalties = []
    for scale in (1.0, 2.0):
        generator = torch.Generator().manual_seed(0)
        scaled = lambda out, t, c=scale: c * cross_entropy(out, t)  # noqa: E731
        penalties.append(hessian_frobenius_penalty(net, scaled, (x, y), generator=generator).item())
    assert penalties[1] == pytest.approx(4 * penalties[0])


def test_the_hessian_of_the_papers_network_would_fill_twelve_terabytes():
    net = models.build("mlp512_256", (3, 32, 32), 100)
    d = sum(p.numel() for p in net.parameters())
    assert d == 1_730_404 and 4 * d**2 / 1e12 == pytest.approx(12, abs=0.1)


def operations(net, x, y, probes):
    """Operations of one step, with so many draws for the penalty."""
    if probes:  # a model's first penalty is proved by value, once
        hessian_frobenius_penalty(net, cross_entropy, (x, y), probes=1)
    with FlopCounterMode(display=False) as counter:
        loss = cross_entropy(net(x), y)
        if probes:
            loss = loss + hessian_frobenius_penalty(net, cross_entropy, (x, y), probes=probes)
        loss.backward()
    return counter.get_total_flops()


@pytest.mark.slow
def test_the_cost_in_plain_steps_does_not_grow_with_the_number_of_weights():
    """Operations of one step with five draws over those of a plain one: 50 thousand to 9 million weights."""

    def ratio(width):
        hidden = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        net, x, y = nn.Sequential(*hidden, nn.Linear(width, 100)), torch.randn(8, width), torch.randint(100, (8,))
        return operations(net, x, y, 5) / operations(net, x, y, 0)

    ratios = [ratio(width) for width in (128, 512, 2048)]
    assert max(ratios) < 1.15 * min(ratios) and max(ratios) < 30


@pytest.mark.slow
def test_a_small_convolutional_network_is_penalized_with_fewer_operations_than_the_perceptron():
    """With five draws: 23 plain steps of LeNet-5 against 13 of the perceptron, but LeNet-5's are the smaller ones."""
    x, y = torch.randn(4, 3, 32, 32), torch.randint(100, (4,))
    nets = [models.build(name, (3, 32, 32), 100).eval() for name in ("mlp512_256", "lenet5")]
    plain, penalized = ([operations(net, x, y, probes) for net in nets] for probes in (0, 5))
    assert [round(b / a) for a, b in zip(plain, penalized, strict=True)] == [13, 23]
    assert penalized[1] < 0.9 * penalized[0]


def test_dropout_would_scatter_the_estimate():
    """One minibatch, the same draw: with dropout off the estimate is one number, with masks it scatters by 7%."""
    cancer = data.load("breast_cancer").standardized()
    x, y = cancer.x_train[:32], cancer.y_train[:32]
    torch.manual_seed(0)
    net = models.build("mlp512_256", (30,), 2)

    def estimate(seed, masked):
        torch.manual_seed(seed)
        if masked:  # the five lines of the chapter, in train mode
            params = list(net.train().parameters())
            out = net(x)
        else:
            params = list(net.eval().parameters())
            out = net(x)
        generator = torch.Generator().manual_seed(0)
        grads = torch.autograd.grad(cross_entropy(out, y), params, create_graph=True)
        v = [torch.randn(p.shape, generator=generator) for p in params]
        return sum(h.square().sum() for h in torch.autograd.grad(grads, params, v)).item()

    off, on = ([estimate(seed, masked) for seed in range(12)] for masked in (False, True))
    assert len(set(off)) == 1
    assert torch.tensor(on).std() > 0.04 * off[0]


# ---- the small version of the study: Breast Cancer, trained here ------------------------------------------------------


def at_equal_loss(seed, loss):
    """tr(H^2) of the run without penalty on its way through this loss: a line through what is near, in logarithms."""
    chosen = Train(seed=seed, epochs=20, **demonstrations.SMALL)
    trainer, seen = Trainer(chosen, examples(chosen), Host().device), []
    for _ in range(3):
        for step, _ in enumerate(trainer.advance()):
            if step % 3:
                continue
            whole = demonstrations.whole_loss(trainer)
            now = whole.loss(whole.w0).item()
            if abs(math.log(now / loss)) < 0.35:
                seen.append([now, demonstrations.curvature(whole)])
            trainer.model.train()
    near = torch.tensor(seen, dtype=DOUBLE).log()
    line = torch.linalg.lstsq(torch.stack([torch.ones(len(near), dtype=DOUBLE), near[:, 0]], 1), near[:, 1]).solution
    return math.exp(line[0] + line[1] * math.log(loss))


@pytest.mark.slow
def test_penalized_runs_end_sharper_and_are_flatter_at_equal_loss():
    flatter_by = []
    for seed in (1, 2, 3):
        plain_loss, plain = demonstrations.path(None, seed).points[-1]
        fa_loss, fa = demonstrations.path(1.0, seed).points[-1]
        assert fa > 5 * plain and fa_loss > 5 * plain_loss, "after equal epochs"
        flatter_by.append(math.log(fa / at_equal_loss(seed, fa_loss)))
    assert max(flatter_by) < 0 and math.exp(sum(flatter_by) / 3) < 0.92


@pytest.mark.slow
def test_under_adam_a_tenfold_weight_changes_nothing_once_it_dominates():
    (first, sharp), (second, as_sharp) = (demonstrations.path(fa, 1, epochs=5).points[-1] for fa in (1e3, 1e4))
    assert first == pytest.approx(second, rel=0.02) and sharp == pytest.approx(as_sharp, rel=0.1)


@pytest.mark.slow
def test_the_gap_of_the_task_loss_needs_no_penalty_in_it():
    """Section 3.2 gives up the gap of losses as biased. The recorded training loss is the task's alone."""
    run = demonstrations.path(1.0, 1, epochs=3)
    loss, curvature = run.points[-1]
    total = loss + curvature / 32
    assert total > 2 * loss, "the penalized loss would mislead"
    assert run.train_loss < 2 * loss, "what is recorded is free of it"


# ---- the paper's digits -----------------------------------------------------------------------------------------------


def test_the_accuracies_of_table_1_are_counts_over_600():
    assert trainings.possible_counts("cifar100", 1199) == [600]
    share = sum(on_grid(k / 10_000, 600) for k in range(10_000)) / 10_000
    assert share == pytest.approx(0.06, abs=0.001), "of all accuracies with four digits"
    finals = [row.final for row in PAPER["cifar100"].values()]
    assert max(finals) - min(finals) < math.sqrt(0.26 * 0.74 / 600), "all lie within one binomial deviation"


def test_text_was_at_chance():
    """Table 2: 5.3 to 5.4% of 20 classes, of which the largest has a share of 5.3% of the test posts."""
    finals = [row.final for row in PAPER["newsgroups"].values()]
    counts = trainings.mistakes("newsgroups")["result"]["counts"]
    assert len(counts) == 20 and max(counts) / sum(counts) == pytest.approx(0.053, abs=1e-4)
    assert min(finals) >= 0.053 and max(finals) < 0.0536


def test_table_3_is_on_114_cases_and_its_third_row_is_no_mean_of_three_runs():
    first, second, third = (row.final for row in PAPER["breast_cancer"].values())
    assert [n for n in range(20, 225) if on_grid(first, 3 * n) and on_grid(second, 3 * n)] == [114]
    assert not on_grid(third, 342)
    assert (round(first * 342), round(second * 342)) == (190, 191)


# ---- the study: Tables 1-3, from the records --------------------------------------------------------------------------


def test_a_table_goes_by_the_seeds_that_all_its_weights_have(monkeypatch):
    runs = {fa: dict(by_seed) for fa, by_seed in study("newsgroups").items()}
    del runs[0.1][42]
    monkeypatch.setattr(trainings, "study", lambda data, lr=None: runs)
    assert {tuple(by_seed) for by_seed in trainings.whole("newsgroups").values()} == {(1, 2, 3, 123)}
    assert analysis.CLAIMS["fa/table-2-time"]().scale.endswith("4 seeds")
    runs[1.0] = {}
    with pytest.raises(LookupError, match=r"no seed of newsgroups has a run of every weight.*0.1: \{42\}, 1.0: \{"):
        analysis.CLAIMS["fa/table-2-time"]()


def test_a_single_seed_gives_its_number_and_no_interval(monkeypatch):
    runs = {fa: {1: by_seed[1]} for fa, by_seed in study("newsgroups").items()}
    monkeypatch.setattr(trainings, "study", lambda data, lr=None: runs)
    verdict, words, scale, _ = analysis.CLAIMS["fa/table-2-no-effect"]()
    assert "±" not in words and "a single seed" in words and scale.endswith("1 seed")


def test_measuring_the_curvature_changes_no_weight():
    """The rows with fa = 0 end with the weights of those without, to the bit."""
    for table, rate in (*((table, None) for table in TITLES), ("cifar100", trainings.TEXT)):
        runs = study(table, rate)
        assert len(runs[0.0]) >= (1 if (table, rate) == ("cifar100", None) else 5)
        for seed, r in runs[0.0].items():
            assert seed not in runs[None] or r["result"]["weights"] == runs[None][seed]["result"]["weights"]


def test_at_a_tenth_of_the_texts_rate_table_1_has_the_papers_accuracy_without_penalty():
    """And at lambda = 1 next to nothing is learnt, where the paper has 25.8%; one seed is certain and wrong."""
    runs = study("cifar100")
    assert all(24 < final(r) < 27 for r in runs[None].values())
    assert all(final(r) < 10 for r in runs[1.0].values())
    assert max(map(trainings.last_loss, runs[1.0].values())) > 100


def test_at_the_texts_rate_table_1_guesses_until_the_rate_has_fallen():
    """Without penalty the loss stands at ln 100 up to epoch 7 and then falls; with lambda = 1 the end is chance."""
    runs = study("cifar100", trainings.TEXT)
    for r in runs[None].values():
        losses = [p["train_loss"] for p in r["result"]["curves"]]
        assert all(abs(v - math.log(100)) < 0.03 for v in losses[1:7]) and losses[-1] < 4.35
    assert max(map(final, runs[1.0].values())) < 2
    losses = sorted(map(trainings.last_loss, runs[1.0].values()))
    assert losses[-1] > 900 and all(abs(v - math.log(100)) < 0.05 for v in losses[:4]), "four guess, one is certain"
    assert sum(final(r) < 1.1 for r in runs[0.1].values()) == 1


def test_the_sentences_count_the_runs_that_guess_and_those_that_are_stuck():
    at_text, at_tenth = words.in_words("cifar100", trainings.TEXT), words.in_words("cifar100")
    assert at_text["fa-text-guess"] == "4 of 5" and at_text["fa-text-guess-flat"] == "3"
    assert at_text["fa-text-standstill"] == "2 to 7"
    runs = study("cifar100")
    losses = {seed: trainings.last_loss(r) for seed, r in runs[1.0].items()}
    assert sum(v < 4.6 for v in losses.values()) == int(at_tenth["fa-cifar100-guess"][0]) == 3
    measured = sum(map(trainings.last_curvature, runs[0.0].values())) / 5
    factors = sorted(trainings.last_curvature(runs[1.0][seed]) / measured for seed, v in losses.items() if v > 100)
    assert at_tenth["fa-cifar100-sharper"] == " to ".join(f"{round(v, -2):,.0f}" for v in factors)
    told = words.mistakes_in_words()
    rows = trainings.mistakes("breast_cancer")["result"]["rows"]
    first, second = (r for r in rows if r["mistake"] == "unscaled, clipped loss")
    one_class = sum(classes == 1 for classes in first["predicted"])
    assert told["fa-mistakes-stuck"] == f"{one_class} of 20" and told["fa-mistakes-learn"] == f"{20 - one_class}"
    low = sum(a < 0.5 for a in second["accuracy"])
    assert told["fa-mistakes-stuck-low"] == f"{low}" and told["fa-mistakes-stuck-high"] == f"{20 - low}"


def test_the_whole_study_takes_less_than_an_hour_of_two_cores():
    tables = [study(C, trainings.TEXT) if C == "cifar100" else study(C) for C in TITLES]
    seconds = [r["cpu_s"] for runs in tables for fa, by in runs.items() if fa != 0.0 for r in by.values()]
    assert len(seconds) == 75 and sum(seconds) / 2 < 3600


def test_the_best_weight_is_above_sam_at_each_radius_on_cifar_100():
    """The chapter's sentence; pairs of one seed, all three intervals above zero."""
    penalized = {seed: final(r) for seed, r in trainings.whole("cifar100")[0.1].items()}
    for by_seed in trainings.with_sam().values():
        assert set(by_seed) == trainings.SEEDS
        found = compare(penalized, {seed: final(r) for seed, r in by_seed.items()})
        assert found.difference - found.half > 0
