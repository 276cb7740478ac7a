// What pages do without asking the server: tell times anew, and copy.
const STEPS = [
  [60, 1, "second"],
  [3600, 60, "minute"],
  [86400, 3600, "hour"],
  [86400 * 30, 86400, "day"],
  [86400 * 365, 86400 * 30, "month"],
  [Infinity, 86400 * 365, "year"],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always" });
const absolute = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

function tellTime(element) {
  const moment = new Date(element.dateTime);
  const seconds = (moment - Date.now()) / 1000;
  const [, length, unit] = STEPS.find(([limit]) => Math.abs(seconds) < limit);
  const words =
    Math.abs(seconds) < 5 ? "just now" : relative.format(Math.round(seconds / length), unit);
  if (element.textContent !== words) element.textContent = words;
  const title = absolute.format(moment);
  if (element.title !== title) element.title = title;
}

function tellTimes() {
  document.querySelectorAll("time[datetime]").forEach(tellTime);
}

async function copy(event) {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed here";
  }
  setTimeout(() => (button.textContent = label), 1500);
}

// On a telephone bars are longer than the screen is wide: begin where the page stands in them.
function showPlaces(_, watcher) {
  const places = document.querySelectorAll("nav [aria-current]");
  if (!places.length) return;
  watcher.disconnect();
  places.forEach((place) => {
    const bar = place.parentElement;
    const left = place.getBoundingClientRect().left - bar.getBoundingClientRect().left;
    bar.scrollLeft += left - (bar.clientWidth - place.clientWidth) / 2;
  });
}

document.addEventListener("click", copy);
setInterval(tellTimes, 1000);
new MutationObserver(tellTimes).observe(document, { childList: true, subtree: true });
new MutationObserver(showPlaces).observe(document, { childList: true, subtree: true });
