"""Parameters that are only shards, or have no size yet, are refused by name."""

import pytest
import torch
from methods_under_test import OPTIMIZERS, each
from torch import distributed, multiprocessing, nn
from torch.optim import SGD

from flatlab import optim
from flatlab.optim import SAM


def whole():
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))


def sharded(kind):
    model = whole()
    if kind == "fully_shard":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        return fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(model, use_orig_params=kind == "original parameters", device_id=torch.device("cpu"))


def raised(call):
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def worker(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=1)
    found = {}
    for kind in ("fully_shard", "flattened", "original parameters"):
        model = sharded(kind)
        names = optim.__all__ if kind == "fully_shard" else ["SAM"]
        for name in names:
            found[kind, name] = raised(lambda: getattr(optim, name)(SGD(model.parameters(), lr=0.1)))  # noqa: B023
        later = SAM(SGD(whole().parameters(), lr=0.1))
        found[kind, "added later"] = raised(lambda: later.add_param_group({"params": list(model.parameters())}))  # noqa: B023
    torch.save(found, f"{folder}/found.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("sharded"))
    multiprocessing.spawn(worker, args=(folder,), nprocs=1)
    return torch.load(f"{folder}/found.pt", weights_only=True)


@pytest.mark.slow
@each(OPTIMIZERS)
def test_fsdp2_is_refused_at_construction(found, method):
    name = method.__name__
    told = found["fully_shard", name]
    assert told.startswith(f"{name} takes a norm over all parameters") and "\n" not in told
    assert "got a DTensor, of FSDP2's fully_shard" in told and told.endswith("use DistributedDataParallel")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flattened", "original parameters"])
def test_so_is_fully_sharded_data_parallel(found, kind):
    assert "got a parameter that FullyShardedDataParallel has flattened" in found[kind, "SAM"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fully_shard", "flattened", "original parameters"])
def test_so_is_a_group_that_is_added_later(found, kind):
    assert found[kind, "added later"].startswith("SAM takes a norm over all parameters")


def test_a_lazy_layer_is_refused_until_it_knows_its_size():
    model = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 1))
    opt = SAM(SGD(model.parameters(), lr=0.1))
    x = torch.randn(4, 5)

    def closure():
        opt.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss

    with pytest.raises(ValueError, match="SAM must know the size of its parameters.*call the model on a batch first"):
        opt.step(closure)
    model(x)
    before = model[0].weight.detach().clone()
    opt.step(closure)
    assert not torch.equal(before, model[0].weight)
