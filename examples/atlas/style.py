"""How the page looks, and the script that keeps it up to date. Colours never say a thing alone."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --text: #1c2024; --soft: #5b6470; --page: #f6f7f9; --card: #fff; --line: #dfe3e8;
  --good: #0b6b35; --good-soft: #e2f4e8; --bad: #a3161b; --bad-soft: #fce8e8; --busy: #1b4fa0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e7eaee; --soft: #a2abb6; --page: #14171b; --card: #1c2127; --line: #343b44;
    --good: #7ddb9f; --good-soft: #15301f; --bad: #ff9d9d; --bad-soft: #3a1a1c; --busy: #9cc2ff;
  }
}
* { box-sizing: border-box }
body {
  margin: 0 auto; max-width: 76rem; padding: 1rem;
  font: 1rem/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
}
header { display: flex; gap: 1rem; align-items: baseline; justify-content: space-between }
h1, h2 { line-height: 1.2; margin: .2em 0 }
h2 { font-size: 1.2rem }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: 1rem; margin: 1rem 0; overflow-x: auto;
}
dl { margin: .5rem 0; color: var(--soft); font-size: .9rem }
dl div { display: flex; gap: .5rem }
dt { min-width: 3rem }
dd { margin: 0; overflow-wrap: anywhere }
code, pre { font: .85rem/1.45 ui-monospace, monospace }
pre { margin: .3rem 0; overflow-x: auto; white-space: pre }
td pre { color: var(--soft) }
table { border-collapse: collapse; width: 100% }
caption { text-align: left; font-weight: 600; padding: .3rem 0 }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0 }
tr { border-bottom: 1px solid var(--line) }
.state { font-size: .8rem; padding: .1rem .5rem; border: 1px solid; border-radius: 1rem }
.state { color: var(--busy) }
.done, .taken { color: var(--good) }
.failed, .refused { color: var(--bad) }
.cancelled { color: var(--soft) }
details { margin: .75rem 0 }
summary { cursor: pointer }
.diff { border: 1px solid var(--line); border-radius: .3rem; padding: .5rem 0 }
.diff span { display: block; padding: 0 .75rem }
.added { color: var(--good); background: var(--good-soft) }
.removed { color: var(--bad); background: var(--bad-soft) }
.file { font-weight: 600 }
.hunk { color: var(--soft) }
"""

REFRESH = """
const pause = document.getElementById("pause");
setInterval(async () => {
  if (pause.checked || document.hidden) return;
  const answer = await fetch(location.href);
  const text = await answer.text();
  const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
  const shown = document.querySelector("main");
  if (fresh && fresh.innerHTML !== shown.innerHTML) shown.replaceWith(fresh);
}, 2000);
"""
