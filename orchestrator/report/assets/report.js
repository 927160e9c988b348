"use strict";
(() => {
  const { make, number, facts, drawSearch, candidates } = Drawings;
  const PAGE_ROWS = 100;
  const byId = (id) => document.getElementById(id);

  const unpackText = async (id) => {
    const bytes = Uint8Array.from(atob(byId(id).textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };
  const unpacked = new Map();
  const unpack = (id) => {
    if (!unpacked.has(id)) unpacked.set(id, unpackText(id).then(JSON.parse));
    return unpacked.get(id);
  };

  let plotly = null;
  const loadPlotly = () => {
    plotly = plotly || unpackText("plotly").then((source) => {
      const script = document.createElement("script");
      script.textContent = source;
      document.head.append(script);
      return window.Plotly;
    });
    return plotly;
  };

  // ---- figures: series shown and hidden -----------------------------------------------------------------
  for (const set of document.querySelectorAll("fieldset.series")) {
    const boxes = [...set.querySelectorAll("input")];
    const show = (box) => {
      const lines = document.querySelectorAll(`[id^="${set.dataset.prefix}-"][id*="-series${box.dataset.series}-"]`);
      for (const line of lines) line.classList.toggle("off", !box.checked);
    };
    for (const box of boxes) box.addEventListener("change", () => show(box));
    for (const button of set.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        for (const box of boxes) { box.checked = Boolean(button.dataset.all); show(box); }
      });
    }
  }

  // ---- the table of problems ----------------------------------------------------------------------------
  const state = { run: 0, rows: null, shown: [], page: 0, sort: null, down: false, open: null };
  let catalogue = [];

  const statusOf = (rows, i) => {
    if (rows.error[i]) return rows.error[i];
    const parts = [rows.correct[i] ? "right" : rows.passed[i] ? "wrong, right candidate" : "wrong"];
    if (rows.tie[i]) parts.push("tie");
    if (rows.stopped_by[i]) parts.push(`stopped: ${rows.stopped_by[i]}`);
    return parts.join(", ");
  };
  const FILTERS = {
    all: () => true,
    right: (rows, i) => rows.correct[i],
    wrong: (rows, i) => !rows.correct[i],
    missed: (rows, i) => !rows.correct[i] && rows.passed[i],
    tie: (rows, i) => rows.tie[i],
    stopped: (rows, i) => rows.stopped_by[i],
    error: (rows, i) => rows.error[i],
  };

  const prepare = (rows) => {
    const each = rows.id.map((_, i) => i);
    rows.status = each.map((i) => statusOf(rows, i));
    rows.text = each.map((i) => [rows.id[i], rows.question[i], rows.reference[i], rows.answer[i]]
      .join("\n").toLowerCase());
    return rows;
  };

  const select = () => {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const passes = FILTERS[byId("filter").value];
    const { rows } = state;
    state.shown = rows.id.map((_, i) => i)
      .filter((i) => passes(rows, i) && words.every((word) => rows.text[i].includes(word)));
    if (state.sort) {
      const values = rows[state.sort];
      const collator = new Intl.Collator("en", { numeric: true });
      const compare = typeof values.find((v) => v !== null) === "number"
        ? (a, b) => values[a] - values[b]
        : (a, b) => collator.compare(values[a] ?? "", values[b] ?? "");
      state.shown.sort((a, b) => (state.down ? -compare(a, b) : compare(a, b)));
    }
    state.page = 0;
    drawTable();
  };

  const drawTable = () => {
    const { rows, shown } = state;
    const from = state.page * PAGE_ROWS;
    byId("table").tBodies[0].replaceChildren(...shown.slice(from, from + PAGE_ROWS).map((i) => tableRow(rows, i)));
    byId("count").textContent = `${shown.length.toLocaleString("en")} of ${rows.id.length.toLocaleString("en")} problems`;
    const pages = Math.max(1, Math.ceil(shown.length / PAGE_ROWS));
    byId("page").textContent = `page ${state.page + 1} of ${pages}`;
    byId("previous").disabled = state.page === 0;
    byId("next").disabled = state.page + 1 >= pages;
  };

  const tableRow = (rows, i) => {
    const known = i < catalogue[state.run].num_searches;
    const id = known ? make("button", { type: "button", onclick: () => open(i) }, rows.id[i]) : rows.id[i];
    const kind = rows.error[i] ? "bad" : rows.correct[i] ? "right" : "wrong";
    return make("tr", { "aria-current": rows.id[i] === state.open ? "true" : null },
      make("th", { scope: "row" }, id),
      make("td", { title: rows.question[i] }, rows.question[i]),
      make("td", {}, rows.reference[i]),
      make("td", {}, rows.answer[i] ?? "–"),
      make("td", { class: kind }, `${rows.correct[i] ? "✓" : "✗"} ${rows.status[i]}`),
      make("td", { class: "n" }, rows.tokens[i].toLocaleString("en")),
      make("td", { class: "n" }, rows.calls[i].toLocaleString("en")),
      make("td", { class: "n" }, number(rows.seconds[i])));
  };

  const chooseRun = async () => {
    state.run = Number(byId("run").value);
    state.rows = await unpack(`rows-${state.run}`);
    if (!state.rows.text) prepare(state.rows);
    select();
    const i = state.rows.id.indexOf(state.open);
    if (state.open !== null && i >= 0 && i < catalogue[state.run].num_searches) await open(i, false);
    else close();
  };

  // ---- one problem --------------------------------------------------------------------------------------
  const close = () => {
    byId("detail").hidden = true;
    byId("detail").replaceChildren();
    state.open = null;
    for (const row of byId("table").tBodies[0].rows) row.removeAttribute("aria-current");
  };

  const open = async (i, focus = true) => {
    const entry = catalogue[state.run];
    const chunk = await unpack(`searches-${state.run}-${Math.floor(i / entry.chunk)}`);
    const line = chunk[i % entry.chunk];
    state.open = line.problem_id;
    drawTable();
    const detail = byId("detail");
    const title = make("h3", { id: "detail-title", tabindex: "-1" }, `${line.problem_id}: ${state.rows.status[i]}`);
    const shut = () => {
      const id = state.open;
      close();
      const button = [...document.querySelectorAll("#table tbody button")].find((b) => b.textContent === id);
      if (button) button.focus();
    };
    detail.replaceChildren(
      make("div", { class: "top" }, title, make("button", { type: "button", onclick: shut }, "close (Esc)")),
      make("p", { class: "question" }, line.question),
      facts(line));
    detail.onkeydown = (event) => { if (event.key === "Escape") shut(); };
    detail.hidden = false;
    if (line.error) detail.append(make("p", { class: "bad" }, `${line.error.type}: ${line.error.message}`));
    if (focus) { title.focus(); detail.scrollIntoView({ block: "start" }); }
    const drawings = make("div");
    detail.append(drawings);
    await drawSearch(drawings, line, entry, loadPlotly);
    detail.append(candidates(line));
    detail.dataset.ready = line.problem_id;
  };

  // ---- wiring -------------------------------------------------------------------------------------------
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("search").addEventListener("input", select);
  byId("filter").addEventListener("change", select);
  byId("run").addEventListener("change", chooseRun);
  byId("previous").addEventListener("click", () => { state.page -= 1; drawTable(); });
  byId("next").addEventListener("click", () => { state.page += 1; drawTable(); });
  for (const button of document.querySelectorAll("[data-sort]")) {
    button.addEventListener("click", () => {
      state.down = state.sort === button.dataset.sort && !state.down;
      state.sort = button.dataset.sort;
      for (const other of document.querySelectorAll("[data-sort]")) {
        const isThis = other === button;
        other.setAttribute("aria-pressed", String(isThis));
        other.closest("th").setAttribute("aria-sort", isThis ? (state.down ? "descending" : "ascending") : "none");
      }
      select();
    });
  }
  // The rest of the file may still be on its way in: searches are read when a problem is opened.
  document.addEventListener("DOMContentLoaded", async () => {
    catalogue = await unpack("catalogue");
    await chooseRun();
    document.documentElement.dataset.ready = "1";
    setTimeout(loadPlotly, 1000);  // so that the first search opens at once
  });
})();
