// The page's own script: light and dark, the table's filters, and the cards of members that are marked.
"use strict";
(() => {
  const root = document.documentElement;
  const settings = JSON.parse(document.getElementById("settings").textContent);
  const byId = (id) => document.getElementById(id);
  const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

  // Plots take their colours from the page's style whenever they are painted.
  function repaint() {
    byId("theme").setAttribute("aria-pressed", String(isDark()));
    byId("theme").textContent = isDark() ? "Light page" : "Dark page";
    for (const plot of globalThis.Bokeh?.documents[0]?.roots() ?? []) {
      if (plot.type === "Figure") for (const part of [...plot.below, ...plot.left, ...plot.center, plot.title]) part.change.emit();
    }
  }
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    repaint();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

  // Arrows move a plot that has the focus, + and − zoom, 0 shows all again.
  function steer(box) {
    const plot = globalThis.Bokeh.documents[0].get_model_by_id(box.querySelector("[data-root-id]").dataset.rootId);
    box.tabIndex = 0;
    box.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const ranges = [plot.x_range, plot.y_range];
      const [right, up, wider] = { ArrowRight: [1, 0, 0], ArrowLeft: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
        "+": [0, 0, -1], "=": [0, 0, -1], "-": [0, 0, 1], "0": [0, 0, 0] }[event.key] ?? [];
      if (right === undefined) return;
      event.preventDefault();
      ranges.forEach((range, which) => {
        if (event.key === "0") return range.reset();
        const part = (range.end - range.start) / 10;
        const moved = part * [right, up][which];
        range.setv({ start: range.start + moved - part * wider, end: range.end + moved + part * wider });
      });
    });
  }

  function start(source, shown) {
    const data = source.data;
    const column = (name) => Array.from(data[name] ?? data.get(name));
    const size = column("hash").length;
    const texts = Array.from({ length: size }, (_, row) =>
      ["label", "hash", "reason", "run", "status"].map((name) => column(name)).map((values) => values[row]).join(" ").toLowerCase());
    const selects = [...document.querySelectorAll("select[data-column]")];

    function filter() {
      const words = byId("text").value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = selects.filter((one) => one.value).map((one) => [column(one.dataset.column), JSON.parse(one.value)]);
      const kept = texts.map((text, row) =>
        words.every((word) => text.includes(word)) && wanted.every(([values, value]) => values[row] === value));
      shown.booleans = kept;
      const [some, all] = [kept.filter(Boolean).length, size].map((number) => number.toLocaleString("en"));
      byId("count").textContent = `${some} of ${all} members`;
    }

    function line(list, name, content) {
      list.append(Object.assign(document.createElement("dt"), { textContent: name }));
      const cell = document.createElement("dd");
      cell.append(content);
      list.append(cell);
    }

    function card(row) {
      const box = Object.assign(document.createElement("div"), { className: "card" });
      const list = document.createElement("dl");
      for (const [name, title, digits] of settings.card) {
        const value = column(name)[row];
        if (value === "" || value === null || Number.isNaN(value)) continue;
        const isNumber = typeof value === "number";
        line(list, title, isNumber ? value.toLocaleString("en", { maximumFractionDigits: digits }) : String(value));
      }
      const run = column("run")[row];
      if (run && settings.run_page) {
        const link = document.createElement("a");
        link.href = settings.run_page + encodeURIComponent(run);
        link.rel = "noreferrer";
        link.textContent = run;
        line(list, "MLflow run", link);
      } else if (run) {
        line(list, "MLflow run", run);
      }
      box.append(list);
      return box;
    }

    function mark() {
      const rows = source.selected.indices;
      const cards = rows.slice(0, settings.most_cards).map(card);
      if (rows.length > cards.length) cards.push(`${rows.length - cards.length} more are marked.`);
      byId("cards").replaceChildren(...cards);
    }

    let waiting = 0;
    byId("text").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(filter, 150);
    });
    for (const one of selects) one.addEventListener("change", filter);
    byId("text").form.addEventListener("submit", (event) => event.preventDefault());
    byId("text").form.addEventListener("reset", () => setTimeout(filter));
    byId("clear").addEventListener("click", () => { source.selected.indices = []; });
    source.selected.properties.indices.change.connect(mark);
    filter();
    root.dataset.ready = "true";
  }

  function wait() {
    const source = globalThis.Bokeh?.documents[0]?.get_model_by_name("members");
    const shown = globalThis.Bokeh?.documents[0]?.get_model_by_name("shown");
    if (!source || !shown) return setTimeout(wait, 50);
    for (const box of document.querySelectorAll(".plot")) steer(box);
    start(source, shown);
  }
  repaint();
  wait();
})();
