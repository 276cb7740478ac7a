"""The pyramid of a seed, drawn to scale: what each discriminator is trained on."""

from collections.abc import Callable
from typing import Any

from nicegui import ui

from api.studio.elements.thumbnails import fitted, preview_address
from api.studio.frame import button, style, text
from api.studio.wording import number
from services.database.schema import Image
from services.errors import BadInputError
from services.phase1.recipe import Recipe, check_seed_size, effective_factor, scale_sizes

# Longer side of a close-up, px on the page.
_CLOSE_UP = 120


def draw_pyramid(image: Image, recipe: Recipe, *, on_auto: Callable[[], Any]) -> None:
    """The scales of `recipe` on `image`, coarsest first.

    Where they are too small, it is told what to do; `on_auto` follows the advice `factor: auto`.
    """
    style("pyramid")
    sizes = scale_sizes(recipe, image.width, image.height)
    with ui.element("dl").classes("facts"):
        _fact("Factor ρ", f"{number(effective_factor(recipe, min(sizes[-1])))} between neighbours")
        _fact("Finest scale", _finest(image, recipe, sizes[-1]))
        _fact(
            "Receptive field",
            f"{recipe.receptive_field}×{recipe.receptive_field} px: the square in each picture is "
            "what one value of a discriminator sees",
        )
    advice = _advice(image, recipe)
    if advice:
        small = [k for k, size in enumerate(sizes, 1) if min(size) < recipe.smallest_side]
        with ui.element("div").classes("note pyramid-advice").props("role=status"):
            if small:
                text("strong", f"{_range(small)} cannot be trained.")
            text("p", advice)
            if recipe.factor != "auto":
                button("Show it with factor auto", on_auto)
    _draw_to_scale(image, recipe, sizes)
    with ui.element("ol").classes("pyramid-scales").props('aria-label="Scales, coarsest first"'):
        for scale, size in enumerate(sizes, 1):
            _draw_close_up(image, recipe, scale, size)


def _draw_to_scale(image: Image, recipe: Recipe, sizes: list[tuple[int, int]]) -> None:
    """All scales beside one another, each as large as it is against the others."""
    whole = sum(width for width, _ in sizes)
    with ui.element("div").classes("pyramid-strip").props("aria-hidden=true"):
        for width, height in sizes:
            with ui.element("div").classes("pyramid-level") as level:
                level.style(f"flex: {width} {width} 0; max-width: {100 * width / whole:.3f}%")
                _picture(image, (width, height), "")
                _receptive_field(recipe, (width, height))


def _draw_close_up(image: Image, recipe: Recipe, scale: int, size: tuple[int, int]) -> None:
    fits = min(size) >= recipe.smallest_side
    share = _CLOSE_UP / max(*size, 1)
    with ui.element("li"):
        with ui.element("div").classes("pyramid-level close-up") as level:
            level.style(f"width: {max(1, size[0] * share):.1f}px")
            _picture(image, size, f"Scale {scale}")
            _receptive_field(recipe, size)
        text("span", f"Scale {scale}", classes="pyramid-name")
        text("span", f"{size[0]}×{size[1]} px", classes="number")
        text("span", "" if fits else "too small", classes="problem")


def _picture(image: Image, size: tuple[int, int], words: str) -> None:
    width, height = max(1, size[0]), max(1, size[1])
    shown = ui.element("img").classes("pixels")
    # Large scales are shown shrunk; those that show their pixels are as the training has them.
    small = (width, height) if max(width, height) <= 512 else fitted(image, 512)
    shown.props["src"] = preview_address(image, *small)
    shown.props["alt"] = words
    shown.props["width"], shown.props["height"] = width, height


def _receptive_field(recipe: Recipe, size: tuple[int, int]) -> None:
    side = recipe.receptive_field
    square = ui.element("div").classes("pyramid-field")
    square.style(
        f"width: {min(100, 100 * side / max(1, size[0])):.2f}%; "
        f"height: {min(100, 100 * side / max(1, size[1])):.2f}%"
    )


def _finest(image: Image, recipe: Recipe, size: tuple[int, int]) -> str:
    words = f"{size[0]}×{size[1]} px"
    if size == (image.width, image.height):
        return f"{words}, the image itself"
    return f"{words}: the recipe shrinks the image to {recipe.max_size} px on its longer side"


def _advice(image: Image, recipe: Recipe) -> str:
    try:
        check_seed_size(recipe, image.width, image.height)
    except BadInputError as error:
        words = error.message.replace("`", "")
        return words[0].upper() + words[1:] + "."
    return ""


def _fact(name: str, value: str) -> None:
    text("dt", name)
    text("dd", value)


def _range(scales: list[int]) -> str:
    """The small ones are the coarsest."""
    if len(scales) == 1:
        return "Scale 1"
    return f"Scales 1 {'and' if len(scales) == 2 else 'to'} {scales[-1]}"
