"""Two workers that train one network: started by `torchrun`, see the page on training loops."""

import torch
import torch.distributed as dist
from torch import nn

from flatlab.optim import SAM

dist.init_process_group("gloo")
torch.manual_seed(0)
model = nn.parallel.DistributedDataParallel(nn.Linear(4, 1))
optimizer = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.05, no_sync=model.no_sync)
x = torch.randn(8, 4, generator=torch.Generator().manual_seed(dist.get_rank()))


def closure():
    """Loss and gradient of this worker's data."""
    optimizer.zero_grad()
    loss = model(x).square().mean()
    loss.backward()
    return loss


for _ in range(5):
    loss = optimizer.step(closure)
weights = [torch.zeros(4) for _ in range(2)]
dist.all_gather(weights, model.module.weight.detach()[0])
if dist.get_rank() == 0:
    print("both workers hold the same weights:", torch.equal(*weights))
dist.destroy_process_group()
