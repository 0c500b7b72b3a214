"use strict";
// Asks for the runs' state every second or two and updates the page in place. Texts are only ever set as textContent, never as HTML.
(() => {
  const EVERY = 1500; // milliseconds
  const byId = (id) => document.getElementById(id);
  const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const counted = (number) => (number === null || number === undefined ? "–" : Math.round(number).toLocaleString("en"));
  const many = (number, noun) => counted(number) + " " + noun + (number === 1 ? "" : "s");
  const percent = (share) => (100 * share).toFixed(0) + "%";
  const figure = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−"));
  const clock = (seconds) => new Date(1000 * seconds).toLocaleTimeString("en-GB");
  const words = (name) => name.replaceAll("_", " ");

  // -- pieces
  const stack = (bar, shares, labels) => {
    if (!shares) {
      bar.replaceChildren();
      bar.setAttribute("aria-label", "No answers yet");
      return bar;
    }
    while (bar.children.length < labels.length) bar.append(make("i"));
    bar.setAttribute("role", "img");
    bar.setAttribute("aria-label", labels.map((label, k) => label.name + " " + percent(shares[k])).join(", "));
    labels.forEach((label, k) => {
      const part = bar.children[k];
      part.style.flexGrow = String(shares[k]);
      part.style.background = label.colour;
      part.style.color = label.ink;
      part.hidden = shares[k] < 0.002;
      part.title = label.name + ": " + percent(shares[k]);
      put(part, shares[k] >= 0.09 ? (100 * shares[k]).toFixed(0) : "");
    });
    return bar;
  };
  const newStack = (shares, labels) => stack(make("span", "stack"), shares, labels);

  const clamped = (text, className) => unfolding(text, className, 260, 3);

  const table = (name, heads, rows) => {
    const holder = make("div", "scroll");
    holder.tabIndex = 0;
    holder.setAttribute("role", "region");
    holder.setAttribute("aria-label", name);
    const made = make("table"), head = make("tr"), body = make("tbody");
    heads.forEach(([text, className]) => {
      const cell = make("th", className, text);
      cell.scope = "col";
      head.append(cell);
    });
    rows.forEach((cells) => {
      const row = make("tr");
      cells.forEach((content, k) => {
        const cell = make(k ? "td" : "th", heads[k][1]);
        if (!k) { cell.scope = "row"; if (typeof content === "string") cell.title = content; }
        cell.append(content);
        row.append(cell);
      });
      body.append(row);
    });
    made.append(make("thead"), body);
    made.tHead.append(head);
    holder.append(made);
    return holder;
  };

  const FEWEST_BARS = 12; // that would fit
  const SVG = "http://www.w3.org/2000/svg";
  const drawn = (tag, attributes, text) => {
    const element = document.createElementNS(SVG, tag);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, String(value)));
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const chart = (pace) => {
    const width = 520, height = 150, below = 24, above = 22;
    const most = Math.max(...pace.bars, 1), step = width / Math.max(pace.bars.length, FEWEST_BARS), plot = height - below - above;
    const perMinute = (count) => counted(count * 60 / pace.width);
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "pace", "aria-label": `Answers a minute from ${clock(pace.start)} to ${clock(pace.end)}: at most ${perMinute(most)}, now ${counted(pace.a_minute)}` });
    svg.append(drawn("line", { class: "rule", x1: 0, x2: width, y1: height - below, y2: height - below }));
    svg.append(drawn("text", { class: "dim", x: 0, y: 14 }, perMinute(most) + " a minute"));
    pace.bars.forEach((count, k) => {
      if (!count) return;
      const tall = Math.max(count / most * plot, 1.5);
      const bar = drawn("rect", { class: "bar", x: (k * step + step * 0.08).toFixed(1), y: (height - below - tall).toFixed(1), width: Math.max(step * 0.84, 0.8).toFixed(1), height: tall.toFixed(1), rx: 1 });
      bar.append(drawn("title", {}, `${clock(pace.start + k * pace.width)}: ${many(count, "answer")} in ${pace.width} s`));
      svg.append(bar);
    });
    svg.append(drawn("text", { class: "dim", x: 0, y: height - 6 }, clock(pace.start)));
    svg.append(drawn("text", { class: "dim", x: Math.max(step * pace.bars.length, 130).toFixed(1), y: height - 6, "text-anchor": "end" }, clock(pace.end)));
    return svg;
  };

  // -- one run
  const SECTIONS = [["pace", "Pace"], ["labels", "Labels so far"], ["panel", "The panel"], ["failures", "Failures"], ["next", "Next"], ["newest", "Newest answers"]];
  const RIGHT = new Set(["next", "newest"]);

  const newRun = (place, alone) => {
    const article = make("article", "run");
    const parts = { article, cards: new Map(), drawn: {}, head: make("div") };
    if (!alone) {
      parts.title = make("h2");
      article.append(parts.title, parts.head);
    }
    parts.state = make("p", "state");
    parts.meter = make("div", "meter");
    parts.meter.setAttribute("role", "progressbar");
    parts.meter.setAttribute("aria-label", "Items done");
    parts.meter.append(make("i"));
    parts.tiles = make("dl", "tiles");
    parts.faults = make("div");
    parts.head.append(parts.state, parts.meter, parts.tiles, parts.faults);
    const columns = make("div", "columns"), left = make("div"), right = make("div");
    columns.append(left, right);
    SECTIONS.forEach(([name, title]) => {
      const section = make("section", name), head = make(alone ? "h2" : "h3", "", title), body = make("div");
      head.id = `${name}-${place}`;
      section.setAttribute("aria-labelledby", head.id);
      section.append(head, body);
      section.hidden = true;
      parts[name] = { section, body };
      (RIGHT.has(name) ? right : left).append(section);
    });
    article.append(columns);
    return parts;
  };

  // Draws a part again only where its content has changed.
  const draw = (parts, name, content, build) => {
    const part = parts[name];
    const told = JSON.stringify(content);
    if (parts.drawn[name] === told) return;
    parts.drawn[name] = told;
    part.section.hidden = content === null;
    if (content !== null) part.body.replaceChildren(...build(content));
  };

  const tiles = (list, entries) => {
    while (list.children.length < entries.length) {
      const box = make("div");
      box.append(make("dt"), make("dd"), make("dd", "small"));
      list.append(box);
    }
    while (list.children.length > entries.length) list.lastChild.remove();
    entries.forEach(([name, value, small], k) => [name, value, small].forEach((text, i) => put(list.children[k].children[i], text)));
  };

  const failed = (run) => Object.values(run.attempts || {}).reduce((sum, each) => sum + each, 0);
  const unanswered = (run) => (run.models || []).reduce((sum, each) => sum + each.failed, 0);

  const entries = (run) => {
    const found = [];
    const running = run.state.kind === "running";
    if (run.calls || run.calls_left) {
      found.push(["answers", counted(run.calls), run.calls_left === null ? "" : run.calls_left ? "about " + counted(run.calls_left) + " to come" : "all that are needed"]);
      found.push(["answers a minute", run.pace ? counted(run.pace.a_minute) : "–", run.pace && run.pace.left ? run.pace.left + " to go" : running ? "in the last minute" : "on average"]);
      found.push(["paid", run.spent, [run.projected && "about " + run.projected + " at the end", run.budget && "budget " + run.budget].filter(Boolean).join(", ")]);
    }
    if (run.mean !== null && run.mean !== undefined) {
      const rewards = run.labels.map((label) => label.reward);
      found.push(["mean reward", figure(run.mean, 2), "from " + figure(Math.min(...rewards), 1) + " to " + figure(Math.max(...rewards), 1)]);
    }
    if (run.agreement) found.push(["agreement (α)", figure(run.agreement.alpha, 2), "0 is chance, 1 is perfect"]);
    if (run.calls) found.push(["failed attempts", counted(failed(run)), unanswered(run) ? many(unanswered(run), "call") + " without an answer" : "every call got its answer"]);
    return found;
  };

  const head = (parts, run) => {
    const state = run.state;
    const told = JSON.stringify([state, run.items_done, run.items_total, run.folder, run.unread, run.batches]);
    if (parts.drawn.state !== told) {
      parts.drawn.state = told;
      const shown = make("span", state.kind);
      shown.append(make("i", "pulse"), make("b", "", state.words));
      parts.state.replaceChildren(shown);
      if (run.items_total) parts.state.append(make("span", "", counted(run.items_done) + " of " + many(run.items_total, "item") + " done"));
      if (run.batches && run.batches.pending) parts.state.append(make("span", "", many(run.batches.calls, "call") + " in " + many(run.batches.pending, "batch").replace("batchs", "batches") + " since " + clock(run.batches.since)));
      if (run.unread) parts.state.append(make("span", "", "still reading: " + many(run.unread, "call") + " of the ledger"));
      const folder = make("span");
      folder.append(make("code", "", run.folder));
      parts.state.append(folder);
      const share = run.items_total ? 100 * run.items_done / run.items_total : 0;
      parts.meter.hidden = !run.items_total;
      parts.meter.firstChild.style.width = share.toFixed(2) + "%";
      parts.meter.setAttribute("aria-valuenow", share.toFixed(0));
    }
    tiles(parts.tiles, entries(run));
    if (parts.drawn.faults !== JSON.stringify(run.faults)) {
      parts.drawn.faults = JSON.stringify(run.faults);
      parts.faults.replaceChildren(...run.faults.map((fault) => make("p", "warn", fault)));
    }
  };

  const pace = (run) => {
    const found = [];
    if (run.pace) {
      const holder = make("figure");
      holder.append(chart(run.pace));
      found.push(holder);
    }
    found.push(table("Models", [["model", ""], ["answers", "num"], ["without", "num"], ["wait, mean", "num"], ["paid", "num"]],
      run.models.map((model) => [model.name || "(no answer)", counted(model.answered), counted(model.failed), model.wait, model.cost])));
    return found;
  };

  const labels = (run) => {
    const found = [make("p", "lead", (run.simulated ? "Simulated: a model played the annotators. " : "") + "Shares of " + many(run.labelled, "answer") + " about " + run.said + ".")];
    found.push(newStack(run.shares, run.labels));
    const legend = make("ul", "legend");
    run.labels.forEach((label, k) => {
      const line = make("li"), dot = make("i");
      dot.style.background = label.colour;
      line.append(dot, label.name, make("b", "", run.shares ? percent(run.shares[k]) : "–"));
      legend.append(line);
    });
    found.push(legend);
    const models = Object.entries(run.by_model).filter(([, shares]) => shares);
    if (models.length > 1) found.push(table("Labels by model", [["model", ""], ["labels", "wide-cell"]], models.map(([name, shares]) => [name, newStack(shares, run.labels)])));
    return found;
  };

  const panel = (run) => {
    const found = [], agreement = run.agreement;
    if (agreement) {
      const facts = make("dl", "facts");
      const fact = (name, value, small) => {
        const box = make("div"), told = make("dd", "", value);
        if (small) told.append(" ", make("small", "", small));
        box.append(make("dt", "", name), told);
        facts.append(box);
      };
      fact("Krippendorff’s α, rewards", figure(agreement.alpha, 2));
      fact("Krippendorff’s α, nominal", figure(agreement.nominal, 2));
      fact("effective number of annotators", figure(agreement.effective, 1), "of " + agreement.of);
      found.push(facts);
    }
    found.push(table("Annotators", [["annotator", ""], ["labels", "wide-cell"], ["answers", "num"], ["severity", "num"]],
      run.annotators.map((each) => {
        const severity = agreement && agreement.severity[each.id];
        return [each.name, newStack(each.shares, run.labels), counted(each.labelled) + (each.labelled < each.answers ? " of " + counted(each.answers) : ""), severity === undefined || severity === null ? "–" : (severity > 0 ? "+" : "") + figure(severity, 2)];
      })));
    return found;
  };

  // Cards of items and lines of answers stay where they are while others come.
  const line = (answer, run) => {
    const entry = make("li"), what = make("span", "what");
    const who = make("span", "who", answer.who);
    if (Object.keys(run.by_model).length > 1) who.append(" ", make("small", "", answer.model));
    if (answer.label !== null) {
      const dot = make("i", "dot");
      dot.style.background = run.labels[answer.label].colour;
      what.append(dot, run.labels[answer.label].name);
    } else if (answer.status === "ok") {
      what.append("a distribution");
    } else {
      what.append(make("span", "bad", words(answer.status)));
    }
    if (answer.why) what.append(make(answer.status === "ok" ? "q" : "em", "", answer.why));
    entry.append(who, what);
    if (answer.at) {
      const time = make("time", "", clock(answer.at));
      time.dateTime = new Date(1000 * answer.at).toISOString();
      entry.append(time);
    }
    return entry;
  };

  const newCard = (item) => {
    const card = { article: make("article", "card"), bar: make("span", "stack"), count: make("small"), list: make("ul", "said"), lines: new Map() };
    if (item.prompt) card.article.append(clamped(item.prompt, "prompt"));
    item.responses.forEach((response, k) => {
      if (item.responses.length === 1) { card.article.append(clamped(response, "response")); return; }
      const side = make("div", "side"), text = make("div");
      text.append(clamped(response, "response"));
      side.append(make("b", "", String.fromCharCode(65 + k)), text);
      card.article.append(side);
    });
    const forms = make("div", "forms");
    forms.append(card.bar, card.count);
    card.article.append(forms, card.list);
    return card;
  };

  const keep = (parent, wanted) => {
    const held = new Set(wanted);
    [...parent.children].forEach((child) => { if (!held.has(child)) child.remove(); });
    wanted.forEach((element, k) => { if (parent.children[k] !== element) parent.insertBefore(element, parent.children[k] || null); });
  };

  const newest = (parts, run, first) => {
    const { section, body } = parts.newest;
    section.hidden = !run.items || !run.items.length;
    if (section.hidden) return;
    const cards = new Map();
    run.items.forEach((item) => {
      const card = parts.cards.get(item.id) || newCard(item);
      cards.set(item.id, card);
      stack(card.bar, item.shares, run.labels);
      put(card.count, item.of && !item.done ? counted(item.answers) + " of " + counted(item.of) + " answers" : many(item.answers, "answer"));
      const lines = new Map();
      item.newest.forEach((answer) => {
        const known = card.lines.get(answer.key);
        const entry = known && known.dataset.at === String(answer.at) ? known : line(answer, run);
        if (entry !== known) {
          entry.dataset.at = String(answer.at);
          if (!first) entry.classList.add("fresh");
        }
        lines.set(answer.key, entry);
      });
      card.lines = lines;
      keep(card.list, [...lines.values()]);
    });
    parts.cards = cards;
    keep(body, [...cards.values()].map((card) => card.article));
  };

  const failures = (run) => {
    const found = [];
    const attempts = Object.entries(run.attempts).sort((a, b) => b[1] - a[1]), reasons = Object.entries(run.failures);
    if (attempts.length) found.push(table("Failed attempts", [["attempts that failed, and were made again", ""], ["", "num"]], attempts.map(([kind, count]) => [words(kind), counted(count)])));
    if (reasons.length) found.push(make("h3", "", "Annotations without a label"), table("Reasons", [["reason", ""], ["", "num"]], reasons.map(([reason, count]) => [reason, counted(count)])));
    return found.length ? found : [make("p", "none", "None so far.")];
  };

  const next = (run) => {
    const found = [], steps = make("ul", "steps");
    run.steps.forEach(([command, purpose]) => {
      const step = make("li");
      step.append(make("code", "", command), " ", make("span", "", purpose));
      steps.append(step);
    });
    found.push(steps);
    const tables = Object.entries(run.tables).filter(([, rows]) => rows);
    if (tables.length) found.push(make("p", "none", "In the folder: " + tables.map(([name, rows]) => counted(rows) + " " + name).join(", ") + "."));
    if (run.possibly_billed) found.push(make("p", "none", run.possibly_billed + " may be billed besides, for calls in flight now or when a process was killed."));
    return found;
  };

  const update = (parts, run, first) => {
    if (parts.title) put(parts.title, run.name);
    head(parts, run);
    const running = run.state.kind === "running";
    const some = (keys) => Object.fromEntries(keys.map((key) => [key, run[key]]));
    draw(parts, "pace", run.models && run.models.length ? some(["pace", "models"]) : null, pace);
    draw(parts, "labels", run.shares ? some(["shares", "labels", "labelled", "said", "by_model", "simulated"]) : null, labels);
    draw(parts, "panel", run.annotators && run.annotators.length > 1 ? some(["agreement", "annotators", "labels"]) : null, panel);
    draw(parts, "failures", run.calls ? some(["attempts", "failures"]) : null, failures);
    draw(parts, "next", !running && run.steps && run.steps.length ? some(["steps", "tables", "possibly_billed"]) : null, next);
    newest(parts, run, first);
  };

  // -- several runs side by side
  const compare = (runs) => table("Runs", [["run", ""], ["state", ""], ["items done", "num"], ["answers", "num"], ["a minute", "num"], ["paid", "num"], ["at the end", "num"], ["mean reward", "num"], ["α", "num"], ["labels", "wide-cell"]],
    runs.map((run) => [run.name, run.state.words, counted(run.items_done) + " of " + counted(run.items_total), counted(run.calls), run.pace ? counted(run.pace.a_minute) : "–", run.spent || "–", run.projected || run.spent || "–", figure(run.mean, 2), run.agreement ? figure(run.agreement.alpha, 2) : "–", newStack(run.shares, run.labels || [])]));

  let shown = null, table_of_runs = null, compared = "";
  const show = (content) => {
    const runs = content.runs, first = shown === null, alone = runs.length === 1;
    if (first) {
      shown = runs.map((run, k) => newRun(k, alone));
      const main = byId("main");
      if (alone) byId("head").append(shown[0].head);
      else {
        table_of_runs = make("section");
        main.append(table_of_runs);
      }
      const grid = make("div", alone ? "" : "runs");
      grid.append(...shown.map((parts) => parts.article));
      main.append(grid);
    }
    put(byId("kicker"), alone ? "Live page of a run" : "Runs side by side");
    put(byId("title"), alone ? runs[0].name : runs.length + " runs");
    const done = alone && runs[0].items_total ? Math.floor(100 * runs[0].items_done / runs[0].items_total) + "% · " : "";
    document.title = done + (alone ? runs[0].name : runs.length + " runs") + " – live";
    put(byId("foot"), "Read from the folder " + (alone ? "of the run" : "of each run") + " by dprm-data " + content.program + ". Nothing leaves this machine.");
    if (table_of_runs) {
      const told = JSON.stringify(runs.map((run) => [run.name, run.state, run.items_done, run.items_total, run.calls, run.pace && run.pace.a_minute, run.spent, run.projected, run.mean, run.agreement && run.agreement.alpha, run.shares]));
      if (told !== compared) table_of_runs.replaceChildren(compare(runs));
      compared = told;
    }
    runs.forEach((run, k) => update(shown[k], run, first));
  };

  // -- asking
  let seen = 0, paused = false, over = false, lost = 0, timer = 0;
  const say = () => put(byId("age"), over ? "the run has ended; this is its last state" : paused ? "paused" : lost > 2 ? "the page’s process has ended: dprm view opens it again" : "");
  const ask = async () => {
    clearTimeout(timer);
    if (paused || over) return;
    try {
      const reply = await fetch("state.json?seen=" + seen, { signal: AbortSignal.timeout(15000) });
      if (!reply.ok) throw new Error(String(reply.status));
      if (reply.status === 200) {
        const content = await reply.json();
        seen = content.version;
        over = content.over;
        show(content);
      }
      lost = 0;
    } catch {
      lost += 1;
    }
    say();
    if (over) byId("pause").hidden = true;
    else timer = setTimeout(ask, Math.min(EVERY * (1 + lost), 15000));
  };
  byId("pause").addEventListener("click", () => {
    paused = !paused;
    put(byId("pause"), paused ? "Go on" : "Pause");
    say();
    if (!paused) ask();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  ask();
})();
