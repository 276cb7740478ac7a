"""How soon the studio's pages are seen, and how much they move afterwards.

    python benchmarks/studio_paint.py [--rounds 9]

Opens each page of a service on this machine, with a loss, a restorer and a comparison in it, in
Chromium with a warm cache, by turns. Medians of the first contentful paint since the navigation
began, of the same for the page's heading, and of the layout shift of the first two seconds (0 is
none; 0.1 is called good). The target is one second. Writes benchmarks/results/studio_paint.md.
"""

import argparse
import os
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.browser.studio import FLAGS, Studio, running

RESULTS = Path(__file__).parent / "results" / "studio_paint.md"
TARGET = 1000  # milliseconds
PAGES = (
    *("/", "/seed?image={image}", "/train?image={image}", "/runs", "/runs/{training}", "/losses"),
    *("/losses/{loss}", "/losses/{loss}?view=playground", "/datasets", "/datasets/{dataset}"),
    *("/restorers", "/restorers/{model}", "/restorers/train", "/restore?model={model}"),
    *("/compare", "/compare/{evaluation}", "/admin", "/admin?view=workers"),
)
# From the page's first script on: when its heading came, and what has moved since.
WATCH = """
window.seen = {heading: null, shift: 0};
new MutationObserver((_, watcher) => {
  if (!document.querySelector("h1")) return;
  watcher.disconnect();
  requestAnimationFrame(() => { window.seen.heading = performance.now(); });
}).observe(document, {childList: true, subtree: true});
new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
  if (!entry.hadRecentInput) window.seen.shift += entry.value;
})).observe({type: "layout-shift", buffered: true});
"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def furnish(studio: Studio) -> dict[str, str]:
    """Small real things; gives their ids by placeholder."""
    training, restorer = studio.trained(), studio.restorer()
    return {
        "image": training.spec["seed_image_ids"][0],
        "training": training.id,
        "loss": str(training.loss_id),
        "dataset": studio.dataset().id,
        "model": str(restorer.model_id),
        "evaluation": str(studio.evaluation().evaluation_id),
    }


def look(page: Page, address: str) -> tuple[float, float, float]:
    """Milliseconds to the first paint and to the heading, and the layout shift."""
    page.goto(address)
    page.wait_for_timeout(2000)
    seen = page.evaluate("window.seen")
    return page.evaluate(PAINT), seen["heading"], seen["shift"]


def measure(rounds: int) -> dict[str, list[tuple[float, float, float]]]:
    """What was seen, by page, round by round, after one round to warm up."""
    found = defaultdict(list)
    with tempfile.TemporaryDirectory() as home, running(Path(home)) as studio:
        ids = furnish(studio)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=[*FLAGS]
            )
            page = browser.new_page(
                base_url=studio.url, viewport={"width": 1280, "height": 900}, locale="en-GB"
            )
            page.add_init_script(WATCH)
            for number in range(rounds + 1):
                for path in PAGES:
                    seen = look(page, path.format_map(ids))
                    if number:
                        found[path].append(seen)
            browser.close()
    return found


def main() -> None:
    """Measure, and say whether the target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    load = os.getloadavg()[0]
    found = measure(rounds)
    lines = [
        "# How soon the studio's pages are seen",
        "",
        f"Chromium 1280×900 on loopback, warm cache, {os.cpu_count()} cores, load average "
        f"{load:.1f} at the start; medians of {rounds} rounds, by turns. Target: first paint "
        f"within {TARGET} ms.",
        "",
        "| page | first paint, ms | range | heading, ms | layout shift | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for path, seen in found.items():
        paints, headings, shifts = zip(*seen, strict=True)
        paint = statistics.median(paints)
        lines.append(
            f"| `{path}` | {paint:.0f} | {min(paints):.0f}–{max(paints):.0f} "
            f"| {statistics.median(headings):.0f} | {statistics.median(shifts):.3f} "
            f"| {'met' if paint <= TARGET else 'missed'} |"
        )
    report = "\n".join(lines)
    print(report)
    RESULTS.write_text(report + "\n")


if __name__ == "__main__":
    main()
