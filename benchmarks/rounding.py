"""What bfloat16 leaves of a perturbation: the change of the gradient over it, beside the one in float32."""

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from flatlab.training import Train
from flatlab.training.arithmetic import autocast
from flatlab.training.examples import examples
from flatlab.training.trainer import Trainer

SETTING = Train(
    data="cifar10", network="fast_cifar", width=(32, 128, 128), examples=15_360, epochs=2, schedule="constant",
    nesterov=True, label_smoothing=0.1, augment="crop_flip", precision="bf16",
)  # fmt: skip
BATCHES = 3


def gradient(trainer, w, batch, precision):
    """The gradient of the loss on the batch at the weights `w`, with forward and backward in that precision."""
    vector_to_parameters(w, trainer.model.parameters())
    torch.clear_autocast_cache()
    trainer.model.zero_grad()
    x, y = batch
    with autocast(trainer.device, precision):
        outputs = trainer.model(x)
    cross_entropy(outputs.float(), y, label_smoothing=SETTING.label_smoothing).backward()
    return parameters_to_vector([p.grad for p in trainer.model.parameters()])


def kept(trainer, w, batches, away):
    """The share of the change `g(w + away(g)) - g(w)` in float32 that lies in that of bfloat16; its mean over batches."""
    shares = []
    for batch in batches:
        change = []
        for precision in ("fp32", "bf16"):
            g = gradient(trainer, w, batch, precision)
            change.append(gradient(trainer, w + away(g), batch, precision) - g)
        full, half = change
        shares.append(float(full @ half / (full @ full)))
    return sum(shares) / len(shares)


def main():
    """Print the shares for SAM's ascent and for a random displacement, as LSAM draws."""
    trainer = Trainer(SETTING, examples(SETTING), torch.device("cpu"))
    while not trainer.finished:
        for _ in trainer.advance():
            pass
    trainer.batches.begin(trainer.epoch)
    batches, w = [trainer.batches[k] for k in range(BATCHES)], trainer.weights()
    trainer.model.train()
    noise = torch.randn(len(w), generator=torch.Generator().manual_seed(0))
    print("fast_cifar 32/128/128 after two short epochs: what bf16 keeps of the gradient's change")
    for rho in (0.05, 0.2):
        print(f"  SAM's ascent, rho {rho:g}: {kept(trainer, w, batches, lambda g, rho=rho: rho * g / g.norm()):.0%}")
    for rho in (0.05, 0.5):
        step = rho * noise / noise.norm()
        print(f"  a random displacement of length {rho:g}: {kept(trainer, w, batches, lambda g, step=step: step):.0%}")


if __name__ == "__main__":
    main()
