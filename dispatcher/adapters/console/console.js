"use strict";
const byId = (id) => document.getElementById(id);
const say = (id, text) => { const element = byId(id); if (element.textContent !== text) element.textContent = text; };
const count = (number) => number.toLocaleString("en");
const tokens = (units) => (units / 1e6).toLocaleString("en", { maximumFractionDigits: 6 });
const time = (ms) => new Date(ms).toLocaleTimeString();
const seen = [];

function rate(state) {
  const done = state.jobs.completed + state.jobs.fetched;
  seen.push({ ms: state.now_ms, done });
  while (seen.length > 1 && state.now_ms - seen[0].ms > 10000) seen.shift();
  const seconds = (state.now_ms - seen[0].ms) / 1000;
  return seconds > 0 ? (done - seen[0].done) / seconds : 0;
}

function row(cells) {
  const line = document.createElement("tr");
  for (const [text, style] of cells) {
    const cell = document.createElement("td");
    cell.textContent = text;
    if (style) cell.className = style;
    line.append(cell);
  }
  return line;
}

// A row is only replaced when it says something new, so that what a person has selected stays selected.
function fill(id, rows) {
  const body = byId(id);
  rows.forEach((cells, place) => {
    const news = JSON.stringify(cells), shown = body.rows[place];
    if (shown && shown.dataset.shown === news) return;
    const line = row(cells);
    line.dataset.shown = news;
    if (shown) shown.replaceWith(line);
    else body.append(line);
  });
  while (body.rows.length > rows.length) body.lastElementChild.remove();
}

function show(state) {
  byId("simulator").hidden = !state.simulator;
  say("origin", state.origin);
  say("live", `live, ${time(state.now_ms)}`);
  byId("live").className = "";
  say("nodes-count", count(state.nodes.length));
  say("rate", rate(state).toFixed(1));
  say("in-hand", count(state.nodes.reduce((sum, node) => sum + node.in_hand, 0)));
  for (const name of ["queued", "completed", "refused", "failed"]) say(name, count(state.jobs[name]));
  say("paid", tokens(state.credits.paid));
  say("log-entries", count(state.log_entries));
  if (state.checkpoint) {
    say("checkpoint", `${count(state.checkpoint.size)} entries at ${time(state.checkpoint.created_ms)}`);
    say("root", state.checkpoint.root);
    say("anchor", state.checkpoint.anchor ?? `being sent (anchored so far: ${count(state.anchored_size)} entries)`);
  }
  say("credits", `${tokens(state.credits.pending)} pending, ${tokens(state.credits.confirmed)} confirmed, ` +
    `${tokens(state.credits.paid)} paid, ${tokens(state.credits.void)} void`);
  fill("nodes", state.nodes.map((node) => [
    [node.node_key.slice(0, 12), "mono key"], [node.agent, "agent"], [`${node.in_hand} of ${node.window}`, "hand"],
    [count(node.reputation), "reputation"], [time(node.connected_ms), "when"],
    [node.window ? "working" : node.reason || "takes no jobs", "state"],
  ]));
  fill("recent", state.recent.map((job) => [
    [time(job.updated_ms), "when"], [job.url, "page"], [job.state, `state ${job.state}`], [job.reason ?? "", "reason"],
  ]));
}

async function poll() {
  try {
    const answer = await fetch("/console/state", { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    say("live", `no answer from the dispatcher (${error.message}); trying again`);
    byId("live").className = "lost";
  }
  setTimeout(poll, 1000);
}
poll();
