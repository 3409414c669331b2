#include "server/http/pages.h"

namespace h5serve::server {

// Shows /status.json and asks for it again every few seconds. Text from files
// goes into the page as text nodes only.
std::string_view StatusPage() {
  static constexpr std::string_view kPage = R"html(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>h5serve</title>
<style>
  :root { color-scheme: light dark; --line: #8884; --muted: #777; --good: #197a3e; --bad: #b3261e;
          --busy: #9a6700; --card: #8881; }
  @media (prefers-color-scheme: dark) {
    :root { --muted: #999; --good: #5cc98a; --bad: #ff8a80; --busy: #e3b341; }
  }
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
  header { display: flex; align-items: baseline; gap: 1rem; flex-wrap: wrap; }
  h1 { font-size: 1.5rem; margin: 0; }
  .muted { color: var(--muted); }
  .badge { border-radius: 1rem; padding: .1rem .7rem; font-size: .85rem; border: 1px solid; }
  .serving, .ready { color: var(--good); } .refused, .notready { color: var(--bad); }
  .other { color: var(--busy); }
  article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
            padding: .8rem 1.1rem; margin: 1rem 0; }
  article h2 { font-size: 1.1rem; margin: 0; display: flex; gap: .7rem; align-items: baseline;
               flex-wrap: wrap; }
  dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .6rem 0 0; }
  dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
  code { font: .9em ui-monospace, monospace; }
  ul { margin: .5rem 0 0; padding-left: 1.2rem; }
  li.error { color: var(--bad); } li.warning { color: var(--busy); } li.info { color: var(--muted); }
  nav { display: flex; justify-content: space-between; align-items: center; margin-top: 1rem; }
  footer { margin-top: 2rem; font-size: .9rem; }
  a { color: inherit; }
</style>
</head>
<body>
<header><h1>h5serve</h1><span id="ready" class="badge"></span><span id="facts" class="muted"></span></header>
<nav class="muted"><span id="counts"></span>
  <input id="filter" type="search" placeholder="name, state or code" aria-label="filter"></nav>
<main id="models"></main>
<footer class="muted">
  <a href="/metrics">metrics</a> · <a href="/status.json">status.json</a> ·
  <a href="/v2">/v2</a> · <span id="updated"></span>
</footer>
<noscript>This page needs JavaScript; <a href="/status.json">status.json</a> has the same.</noscript>
<script>
const element = (tag, text, kind) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
};
const bytes = n => n < 1024 ? n + ' B' : n < 1048576 ? (n / 1024).toFixed(1) + ' KiB'
  : n < 1073741824 ? (n / 1048576).toFixed(1) + ' MiB' : (n / 1073741824).toFixed(2) + ' GiB';
const tensors = list => list.map(t => t.name + ': ' + t.dtype + ' (' +
  t.shape.map(d => d < 0 ? 'None' : d).join(', ') + ')').join(', ');
const show = model => {
  const card = element('article');
  const title = element('h2', model.name);
  if (model.version !== undefined) title.append(element('span', 'version ' + model.version, 'muted'));
  const kind = model.state === 'serving' || model.state === 'refused' ? model.state : 'other';
  title.append(element('span', model.state, 'badge ' + kind));
  if (model.replacement) title.append(element('span', 'new content ' + model.replacement,
    'badge ' + (model.replacement === 'refused' ? 'refused' : 'other')));
  card.append(title);
  const facts = element('dl');
  const row = (name, value) => { if (value) facts.append(element('dt', name), element('dd', value)); };
  if (model.inputs) row('inputs', tensors(model.inputs));
  if (model.outputs) row('outputs', tensors(model.outputs));
  row('Keras', [model.keras_version, model.backend].filter(Boolean).join(', '));
  if (model.parameters) row('parameters', model.parameters.toLocaleString());
  if (model.memory_bytes) row('memory', bytes(model.memory_bytes));
  if (model.inputs) row('requests', model.requests.toLocaleString() + ', ' +
    model.failures.toLocaleString() + ' failed');
  row('file', model.path);
  row('sha256', model.sha256);
  row('since', model.since);
  card.append(facts);
  if (model.diagnoses.length) {
    const list = element('ul');
    for (const d of model.diagnoses) {
      const item = element('li', undefined, d.severity);
      item.append(element('code', d.code), ' ' + (d.layer ? d.layer + ': ' : '') + d.message);
      if (d.remedies.length) item.append(element('div', d.remedies[0], 'muted'));
      list.append(item);
    }
    card.append(list);
  }
  return card;
};
// What needs a person comes first.
const urgency = m => m.state === 'refused' || m.replacement === 'refused' ? 0
  : m.state === 'serving' ? 2 : 1;
const text = m => [m.name, m.state, m.replacement, ...m.diagnoses.map(d => d.code)].join(' ')
  .toLowerCase();
const list = models => {
  const counts = {};
  for (const m of models) counts[m.state] = (counts[m.state] || 0) + 1;
  document.getElementById('counts').textContent =
    Object.entries(counts).map(([state, n]) => n + ' ' + state).join(' · ');
  const wanted = document.getElementById('filter').value.toLowerCase();
  const shown = models.filter(m => text(m).includes(wanted)).sort((a, b) => urgency(a) - urgency(b));
  document.getElementById('models').replaceChildren(...(shown.length ? shown.map(show)
    : [element('p', models.length ? 'No model matches.'
      : 'No models yet: put a .h5 file into the model directory.', 'muted')]));
};
let models = [];
document.getElementById('filter').addEventListener('input', () => list(models));
const refresh = async () => {
  try {
    const status = await (await fetch('/status.json')).json();
    const ready = document.getElementById('ready');
    ready.textContent = status.ready ? 'ready' : 'not ready';
    ready.className = 'badge ' + (status.ready ? 'ready' : 'notready');
    document.getElementById('facts').textContent = 'version ' + status.version + ' · ' +
      bytes(status.memory_used_bytes) + ' of models' + (status.reason ? ' · ' + status.reason : '');
    models = status.models.filter(m => m.state !== 'removed');
    list(models);
    document.getElementById('updated').textContent = 'updated ' + new Date().toLocaleTimeString();
  } catch (error) {
    document.getElementById('updated').textContent = 'no answer: ' + error;
  }
};
refresh();
setInterval(refresh, 3000);
</script>
</body>
</html>
)html";
  return kPage;
}

}  // namespace h5serve::server
