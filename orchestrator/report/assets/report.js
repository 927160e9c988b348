"use strict";
(() => {
  const PAGE_ROWS = 100;
  const byId = (id) => document.getElementById(id);

  // Everything that models or problems wrote goes through here: as text, never as markup.
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };

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

  // Plotly reads a little markup in its labels: none of it may come from a model.
  const escape = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const hover = (...lines) => lines.filter((line) => line !== null).map((line) => escape(line)
    .replace(/\n/g, "⏎ ").slice(0, 300)).join("<br>");
  const number = (value, digits = 3) => (value === null || value === undefined ? "–"
    : Math.abs(value) >= 1e7 ? Number(value).toExponential(2)
      : Number(value).toLocaleString("en", { maximumSignificantDigits: digits }));
  const plural = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;

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
    await drawSearch(detail, line, entry);
    detail.append(candidates(line));
    detail.dataset.ready = line.problem_id;
  };

  const facts = (line) => {
    const usage = line.usage;
    const parts = [`answer ${line.answer ?? "none"}`, `reference ${line.reference}`,
      `${number(usage.generated_tokens, 9)} generated tokens`,
      usage.sequential_tokens ? `${number(usage.sequential_tokens, 9)} sequential tokens` : null,
      `${number(usage.reward_calls, 9)} reward calls`,
      usage.denoising_passes ? `${number(usage.denoising_passes, 9)} denoising passes` : null,
      `${number(usage.flops)} FLOPs`, `${number(line.seconds)} s`,
      line.stopped_by ? `stopped by ${line.stopped_by}` : null];
    return make("p", {}, parts.filter(Boolean).join(" · "));
  };

  const drawSearch = async (detail, line, entry) => {
    const history = line.history || [];
    const drawings = [];
    if (history.some((r) => Array.isArray(r.ancestors))) drawings.push(["Genealogy of the particles", genealogy]);
    if (history.some((r) => r.node !== undefined)) drawings.push(["Search tree", tree]);
    const byBlock = line.candidates.some((c) => c.block_length !== undefined && c.block_length !== null);
    const answers = new Set(line.candidates.map((c) => c.answer));
    if (byBlock || answers.size > 1) drawings.push([byBlock ? "Ballot by block length" : "Ballot", ballot]);
    if (!drawings.length) return;
    const Plotly = await loadPlotly();
    for (const [name, draw] of drawings) {
      const { traces, layout, words } = draw(line, entry, byBlock);
      const box = make("div", { class: "drawing", role: "img", "aria-label": `${name}: ${words}` });
      detail.append(make("h4", {}, name), make("p", { class: "legend" }, words), box);
      await Plotly.newPlot(box, traces, { ...BASE, ...layout }, { displaylogo: false, responsive: true,
        modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
    }
  };

  const BASE = {
    font: { family: "system-ui, DejaVu Sans, sans-serif", size: 12, color: "#1a1a1a" },
    margin: { l: 56, r: 16, t: 32, b: 44 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff", hovermode: "closest",
    legend: { orientation: "h", y: -0.18, x: 0 },
  };
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000"];
  const GREY = "#9a9a9a";
  const lines = (name, color, width, extra = {}) => ({ x: [], y: [], mode: "lines", type: "scatter", name,
    line: { color, width }, hoverinfo: "skip", ...extra });
  const dots = (name, marker, extra = {}) => ({ x: [], y: [], text: [], mode: "markers", type: "scatter", name,
    hoverinfo: "text", marker, ...extra });
  const join = (trace, x0, y0, x1, y1) => { trace.x.push(x0, x1, null); trace.y.push(y0, y1, null); };

  // The candidates as the search left them: results.jsonl has the answer's first.
  const inOrder = (line) => {
    const [first, ...others] = line.candidates;
    const at = line.answer_index;
    if (first === undefined || at === undefined || at === null) return line.candidates;
    return [...others.slice(0, at), first, ...others.slice(at)];
  };
  const stepTexts = (candidate) => {
    let start = 0;
    return (candidate.step_lengths || []).map((length) => {
      // Lengths count code points, as Python does.
      const text = [...candidate.text].slice(start, start + length).join("");
      start += length;
      return text;
    });
  };

  // A history may hold several sweeps, one after another: each ends when no particle is left, or at the
  // last step that a particle may take.
  const sweepsOf = (records, maxSteps) => {
    const sweeps = [[]];
    for (const record of records) {
      const sweep = sweeps[sweeps.length - 1];
      sweep.push(record);
      if (record.num_alive === 0 || sweep.length === maxSteps) sweeps.push([]);
    }
    return sweeps.filter((sweep) => sweep.length);
  };
  const isResampled = (record) => record.ancestors.some((a, i) => a !== i);

  const genealogy = (line, entry) => {
    const records = line.history.filter((r) => Array.isArray(r.ancestors));
    const sweeps = sweepsOf(records, entry.max_steps);
    // The last of a cascade go nowhere: they are what it has found.
    const finalOf = (sweep) => {
      const last = sweep[sweep.length - 1];
      return last.ancestors.length ? last.ancestors : (last.weights || []).map((_, slot) => slot);
    };
    const sizes = sweeps.map((s) => finalOf(s).length);
    const ordered = inOrder(line);
    const isWhole = line.answer_index !== undefined && sizes.reduce((a, b) => a + b, 0) === ordered.length;
    const faint = lines("descent", "#c9c9c9", 1.2);
    const kept = lines("descent of a candidate", "#56B4E9", 1.6);
    const best = lines("descent of the answer", "#D55E00", 3);
    const alive = dots("has descendants, or is a candidate", { color: "#0072B2", size: [], line: { width: 0 } });
    const goesOn = records[records.length - 1].ancestors.length > 0;
    const dead = dots(goesOn ? "dies here" : "dies or has ended here", { color: "#000", symbol: "x-thin", size: [], line: { width: 1.4, color: "#000" } });
    const ess = { x: [], y: [], text: [], mode: "lines+markers", type: "scatter", name: "ESS / N", yaxis: "y2",
      hoverinfo: "text", line: { color: "#009E73", width: 1.5 }, marker: { size: 5 } };
    const events = dots("resampled after this step", { color: "#CC79A7", symbol: "diamond", size: 8 }, { yaxis: "y2" });
    let numDead = 0;
    let candidate = 0;
    let offset = 0;
    const ticks = [[], []];
    for (const sweep of sweeps) {
      const final = finalOf(sweep);
      const labels = sweep.map(() => new Map());
      const onPath = sweep.map(() => new Set());
      const onBest = sweep.map(() => new Set());
      final.forEach((_, slot) => {
        const own = isWhole ? ordered[candidate] : null;
        const texts = own ? stepTexts(own) : [];
        const isAnswer = isWhole && candidate === line.answer_index;
        candidate += 1;
        for (let t = sweep.length - 1, at = slot; t >= 0; t -= 1) {
          at = t === sweep.length - 1 ? final[at] : sweep[t].ancestors[at];
          if (at === undefined) break;
          onPath[t].add(at);
          if (isAnswer) onBest[t].add(at);
          if (texts.length) labels[t].set(at, t < texts.length ? texts[t] : `ended: ${own.answer ?? "no answer"}`);
        }
      });
      sweep.forEach((record, t) => {
        const num = Math.max((record.weights || []).length, record.ancestors.length,
          ...record.ancestors.map((a) => a + 1));
        const even = !(record.weights || []).length;
        const children = new Map();
        const ancestors = t === sweep.length - 1 ? final : record.ancestors;
        for (const a of ancestors) children.set(a, (children.get(a) || 0) + 1);
        const x = offset + t + 1;
        for (let slot = 0; slot < num; slot += 1) {
          const weight = even ? 1 / num : record.weights[slot] ?? 0;
          const trace = children.has(slot) ? alive : dead;
          if (trace === dead) numDead += 1;
          trace.x.push(x);
          trace.y.push(slot);
          trace.marker.size.push(trace === dead ? 8 : 4 + 18 * Math.sqrt(weight));
          trace.text.push(hover(`step ${record.step}, slot ${slot}`,
            even ? null : `weight ${number(weight)}`,
            t === sweep.length - 1 ? null : `${children.get(slot) || 0} descendants`,
            labels[t].get(slot) ?? null));
        }
        const next = sweep[t + 1];
        if (next) {
          record.ancestors.forEach((a, slot) => {
            const trace = onBest[t].has(a) && onBest[t + 1].has(slot) ? best
              : onPath[t + 1].has(slot) ? kept : faint;
            join(trace, x, a, x + 1, slot);
          });
        }
        ess.x.push(x);
        ess.y.push(record.ess === null ? null : record.ess / num);
        ess.text.push(hover(`step ${record.step}: ESS ${number(record.ess)} of ${num}`,
          `entropy ${number(record.entropy)}`, `tempering ${number(record.tempering)}`));
        if (isResampled(record)) {
          events.x.push(x);
          events.y.push(1.08);
          events.text.push(hover(`step ${record.step}: slots redrawn from ${children.size} of ${num}`));
        }
        ticks[0].push(x);
        ticks[1].push(String(record.step));
      });
      offset += sweep.length + 1;
      for (const trace of [ess]) { trace.x.push(null); trace.y.push(null); trace.text.push(""); }
    }
    const most = Math.max(...sweeps.flat().map((r) => r.ancestors.length));
    const words = `${plural(records.length, "step")}${sweeps.length > 1 ? ` in ${sweeps.length} sweeps` : ""}, `
      + `${plural(events.x.length, "resampling")}, ${plural(numDead, goesOn ? "death" : "end")}. A circle is a particle, its area the weight; `
      + "a line leads to what descends from it.";
    return {
      words,
      traces: [faint, kept, best, alive, dead, ess, events].filter((trace) => trace.x.length),
      layout: {
        height: Math.min(800, 300 + 16 * most),
        xaxis: { title: { text: "step" }, tickvals: ticks[0].length > 40 ? undefined : ticks[0],
          ticktext: ticks[1], anchor: "y2", zeroline: false, gridcolor: "#eee" },
        yaxis: { title: { text: "slot" }, domain: [0.3, 1], autorange: "reversed", zeroline: false,
          gridcolor: "#f4f4f4", dtick: Math.max(1, Math.ceil(most / 8)) },
        yaxis2: { title: { text: "ESS / N" }, domain: [0, 0.2], range: [0, 1.2], zeroline: false, gridcolor: "#eee" },
        margin: { ...BASE.margin, b: 90 },
        legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0 },
      },
    };
  };

  // Leaves side by side in the order of their nodes, a parent above the middle of its children.
  const layoutTree = (nodes) => {
    const children = nodes.map(() => []);
    const depth = nodes.map(() => 0);
    nodes.forEach((n, i) => {
      if (n.parent === null) return;
      children[n.parent].push(i);
      depth[i] = depth[n.parent] + 1;
    });
    const x = nodes.map(() => 0);
    let free = 0;
    const stack = nodes.flatMap((n, i) => (n.parent === null ? [[i, 0]] : []));
    while (stack.length) {
      const top = stack[stack.length - 1];
      const [i, done] = top;
      if (done < children[i].length) { top[1] += 1; stack.push([children[i][done], 0]); continue; }
      stack.pop();
      if (children[i].length) x[i] = (x[children[i][0]] + x[children[i][children[i].length - 1]]) / 2;
      else { x[i] = free; free += 1; }
    }
    return { x, depth };
  };

  const answerPath = (nodes, text) => {
    const texts = [];
    nodes.forEach((n, i) => { texts[i] = (n.parent === null ? "" : texts[n.parent]) + n.text; });
    let leaf = -1;
    nodes.forEach((n, i) => {
      if (texts[i] === text && (leaf < 0 || (n.closed !== null && nodes[leaf].closed === null))) leaf = i;
    });
    const path = new Set();
    for (let i = leaf; i >= 0 && i !== null; i = nodes[i].parent) path.add(i);
    return path;
  };

  const tree = (line) => {
    const nodes = line.history.filter((r) => r.node !== undefined);
    const { x, depth } = layoutTree(nodes);
    const path = line.candidates.length && line.candidates[0].text ? answerPath(nodes, line.candidates[0].text) : new Set();
    const edges = lines("continuation", GREY, 1);
    const answer = lines("path of the answer", "#D55E00", 3.5);
    const totals = nodes.map((n) => n.cost + n.heuristic);
    const scale = { colorscale: "Cividis", cmin: Math.min(...totals), cmax: Math.max(...totals), color: [] };
    const expanded = dots("expanded", { ...scale, color: [], size: 10, line: { width: 1, color: "#444" },
      colorbar: { title: { text: "f = g + h" }, thickness: 12, len: 0.8 } });
    const waiting = dots("still open", { ...scale, color: [], size: 9, symbol: "square", line: { width: 0.6, color: "#888" } });
    nodes.forEach((n, i) => {
      const trace = n.closed === null ? waiting : expanded;
      trace.x.push(x[i]);
      trace.y.push(depth[i]);
      trace.marker.color.push(totals[i]);
      trace.text.push(hover(`node ${n.node}, ${n.closed === null ? "open" : `closed as number ${n.closed}`}`,
        `f ${number(totals[i])} = g ${number(n.cost)} + h ${number(n.heuristic)}`,
        n.reward === null ? null : `reward ${number(n.reward)}`, n.text || "the question"));
      if (n.parent !== null) {
        join(path.has(i) && path.has(n.parent) ? answer : edges, x[n.parent], depth[n.parent], x[i], depth[i]);
      }
    });
    const numClosed = nodes.filter((n) => n.closed !== null).length;
    const deepest = Math.max(...depth);
    return {
      words: `${nodes.length} nodes, ${numClosed} expanded, depth ${deepest}; coloured by f, dark is low: `
        + "the search continues where f is least.",
      traces: [edges, answer, expanded, waiting].filter((trace) => trace.x.length),
      layout: {
        height: 190 + 46 * deepest,
        xaxis: { visible: false, zeroline: false },
        yaxis: { title: { text: "steps" }, autorange: "reversed", dtick: 1, zeroline: false, gridcolor: "#eee" },
        legend: { orientation: "h", y: -0.04, x: 0 },
      },
    };
  };

  const ballot = (line, entry, byBlock) => {
    const votes = new Map();
    for (const c of line.candidates) votes.set(c.answer, (votes.get(c.answer) || 0) + 1);
    const ranked = [...votes.keys()].sort((a, b) => (a === null) - (b === null) || votes.get(b) - votes.get(a));
    const shown = ranked.slice(0, COLOURS.length - 1);
    const name = (answer) => (shown.includes(answer) ? answer ?? "no answer" : "other answers");
    const place = (c) => (c.block_length === null ? "whole canvas" : `block ${c.block_length}`);
    const blocks = [...new Set(line.candidates.map((c) => c.block_length ?? null))]
      .sort((a, b) => (a ?? Infinity) - (b ?? Infinity)).map((b) => place({ block_length: b }));
    const order = new Map(blocks.map((block, i) => [block, i]));
    const label = (text) => escape(text.length > 24 ? `${text.slice(0, 24)}…` : text);
    const names = [...new Set(ranked.map(name))];
    const mark = (answer) => (line.candidates.some((c) => name(c.answer) === answer && c.correct) ? " ✓" : "");
    const bars = (title, counts, marker) => ({ type: "bar", orientation: "h", name: title, x: counts, marker,
      y: byBlock ? blocks.map(label) : names.map((answer) => `${label(answer)}${mark(answer)}`),
      hoverinfo: "text", textposition: "none", hovertext: counts.map((n, j) => hover(byBlock ? blocks[j] : names[j],
        `${title}: ${n} of ${line.candidates.length}`)) });
    const chosen = line.answer === null ? null : name(line.answer);
    const patterns = ["", "/", "x", ".", "\\", "+", "-"];
    const traces = byBlock
      ? names.map((answer, i) => {
        const counts = blocks.map(() => 0);
        for (const c of line.candidates) if (name(c.answer) === answer) counts[order.get(place(c))] += 1;
        const title = `${label(answer)}${mark(answer)}${answer === chosen ? " (chosen)" : ""}`;
        return bars(title, counts, { color: COLOURS[i % COLOURS.length], pattern: { shape: patterns[i % patterns.length],
          fillmode: "overlay", fgcolor: "#fff", fgopacity: 0.55, size: 7, solidity: 0.25 } });
      })
      : [bars("votes", names.map((answer) => line.candidates.filter((c) => name(c.answer) === answer).length),
        { color: names.map((answer) => (answer === chosen ? "#D55E00" : "#56B4E9")) })];
    const top = Math.max(...votes.values());
    const words = `${plural(line.candidates.length, byBlock ? "path" : "candidate")}, `
      + `${plural(ranked.filter((a) => a !== null).length, "answer")}; `
      + `${line.answer ?? "no answer"} was chosen, with ${plural(votes.get(line.answer) || 0, "vote")}${byBlock ? "" : " (orange)"}; ✓ is right.`;
    return {
      words,
      traces,
      layout: {
        barmode: "stack", height: 130 + 30 * (byBlock ? blocks : names).length, showlegend: byBlock, bargap: 0.3,
        xaxis: { title: { text: byBlock ? "paths" : "candidates" }, zeroline: false, gridcolor: "#eee", dtick: Math.max(1, Math.ceil(top / 12)) },
        yaxis: { autorange: "reversed", type: "category", automargin: true },
        legend: { orientation: "v", x: 1.02, y: 1, traceorder: "normal" },
      },
    };
  };

  // Equal texts once, with their number; the answer's first.
  const candidates = (line) => {
    const groups = new Map();
    for (const c of line.candidates) {
      const key = JSON.stringify([c.text, c.block_length ?? null]);
      if (!groups.has(key)) groups.set(key, { ...c, num: 0 });
      groups.get(key).num += 1;
    }
    const [chosen, ...others] = groups.values();
    // The paths of a vote over schedules by block length, in the order of its ballot.
    others.sort((a, b) => (a.block_length ?? 0) - (b.block_length ?? 0));
    const all = chosen ? [chosen, ...others] : [];
    const has = (key) => all.some((c) => c[key] !== undefined && c[key] !== null);
    const columns = [["answer", "answer"], ["block_length", "block"], ["nll", "NLL"], ["reward", "reward"],
      ["log_weight", "log-weight"], ["num_tokens", "tokens"]].filter(([key]) => key === "answer" || has(key));
    const head = make("tr", {}, make("th", { scope: "col" }, "candidate"),
      ...columns.map(([key, name]) => make("th", { scope: "col", class: key === "answer" ? null : "n" }, name)),
      make("th", { scope: "col" }, "text"));
    const body = all.map((c, i) => make("tr", {},
      make("th", { scope: "row" }, `${i === 0 ? "chosen" : ""}${c.num > 1 ? ` ×${c.num}` : ""}`),
      ...columns.map(([key]) => (key === "answer"
        ? make("td", { class: c.correct ? "right" : "wrong" }, `${c.correct ? "✓" : "✗"} ${c.answer ?? "none"}`)
        : make("td", { class: "n" }, number(c[key], 4)))),
      make("td", {}, textOf(c, i === 0))));
    return make("div", {}, make("h4", {}, "Candidates"),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Candidates" },
        make("table", {}, make("thead", {}, head), make("tbody", {}, ...body))));
  };

  const textOf = (c, isOpen) => {
    const odds = c.step_log_odds || [];
    const rewarded = odds.some((o) => o !== null);
    const reward = (o) => (o === null ? "" : `  [${number(1 / (1 + Math.exp(-Number(o === "inf" ? Infinity : o === "-inf" ? -Infinity : o))))}]`);
    const text = rewarded
      ? stepTexts(c).map((step, i) => step.replace(/(\n*)$/, (_, end) => `${reward(odds[i])}${end}`)).join("")
      : c.text;
    const first = [...c.text.replace(/\n/g, " ")].slice(0, 60).join("");
    return make("details", { open: isOpen }, make("summary", {}, rewarded ? "steps, with their rewards" : first || "text"),
      make("pre", {}, text));
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
