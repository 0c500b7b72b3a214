"use strict";
// During training the page reloads itself, and keeps its scroll position, focus and open sections.
(() => {
  const root = document.documentElement;
  const over = root.dataset.over === "yes";
  const byId = (id) => document.getElementById(id);
  const store = {
    get: (key) => { try { return sessionStorage.getItem("dprm-" + key); } catch { return null; } },
    set: (key, value) => { try { sessionStorage.setItem("dprm-" + key, value); } catch { /* not remembered then */ } },
  };

  if (store.get("theme")) root.dataset.theme = store.get("theme");
  byId("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    store.set("theme", root.dataset.theme);
  });

  const view = "view-" + location.pathname;
  const keep = () => store.set(view, JSON.stringify({
    at: scrollY,
    focus: document.activeElement?.id || "",
    open: [...document.querySelectorAll("details[open]")].map((part) => part.id),
  }));

  const restore = () => {
    const before = JSON.parse(store.get(view) || "null");
    if (!before) return;
    document.querySelectorAll("details").forEach((part) => { part.open = before.open.includes(part.id); });
    scrollTo(0, before.at);
    if (before.focus) byId(before.focus)?.focus({ preventScroll: true });
  };

  const age = () => (Date.now() - Number(root.dataset.writtenAt)) / 1000;
  const show = () => {
    const seconds = age();
    if (!over && seconds > 90) byId("age").textContent = "nothing new for " + Math.round(seconds / 60) + " min";
  };
  show();
  if (over) {
    restore();
    return;
  }

  const pause = byId("pause");
  let paused = store.get("paused") === "yes";
  const label = () => { pause.textContent = paused ? "Resume refreshing" : "Pause refreshing"; };
  label();
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    store.set("paused", paused ? "yes" : "no");
    label();
  });

  restore();
  const loaded = Date.now();
  let leaving = false;
  setInterval(() => {
    show();
    const wait = Number(root.dataset.refresh) * (age() > 120 ? 6 : 1);  // less often when nothing new has come for a while
    const selecting = String(getSelection()).length > 0;
    if (leaving || paused || document.hidden || selecting || Date.now() - loaded < wait) return;
    leaving = true;
    keep();
    location.reload();
  }, 500);
})();
