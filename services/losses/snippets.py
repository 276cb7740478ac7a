"""Code to paste that uses a loss: in a training loop of PyTorch, in BasicSR, with torch alone."""

import shlex


def training_loop(file: str) -> str:
    """A training with the safetensors or pth file `file`; `network` and `loader` are the user's."""
    return f"""\
import mdf
import torch

device = "cuda" if torch.cuda.is_available() else "cpu"
loss = mdf.load_loss({file!r}, device=device)  # frozen: it has nothing to train

network.to(device)
optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
for degraded, target in loader:  # RGB in [0, 1], (N, 3, H, W)
    restored = network(degraded.to(device))
    value = loss(restored, target.to(device))  # a scalar
    optimiser.zero_grad()
    value.backward()
    optimiser.step()
"""


def program(file: str) -> str:
    """A step with the pt2 file `file`; `restored` and `target` are the user's."""
    return f"""\
import torch

loss = torch.export.load({file!r}).module().to(restored.device)
value = loss(restored, target)  # both RGB in [0, 1], (N, 3, H, W)
value.backward()  # the gradient goes to `restored`
"""


def basicsr_module() -> str:
    """A module that makes the loss known to BasicSR."""
    return '''\
import mdf
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn


@LOSS_REGISTRY.register()
class MDFLoss(nn.Module):
    """`loss_weight` times the MDF loss in the file `path`."""

    def __init__(self, path, loss_weight=1.0):
        super().__init__()
        self.loss = mdf.load_loss(path)
        self.loss_weight = loss_weight

    def forward(self, pred, target, **kwargs):
        return self.loss_weight * self.loss(pred, target)
'''


def basicsr_options(file: str) -> str:
    """What BasicSR's configuration says to train with the file `file` by that module."""
    return f"""\
train:
  pixel_opt:
    type: MDFLoss
    path: {file!r}
    loss_weight: 1.0
"""


def client_download(url: str, loss_id: str, file: str) -> str:
    """Download by the Python client."""
    return f"""\
import mdf

with mdf.Client({url!r}) as client:
    client.losses.download({loss_id!r}, {file!r})
"""


def command_download(url: str, loss_id: str, file: str) -> str:
    """Download by the command line."""
    return f"mdf losses get {loss_id} --out {shlex.quote(file)} --url {url}\n"
