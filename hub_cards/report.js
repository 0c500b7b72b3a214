"use strict";
// Texts are only ever set as textContent, never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 20; // prompts
  const byId = (id) => document.getElementById(id);
  const percent = (mille) => (mille / 10).toFixed(0) + "%";
  const ink = (colour) => {
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16) / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    return 1.05 / (light + 0.05) > (light + 0.05) / 0.05 ? "#ffffff" : "#101418";
  };

  const stack = (shares, thin) => {
    const bar = make("span", thin ? "stack thin" : "stack");
    bar.setAttribute("role", "img");
    bar.setAttribute("aria-label", (thin ? "Votes: " : "Fitted: ") +
      shares.map((share, k) => data.labels[k] + " " + percent(share)).join(", "));
    shares.forEach((share, k) => {
      if (share < 2) return;
      const part = make("i", "", !thin && share >= 70 ? (share / 10).toFixed(0) : "");
      part.style.flex = String(share);
      part.style.background = data.colours[k];
      part.style.color = ink(data.colours[k]);
      part.title = data.labels[k] + ": " + percent(share);
      bar.append(part);
    });
    return bar;
  };

  const fact = (name, value) => {
    const line = make("span", "", name + " ");
    line.append(make("b", "", value));
    return line;
  };

  const figure = (value, digits) => value.toFixed(digits).replace("-", "−");

  const text = (words, className, role) => {
    const holder = make("div", "turn");
    holder.append(make("span", "role", role));
    holder.append(unfolding(words, className, 420, 5));
    return holder;
  };

  const answer = (item, number, best) => {
    const box = make("div", "answer" + (best ? " best" : "") + (item.fits ? "" : " other"));
    const head = make("p", "head", "Response " + number);
    if (item.c) head.append(make("span", "tag", item.c + " in the source"));
    if (best) head.append(make("span", "tag preferred", "preferred"));
    if (!item.fits) head.append(make("span", "tag", "does not fit the filters"));
    box.append(head);
    item.r.forEach(([role, words]) => box.append(text(words, "response", role)));
    const meta = make("div", "meta");
    if (item.n > 0) box.append(stack(item.d, false), stack(item.v, true));
    if (item.n > 0) meta.append(
      fact("reward", figure(item.e, 2) + " (" + figure(item.l, 1) + " to " + figure(item.h, 1) + ")"),
      fact("two annotators differ", percent(item.s * 1000)),
      fact("votes", String(item.n)),
    );
    else meta.append(make("span", "", "no votes"));
    data.columns.forEach((column, k) => { if (item.m[k] !== null) meta.append(fact(column, item.m[k])); });
    if (item.f !== null && item.f < 0.01) meta.append(make("span", "bad", "the fit cannot describe these votes (p = " + item.f + ")"));
    meta.append(make("code", "", item.i.slice(0, 12)));
    box.append(meta);
    return box;
  };

  const card = (group) => {
    const prompt = data.prompts[group.at];
    const article = make("article", "item");
    if (prompt.h) article.append(make("p", "earlier", prompt.h + (prompt.h > 1 ? " earlier turns" : " earlier turn")));
    prompt.t.forEach(([role, words], k) => article.append(text(words, k === prompt.t.length - 1 ? "prompt" : "", role)));
    const judged = group.items.filter((item) => item.n > 0).map((item) => item.e).sort((a, b) => b - a);
    const answers = make("div", "answers");
    group.items.forEach((item, k) => answers.append(
      answer(item, k + 1, judged.length > 1 && judged[0] > judged[1] && item.n > 0 && item.e === judged[0])));
    article.append(answers);
    if (prompt.n > group.items.length) article.append(make("p", "earlier", group.items.length + " of its " + prompt.n + " responses"));
    return article;
  };

  // -- filters
  const filters = [];
  data.columns.forEach((column, k) => {
    const values = [...new Set(data.items.map((item) => item.m[k]).filter((value) => value !== null))].sort();
    if (values.length < 2) return;
    const label = make("label", "", column + " ");
    const select = make("select");
    select.dataset.column = column;
    select.append(new Option("any", ""));
    values.forEach((value) => select.append(new Option(value, value)));
    label.append(select);
    byId("column-filters").append(label);
    filters.push((item) => select.value === "" || item.m[k] === select.value);
  });
  const search = byId("search"), likely = byId("label"), sort = byId("sort");
  data.items.forEach((item) => {
    item.top = item.d.indexOf(Math.max(...item.d));
    item.text = [...data.prompts[item.g].t, ...item.r].map(([, words]) => words).join("\n").toLowerCase();
    item.w = item.h - item.l;
  });
  filters.push((item) => likely.value === "" || item.top === Number(likely.value));
  filters.push((item) => item.text.includes(search.value.trim().toLowerCase()));

  const groups = data.prompts.map((prompt, at) => ({ at, items: data.items.filter((item) => item.g === at) }));

  let found = [], shown = 0, fitting = 0;
  const counted = (number, noun) => number.toLocaleString("en") + " " + noun + (number === 1 ? "" : "s");
  const more = () => {
    const fragment = document.createDocumentFragment();
    found.slice(shown, shown + PAGE).forEach((group) => fragment.append(card(group)));
    byId("list").append(fragment);
    shown = Math.min(shown + PAGE, found.length);
    byId("more").hidden = shown >= found.length;
    byId("count").textContent = found.length === 0 ? "No item fits." :
      shown.toLocaleString("en") + " of " + counted(found.length, "prompt") + ", " + counted(fitting, "response");
  };
  // Prompts come in the order of their first response that fits.
  const refresh = () => {
    const key = sort.value[0], sign = sort.value[1] === "+" ? 1 : -1;
    const value = (item) => (item[key] === null || item.n === 0 ? Infinity : sign * item[key]);
    data.items.forEach((item) => { item.fits = filters.every((fits) => fits(item)); });
    fitting = data.items.filter((item) => item.fits).length;
    found = groups.filter((group) => group.items.some((item) => item.fits));
    found.forEach((group) => { group.first = Math.min(...group.items.filter((item) => item.fits).map(value)); });
    found.sort((a, b) => (a.first === b.first ? 0 : a.first - b.first));
    byId("list").replaceChildren();
    shown = 0;
    more();
  };
  byId("tools").addEventListener("input", refresh);
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", () => {
    const first = shown;
    more();
    const next = byId("list").children[first];
    if (next) { next.tabIndex = -1; next.focus({ preventScroll: true }); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    }
  });

  // -- tables that sort by a click on their head
  const sortKey = (cell) => {
    const words = cell.textContent.trim();
    const figure = parseFloat(words.replace(/−/g, "-").replace(/[^0-9.eE+-]/g, ""));
    return Number.isNaN(figure) ? words.toLowerCase() : figure;
  };
  document.querySelectorAll("table.sortable").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if ("nosort" in head.dataset) return;
      const button = make("button", "", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const numeric = head.classList.contains("num");
        const key = (row) => (numeric ? sortKey(row.cells[column]) : row.cells[column].textContent.toLowerCase());
        const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
        rows.sort(([a], [b]) => (typeof a !== typeof b ? (typeof a === "number" ? -1 : 1) : (a < b ? -1 : a > b ? 1 : 0) * (ascending ? 1 : -1)));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  });

  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  refresh();
})();
