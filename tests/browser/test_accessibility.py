"""Every page, with content and without, in both themes, on a telephone and on a screen."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Watch
from tests.browser.studio import Studio

NewPage = Callable[..., Page]

EMPTY = [
    *("/", "/seed", "/train", "/runs", "/losses", "/datasets", "/restorers", "/restorers/train"),
    *("/restore", "/compare", "/admin?view=keys", "/admin?view=workers", "/admin?view=usage"),
    *("/admin?view=storage", "/admin?view=webhooks", "/nowhere"),
]
FULL = [
    *("/", "/seed?image={image}", "/train?image={image}", "/runs", "/runs/{training}"),
    *("/losses", "/losses/{loss}", "/losses/{loss}?view=use", "/losses/{loss}?view=playground"),
    *("/datasets", "/datasets/{dataset}", "/restorers", "/restorers/{model}", "/restorers/train"),
    *("/runs/{restorer}", "/restore?model={model}&image={image}", "/compare"),
    *("/compare/{evaluation}", "/admin?view=keys", "/admin?view=keys&of={key}"),
    *("/admin?view=workers", "/admin?view=usage", "/admin?view=storage"),
    *("/admin?view=webhooks", "/admin?view=webhooks&of={hook}"),
]
# What shows only on a wide page is seen in both themes.
WAYS = (("light", 1280), ("dark", 1280), ("dark", 390))
# When nothing has changed for a moment, or what changes does so for ever.
SETTLED = """() => new Promise((settle) => {
  let still = setTimeout(settle, 250);
  new MutationObserver(() => { clearTimeout(still); still = setTimeout(settle, 250); })
    .observe(document.body, { childList: true, subtree: true });
  setTimeout(settle, 1500);
})"""


@pytest.fixture(scope="module")
def ids(studio: Studio) -> dict[str, str]:
    """Ids of what there is in the full house, by placeholder."""
    training, restorer, evaluation = studio.trained(), studio.restorer(), studio.evaluation()
    webhook = studio.client.webhooks.create(f"{studio.url}/nowhere", name="ci")
    studio.make_key("root", "admin")
    key_id = studio.make_key("root", "admin").split("_")[1]
    studio.forget_keys()
    found = {
        "image": training.spec["seed_image_ids"][0],
        "training": training.id,
        "loss": training.loss_id,
        "dataset": studio.dataset().id,
        "restorer": restorer.id,
        "model": restorer.model_id,
        "evaluation": evaluation.evaluation_id,
        "key": f"key_{key_id}",
        "hook": webhook.id,
    }
    return {name: str(each) for name, each in found.items()}


def look_at(page: Page, path: str) -> None:
    """Open the page and hold it to what all pages are held to, as it is seen in both ways."""
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    assert page.title().endswith("· MDF studio")
    assert page.get_by_role("main").count() == 1
    if path != "/login":
        assert page.get_by_role("banner").count() == 1
        assert page.get_by_role("navigation", name="Pages", exact=True).count() == 1
    faults = []
    for theme, width in WAYS:
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(SETTLED)
        where = f"{path}, {theme}, {width} px"
        found = Axe().run(page, options={"resultTypes": ["violations"]})
        faults += [
            f"{where}: {each['id']} ({each['impact']}): {each['help']}: "
            f"{[node['target'] for node in each['nodes']][:4]} {each['nodes'][0]['html'][:200]}"
            for each in found.response["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            faults.append(f"{where}: the document is {wide} px wide")
    assert not faults, "\n".join(faults)


# The empty house first: the other tests fill it.
@pytest.mark.parametrize("path", EMPTY)
def test_a_page_of_an_empty_installation(page: Page, watch: Watch, path: str) -> None:
    watch.allow("status of 404")
    look_at(page, path)


def test_the_login(studio: Studio, page: Page, watch: Watch) -> None:
    watch.allow("status of 401")
    studio.make_key("root", "admin")
    look_at(page, "/login")
    studio.forget_keys()


@pytest.mark.parametrize("path", FULL)
def test_a_page_with_content(page: Page, ids: dict[str, str], path: str) -> None:
    look_at(page, path.format_map(ids))


@pytest.mark.parametrize("path", ["/", "/runs", "/admin?view=keys"])
def test_the_keyboard_reaches_what_there_is(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_the_theme_is_kept(page: Page) -> None:
    page.goto("/")
    dark = page.locator("body.body--dark")
    expect(dark).to_have_count(0)
    page.get_by_label("Theme").select_option("dark")
    expect(dark).to_have_count(1)
    page.goto("/runs")
    expect(dark).to_have_count(1)
    page.get_by_label("Theme").select_option("auto")
    expect(dark).to_have_count(0)
    page.emulate_media(color_scheme="dark")
    expect(dark).to_have_count(1)


def test_on_a_telephone_the_bar_begins_at_the_page(new_page: NewPage) -> None:
    page = new_page(width=390)
    page.goto("/admin")
    place = page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link")
    expect(place.filter(has_text="Admin")).to_be_in_viewport(ratio=0.9)
    page.goto("/")
    expect(place.filter(has_text="Home")).to_be_in_viewport(ratio=0.9)
