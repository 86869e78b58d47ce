"""What the ledger says of Figures 1, 3 and 4, and of large learning rates, asked of the frozen records again."""

import math

import pytest

from book.finding import RESULTS
from book.stable_sam import large_rates, printed
from book.stable_sam.gradient_pairs import RHOS, epoch, pairs, positive
from book.stable_sam.success_rates import at, config, large, rates, share, swing
from flatlab.runs import records


def test_gd_is_highest_at_large_rates_and_not_at_small_ones():
    for rho in config()["rhos"]:
        for method in ("SAM", "StableSAM"):
            assert (share("GD")[large()] >= share(method, rho)[large()]).all()
    assert share("SAM", 0.1)[at(0.01)] == pytest.approx(0.28, abs=0.01)
    assert share("GD")[at(0.01)] == pytest.approx(0.03, abs=0.01)


@pytest.mark.parametrize("rho, radius", [(0.05, 0.01), (0.05, 0.02), (0.1, 0.02), (0.1, 0.05), (0.2, 0.05), (0.2, 0.1)])
def test_sams_collapse_is_its_cycle(rho, radius):
    """The last rate at which half of StableSAM's successes are SAM's too lies where the cycle reaches the radius."""
    predicted = 2 * radius / ((2 + math.sqrt(2)) * (rho + radius))
    success = share("SAM", rho, steps=1000, radius=radius) / share("StableSAM", rho, steps=1000, radius=radius)
    measured = rates()[success > 0.45].max().item()
    assert abs(math.log(measured / predicted)) < math.log(1.35)
    lenient = share("SAM", rho, radius=0.5)[large()] - share("StableSAM", rho, radius=0.5)[large()]
    assert lenient.abs().max() < 0.015


def test_stable_sam_is_level_at_large_rates():
    for rho in (0.05, 0.1, 0.2):
        for radius in config()["radii"]:
            assert swing(share("StableSAM", rho, radius=radius)) < 0.015


def test_the_saddle_takes_its_share_with_rho_from_both():
    for rho, stable, sam in ((0.05, 256, 254), (0.1, 572, 565), (0.2, 1360, 1382), (0.5, 3804, 3891)):
        for method, expected in (("StableSAM", stable), ("SAM", sam)):
            assert 10_000 * share(method, rho, radius=0.1, what="saddle")[at(0.1)] == pytest.approx(expected)
    assert share("GD", radius=0.5, what="saddle")[large()].max() == 0


def test_small_rho_is_like_gd_for_stable_sam_only():
    assert (share("GD")[large()] - share("StableSAM", 0.05)[large()]).abs().max() < 0.029
    assert share("SAM", 0.05)[-1] == 0


def test_only_sam_at_large_rho_diverges():
    assert share("SAM", 0.5, what="diverged")[-1] == pytest.approx(0.106, abs=0.005)
    for rho in config()["rhos"]:
        assert share("StableSAM", rho, what="diverged").max() == 0
        assert rho == 0.5 or share("SAM", rho, what="diverged").max() == 0
    assert share("GD", what="diverged").max() == 0


def test_the_far_gradient_is_longer():
    for rho, expected in ((0.01, 0.77), (0.05, 0.53), (0.2, 0.52)):
        assert epoch("SAM", rho, 20, "ratio") == pytest.approx(expected, abs=0.006)
        for method in ("SAM", "StableSAM"):
            assert max(epoch(method, rho, number, "ratio") for number in range(1, 21)) < 1


def test_the_ratio_falls_late_in_training_with_sam():
    for rho, early, late in ((0.01, 0.94, 0.77), (0.05, 0.80, 0.53), (0.2, 0.61, 0.52)):
        assert epoch("SAM", rho, 2, "ratio") == pytest.approx(early, abs=0.006)
        assert epoch("SAM", rho, 20, "ratio") == pytest.approx(late, abs=0.006)
    for number, expected in ((2, 0.54), (20, 0.57)):
        assert epoch("StableSAM", 0.2, number, "ratio") == pytest.approx(expected, abs=0.006)


def test_the_excess_is_positive_but_not_at_the_start():
    for method in ("SAM", "StableSAM"):
        for rho in RHOS:
            for run in pairs(method, rho):
                assert 0.987 < positive(run) < 0.9965 and 0.42 < run["curves"][0]["positive"] < 0.75


def test_the_ratio_exceeds_one_at_the_start():
    for run in pairs("SAM", 0.2):
        assert run["curves"][0]["ratio_high"] == pytest.approx(1.2, abs=0.02)
        assert all(point["ratio_high"] < 1 for point in run["curves"][4:])


def test_lenet_at_rates_that_break_it():
    """Seed 1, the first that is whole: at a rate of 0.2 and a radius of 0.2 SAM learns nothing, SGD and StableSAM do."""
    at_02 = [large_rates.accuracies(m, rho, 0.2)[1] for m, rho in (("plain", None), ("SAM", 0.2), ("StableSAM", 0.2))]
    assert at_02[1] < large_rates.CHANCE < 40 < min(at_02[0], at_02[2])
    assert [len([lr for lr, seed in large_rates.lost("SAM", rho) if seed == 1]) for rho in large_rates.RHOS] == [0, 1, 3]


def test_a_sign_test_goes_by_the_pairs_of_which_one_alone_is_lost():
    """Against the binomial distribution by hand: k of k such pairs on one side have probability 2 / 2^k."""
    shared = [(0.8, 1), (0.8, 42)]
    for k in range(1, 8):
        alone = [(0.1, seed) for seed in range(k)]
        assert large_rates.sign_test(shared + alone, shared) == pytest.approx(2 / 2**k)
        assert large_rates.sign_test(shared, shared + alone) == pytest.approx(2 / 2**k)
    assert large_rates.sign_test(shared, shared) == 1


def test_three_seeds_do_not_tell_sam_at_large_rates_from_sgd():
    """Where SAM alone is lost, so few pairs are that a coin would do as much."""
    for rho in large_rates.RHOS:
        assert large_rates.sign_test(large_rates.lost("SAM", rho), large_rates.lost("plain")) > 0.05


def test_table_2_gains_more_on_cifar10_with_the_papers_own_example():
    ten, hundred = printed.gains("cifar10"), printed.gains("cifar100")
    assert (round(ten["resnet56"], 2), round(hundred["resnet56"], 2)) == (0.31, 0.30)
    assert [n for n in ten if hundred[n] > ten[n]] == ["wrn28_10", "pyramidnet110"]


def test_on_mnist_the_tuned_radius_of_asam_is_ten_times_that_of_sam():
    tuned = records.find(RESULTS, "train", data="mnist", network="fcn3", validation=5000, lr=0.1)
    for method, best in (("SAM", {0.02, 0.05}), ("ASAM", {0.5})):
        scores = {r["config"]["rho"]: r["result"]["final"]["accuracy"] for r in tuned if r["config"]["method"] == method}
        assert len(scores) == 5 and {rho for rho in scores if scores[rho] == max(scores.values())} == best
