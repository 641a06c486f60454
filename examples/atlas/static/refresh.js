// Keeps the page up to date. Replaces only the parts that have changed, so that what the reader has
// selected, closed or scrolled elsewhere stays as it is.
let known = document.querySelector("main").cloneNode(true);
const pause = document.getElementById("pause");
const offline = document.getElementById("offline");

function update(fresh) {
  const shown = document.querySelector("main");
  const parts = [...fresh.children];
  if (parts.length !== known.children.length) {
    shown.replaceWith(fresh.cloneNode(true));
  } else {
    parts.forEach((part, index) => {
      if (part.outerHTML !== known.children[index].outerHTML) {
        shown.children[index].replaceWith(part.cloneNode(true));
      }
    });
  }
  known = fresh;
}

async function refresh() {
  if (pause.checked || document.hidden) return;
  try {
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("main");
    if (fresh) update(fresh);
    offline.hidden = true;
  } catch {
    offline.hidden = false;
  }
}

setInterval(refresh, 2000);
