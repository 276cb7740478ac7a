// Shows the key to the service once; from then on the browser's cookie stands for it.
const form = document.getElementById("login");
const field = document.getElementById("key");
const problem = document.getElementById("problem");
const button = form.querySelector("button");

function next() {
  const wanted = new URLSearchParams(location.search).get("next") ?? "/";
  const target = new URL(wanted, location.origin);
  return target.origin === location.origin ? target.href : "/"; // a path alone may begin with //
}

async function begin(event) {
  event.preventDefault();
  problem.textContent = "";
  button.disabled = true;
  try {
    const answer = await fetch("/v1/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ api_key: field.value.trim() }),
    });
    if (answer.ok) {
      location.replace(next());
      return;
    }
    problem.textContent = (await answer.json()).detail;
  } catch {
    problem.textContent = "The service does not answer: is it running, and reachable from here?";
  }
  button.disabled = false;
  field.select();
}

form.addEventListener("submit", begin);
// By a link from another site a browser comes without its cookie, and has it here. Where no key is
// needed there is no session, and none is asked for.
fetch("/v1/session").then((answer) => {
  if (answer.ok || answer.status === 404) location.replace(next());
});
