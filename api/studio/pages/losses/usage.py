"""How a loss is used: code to paste."""

from nicegui import ui

from api.downloads import plain_name
from api.studio.elements.ids import code
from api.studio.frame import panel, text
from services.database.schema import Loss
from services.losses import snippets


def show(loss: Loss) -> None:
    """The view."""
    name = plain_name(loss.name, loss.id)
    address = str(ui.context.client.request.base_url).rstrip("/")
    weights = f"{name}.safetensors"
    with ui.element("div").classes("columns wide"):
        with panel("1. Download it"):
            text("p", "By the command line:")
            code(
                snippets.command_download(address, loss.id, weights), of="command that downloads it"
            )
            text("p", "Or from Python:")
            code(snippets.client_download(address, loss.id, weights), of="Python that downloads it")
            text(
                "p",
                "Where the service asks for an API key, both take it from the environment variable "
                "MDF_API_KEY. The overview has the files as links.",
                classes="quiet",
            )
        with panel("2. Train with it in PyTorch"):
            text(
                "p",
                "network and loader are yours. The package is one wheel, mdf, which brings no "
                "server.",
            )
            code(snippets.training_loop(weights), of="training loop in PyTorch")
        with panel("In BasicSR"):
            text(
                "p", "Save this beside your training script as mdf_basicsr.py, and import it there:"
            )
            code(snippets.basicsr_module(), of="module that registers the loss in BasicSR")
            text("p", "Then name it in the options of the training:")
            code(snippets.basicsr_options(weights), of="options of BasicSR")
        with panel("With torch alone"):
            text(
                "p",
                "The .pt2 file is a program of torch.export. It needs nothing of this project, and "
                "gives the same value; it takes more memory than the package does.",
            )
            code(snippets.program(f"{name}.pt2"), of="use of the pt2 file")
