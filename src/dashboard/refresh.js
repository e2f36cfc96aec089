// Shows what is new without being asked. Everything on the page works without it.
"use strict";
const EVERY_MS = 20000;

// What somebody has unfolded stays so, and what somebody is about to use is not taken away.
function replace(fresh) {
  const shown = document.querySelector("main");
  if (shown.contains(document.activeElement)) return;
  for (const details of shown.querySelectorAll("details[open]")) {
    const same = fresh.querySelector("#" + CSS.escape(details.id));
    if (same) same.open = true;
  }
  shown.replaceWith(document.adoptNode(fresh));
}

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    // The session has ended: what comes instead is the way to another one.
    if (answer.redirected) return location.reload();
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("main");
    if (fresh) replace(fresh);
  } catch {
    // usaged restarts, most likely. What is shown says of when it is.
  }
}

setInterval(refresh, EVERY_MS);
