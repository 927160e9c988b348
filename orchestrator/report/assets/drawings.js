"use strict";
// The drawings of one search, from a line of results.jsonl: what the report shows, and the page of a server.
const Drawings = (() => {
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
  // Plotly reads a little markup in its labels: none of it may come from a model.
  const escape = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const hover = (...lines) => lines.filter((line) => line !== null).map((line) => escape(line)
    .replace(/\n/g, "⏎ ").slice(0, 300)).join("<br>");
  const number = (value, digits = 3) => (value === null || value === undefined ? "–"
    : Math.abs(value) >= 1e7 ? Number(value).toExponential(2)
      : Number(value).toLocaleString("en", { maximumSignificantDigits: digits }));
  const plural = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;

  // Of a question whose answer is not known, no line says what is right.
  const facts = (line) => {
    const usage = line.usage;
    const parts = [`answer ${line.answer ?? "none"}`, line.reference === undefined ? null : `reference ${line.reference}`,
      `${number(usage.generated_tokens, 9)} generated tokens`,
      usage.sequential_tokens ? `${number(usage.sequential_tokens, 9)} sequential tokens` : null,
      `${number(usage.reward_calls, 9)} reward calls`,
      usage.denoising_passes ? `${number(usage.denoising_passes, 9)} denoising passes` : null,
      `${number(usage.flops)} FLOPs`, `${number(line.seconds)} s`,
      line.stopped_by ? `stopped by ${line.stopped_by}` : null];
    return make("p", {}, parts.filter(Boolean).join(" · "));
  };

  // What can be drawn of a search: the name of each drawing, and the function that makes it.
  const drawingsOf = (line) => {
    const history = line.history || [];
    const drawings = [];
    if (history.some((r) => Array.isArray(r.ancestors))) drawings.push(["Genealogy of the particles", genealogy]);
    if (history.some((r) => r.node !== undefined)) drawings.push(["Search tree", tree]);
    const byBlock = line.candidates.some((c) => c.block_length !== undefined && c.block_length !== null);
    const answers = new Set(line.candidates.map((c) => c.answer));
    if (byBlock || answers.size > 1) drawings.push([byBlock ? "Ballot by block length" : "Ballot", ballot]);
    return drawings.map(([name, draw]) => ({ name, draw: (entry) => draw(line, entry, byBlock) }));
  };

  const OPTIONS = { displaylogo: false, responsive: true,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

  // Draws into ``place``; a drawing that is there already is changed, so that a search can be drawn as it runs.
  const drawSearch = async (place, line, entry, loadPlotly) => {
    const drawings = drawingsOf(line);
    if (!drawings.length) return;
    const Plotly = await loadPlotly();
    for (const { name, draw } of drawings) {
      const { traces, layout, words } = draw(entry);
      let part = [...place.children].find((child) => child.dataset.drawing === name);
      if (!part) {
        part = make("div", { "data-drawing": name }, make("h4", {}, name), make("p", { class: "legend" }),
          make("div", { class: "drawing", role: "img" }));
        place.append(part);
      }
      const [, legend, box] = part.children;
      legend.textContent = words;
      box.setAttribute("aria-label", `${name}: ${words}`);
      await Plotly.react(box, traces, { ...BASE, ...layout }, OPTIONS);
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
      + `${line.answer ?? "no answer"} was chosen, with ${plural(votes.get(line.answer) || 0, "vote")}${byBlock ? "" : " (orange)"}${line.candidates.some((c) => c.correct !== undefined) ? "; ✓ is right" : ""}.`;
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
        ? make("td", { class: c.correct === undefined ? null : c.correct ? "right" : "wrong" },
          `${c.correct === undefined ? "" : c.correct ? "✓ " : "✗ "}${c.answer ?? "none"}`)
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

  return { make, hover, number, plural, escape, facts, drawingsOf, drawSearch, candidates };
})();
