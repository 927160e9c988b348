"use strict";
(() => {
  const { make, number, facts, drawSearch, candidates } = Drawings;
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  let running = null;

  let plotly = null;
  const loadPlotly = () => {
    plotly = plotly || (async () => {
      const bytes = Uint8Array.from(atob(byId("plotly").textContent.trim()), (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      const script = document.createElement("script");
      script.textContent = await new Response(stream).text();
      document.head.append(script);
      return window.Plotly;
    })();
    return plotly;
  };

  // ---- the question --------------------------------------------------------------------------------------
  const example = () => data.examples[byId("examples")?.value === "" ? -1 : Number(byId("examples")?.value)];
  byId("examples")?.addEventListener("change", () => {
    if (example()) byId("question").value = example().question;
  });
  byId("question").addEventListener("input", () => {
    if (byId("examples")) byId("examples").value = "";
  });

  const request = () => {
    const chosen = example();
    const search = { strategy: byId("strategy").value, budget: Number(byId("budget").value), progress: true };
    if (chosen && chosen.question === byId("question").value) search.problem_id = chosen.id;
    return { model: "murmuration", stream: true, seed: Number(byId("seed").value), search,
      messages: [{ role: "user", content: byId("question").value }] };
  };

  // ---- the stream ----------------------------------------------------------------------------------------
  async function* events(body, signal) {
    const headers = { "Content-Type": "application/json" };
    if (byId("key")) headers.Authorization = `Bearer ${byId("key").value}`;
    const response = await fetch("v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body), signal });
    if (!response.ok) throw new Error((await response.json()).error.message);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Error("the server closed the connection before the answer");
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop();
      for (const part of parts.filter((p) => p.startsWith("data: "))) {
        if (part === "data: [DONE]") return;
        const event = JSON.parse(part.slice(6));
        if (event.error) throw new Error(event.error.message);
        yield event;
      }
    }
  }

  // ---- what the search has reached -----------------------------------------------------------------------
  const begin = () => {
    for (const id of ["drawings", "candidates", "answer", "canvases"]) byId(id).replaceChildren();
    byId("answer").hidden = byId("canvases").hidden = true;
    byId("figures").hidden = false;
    for (const each of document.querySelectorAll("[data-of]")) each.textContent = "–";
    byId("status").textContent = "searching";
    byId("start").disabled = true;
    byId("stop").disabled = false;
    delete document.documentElement.dataset.done;
    return { scopes: new Map(), line: { history: [], candidates: [], answer: null }, drawn: Promise.resolve() };
  };

  const show = (state) => {
    const values = { ...state, tokens: state.usage.generated_tokens, calls: state.usage.reward_calls };
    for (const each of document.querySelectorAll("[data-of]")) {
      const value = values[each.dataset.of];
      each.textContent = typeof value === "number" ? number(value, each.dataset.of === "tokens" ? 9 : 3) : value ?? "–";
    }
  };

  // Each record replaces what was known of its place in its scope.
  const learn = (live, records) => {
    for (const { scope, index, ...record } of records) {
      if (!live.scopes.has(scope)) live.scopes.set(scope, []);
      live.scopes.get(scope)[index] = record;
    }
    live.line.history = [...live.scopes.values()].flat();
  };

  const fill = (body, answers) => {
    const place = byId("canvases");
    if (place.hidden) {
      place.hidden = false;
      for (let i = 0; i < body.search.budget; i += 1) place.append(make("div", { class: "canvas" }, "not filled yet"));
    }
    for (const each of answers) {
      const canvas = place.querySelector(".canvas:not(.filled)") ?? place.appendChild(make("div"));
      canvas.className = "canvas filled";
      const kind = each.block_length === undefined ? "" : `block ${each.block_length}: `;
      canvas.replaceChildren(make("strong", {}, `${kind}${each.answer ?? "no answer"}`), make("pre", {}, each.text));
    }
  };

  const draw = (live, body) => {
    const entry = { max_steps: data.max_steps[body.search.strategy] ?? undefined };
    live.wanted = { ...live.line };
    live.drawn = live.drawn.then(async () => {
      const line = live.wanted;  // those that came meanwhile are drawn once
      live.wanted = null;
      if (line) await drawSearch(byId("drawings"), line, entry, loadPlotly);
    });
    return live.drawn;
  };

  const finish = async (live, body, final, text) => {
    live.line = { ...final, seconds: final.seconds };
    byId("answer").replaceChildren(make("h3", {}, `Answer: ${final.answer ?? "none"}`), make("pre", {}, text), facts(final));
    byId("answer").hidden = false;
    await draw(live, body);
    if (final.candidates.length) byId("candidates").append(candidates(final));
    byId("status").textContent = final.stopped_by ? `done, stopped by ${final.stopped_by}` : "done";
  };

  const search = async () => {
    const body = request();
    const live = begin();
    running = new AbortController();
    let text = "";
    try {
      let final = null;
      for await (const event of events(body, running.signal)) {
        text += event.choices[0]?.delta.content ?? "";
        const state = event.search;
        if (state?.candidates) final = state;
        else if (state) {
          show(state);
          if (state.answers) fill(body, state.answers);
          if (state.records) { learn(live, state.records); draw(live, body); }
        }
      }
      await finish(live, body, final, text);
    } catch (error) {
      byId("status").textContent = error.name === "AbortError" ? "stopped" : `error: ${error.message}`;
    }
    running = null;
    byId("start").disabled = false;
    byId("stop").disabled = true;
    document.documentElement.dataset.done = "1";
  };

  byId("ask").addEventListener("submit", (event) => { event.preventDefault(); if (!running) search(); });
  const stop = () => running?.abort();
  byId("stop").addEventListener("click", stop);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("ask").requestSubmit();
  });
  document.documentElement.dataset.ready = "1";
  // So that the first search is drawn from its first step.
  loadPlotly().then(() => { document.documentElement.dataset.draws = "1"; });
})();
