// The samples of a model by setting and seed; what is shown is kept in the address of the page.
"use strict";

const EXPERIMENTS = {"Switch point": "high-density sampling", "Strength": "density guidance"};
const STEP_MS = 900;  // of the player along the settings
const $ = id => document.getElementById(id);
const drawn = {};  // Bokeh documents by plot
const chosen = {setting: null, seed: null};

const unique = values => [...new Set(values)];
const modelName = () => $("dataset").value + "/" + $("model").value;
const shown = () => models[modelName()];
const sweep = () => shown().sweeps.find(s => EXPERIMENTS[s.control] === $("experiment").value);
const mean = rows => rows[0].map((_, j) => rows.reduce((sum, row) => sum + row[j], 0) / rows.length);
const bare = setting => setting.replace(/^.* = /, "");

function fill(select, names) {
  const before = select.value;
  select.replaceChildren(...names.map(name => new Option(name)));
  if (names.includes(before)) select.value = before;
}
function number(value, digits = 2) { return value === null ? "not finite" : value.toFixed(digits); }
function measured(density, error) {  // with as many digits as the error leaves
  const digits = error === null || error >= 0.01 || error === 0 ? 2 : 3;
  return number(density, digits) + " ± " + number(error, digits) + " nats/dim";
}

// --- what is chosen ---

function fillModel() {
  const dataset = $("dataset").value;
  fill($("model"), Object.keys(models).filter(n => n.startsWith(dataset + "/"))
    .map(n => n.slice(dataset.length + 1)));
  fill($("experiment"), shown().sweeps.map(s => EXPERIMENTS[s.control]));
  fillExperiment();
}
function fillExperiment() {
  const s = sweep(), before = chosen.setting;
  $("control").textContent = s.control;
  $("slider").max = s.settings.length - 1;
  if (!s.settings.includes(before)) chosen.setting = s.settings[Math.floor((s.settings.length - 1) / 2)];
  if (!s.seeds.includes(chosen.seed)) chosen.seed = s.seeds[0];
}
function chooseModel() { fillModel(); drawAll(); remember(); }
function chooseExperiment() { fillExperiment(); drawAll(); remember(); }
function chooseSeed(seed) { chosen.seed = seed; draw(); drawPath(); remember(); }
function chooseSetting(k) { chosen.setting = sweep().settings[k]; draw(); remember(); }

// --- the address ---

function remember() {
  const state = {model: modelName(), experiment: $("experiment").value, setting: bare(chosen.setting),
                 seed: chosen.seed, ...pathState(), ...planeState()};
  history.replaceState(null, "", "#" + new URLSearchParams(state));
}
function recall() {
  const state = new URLSearchParams(location.hash.slice(1)), problems = [];
  const take = (key, allowed, use) => {
    const found = state.get(key);
    if (found === null) return;
    if (allowed.includes(found)) use(found);
    else problems.push(key + ": " + found + " found, allowed: " + allowed.join(", "));
  };
  const known = ["model", "experiment", "setting", "seed", "logsnr", "tracker", "steps", "draw"];
  for (const key of state.keys())
    if (!known.includes(key)) problems.push(key + ": found, allowed: " + known.join(", "));
  take("model", Object.keys(models), name => {
    $("dataset").value = name.split("/")[0];
    fillModel();
    $("model").value = name.split("/")[1];
  });
  fillModel();
  take("experiment", shown().sweeps.map(s => EXPERIMENTS[s.control]),
       name => { $("experiment").value = name; fillExperiment(); });
  take("setting", sweep().settings.map(bare),
       name => { chosen.setting = sweep().settings.find(setting => bare(setting) === name); });
  take("seed", sweep().seeds.map(String), seed => { chosen.seed = Number(seed); });
  recallPath(take);
  recallPlane(take, problems);
  $("problem").hidden = !problems.length;
  $("problem").textContent = "In the address: " + problems.join("; ");
}

// --- players ---

// A button that moves a slider by one every so many milliseconds, from the start if at the end.
function player(button, slider, milliseconds) {
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "▶";
    button.setAttribute("aria-pressed", "false");
    $("status").setAttribute("aria-live", "polite");
  };
  const move = to => { slider.value = to; slider.dispatchEvent(new Event("input")); };
  button.onclick = () => {
    if (timer !== null) return stop();
    $("status").setAttribute("aria-live", "off");  // not a word for every frame
    button.textContent = "❚❚";
    button.setAttribute("aria-pressed", "true");
    if (Number(slider.value) === Number(slider.max)) move(0);
    timer = setInterval(() => {
      move(Number(slider.value) + 1);
      if (Number(slider.value) === Number(slider.max)) stop();
    }, milliseconds);
  };
  return stop;
}

// --- drawing ---

function spans(texts) {
  return texts.map(text => Object.assign(document.createElement("span"), {textContent: text}));
}
function picture(source) { return Object.assign(new Image(), {src: source, alt: ""}); }
function card(s, i, j, title, press) {
  const density = measured(s.log_density[i][j], s.error[i][j]), size = s.png_bytes[i][j] + " bytes";
  const button = document.createElement("button");
  button.type = "button";
  button.title = "seed " + s.seeds[j] + ", " + s.settings[i] + ": " + density + ", " + size;
  button.setAttribute("aria-label", button.title);
  button.append(picture(s.images[i][j]), ...spans([title, density.replace(" nats/dim", ""), size]));
  button.onclick = press;
  return button;
}
function draw() {
  const s = sweep(), i = s.settings.indexOf(chosen.setting), j = s.seeds.indexOf(chosen.seed);
  const focused = document.activeElement?.dataset?.key;
  $("slider").value = i;
  $("slider").setAttribute("aria-valuetext", s.settings[i]);
  $("setting").textContent = s.settings[i];
  $("heading").textContent = "Samples: " + s.settings[i] + ", log-density in nats/dim";
  $("seed").textContent = chosen.seed;
  $("code").textContent = s.code[i].replace("SEED", chosen.seed);
  $("samples").replaceChildren(...s.seeds.map((seed, k) => {
    const button = card(s, i, k, "seed " + seed, () => chooseSeed(seed));
    button.onmouseenter = () => drawPlots(s, i, k);
    button.onmouseleave = () => drawPlots(s, i, s.seeds.indexOf(chosen.seed));
    button.setAttribute("aria-pressed", k === j);
    button.dataset.key = "seed" + seed;
    return button;
  }));
  $("strip").replaceChildren(...s.settings.map((setting, k) => {
    const button = card(s, k, j, setting, () => chooseSetting(k));
    button.setAttribute("aria-current", k === i);
    button.dataset.key = "setting" + k;
    return button;
  }));
  document.querySelector('[data-key="' + focused + '"]')?.focus();
  drawAnchors(j);
  drawPlots(s, i, j);
  $("status").textContent = $("samples").children[j].title;
}
function drawAnchors(j) {
  const images = unique(shown().anchors.map(a => a.image)), image = images[j % images.length];
  $("anchoring").hidden = !images.length;
  $("anchors").replaceChildren(...shown().anchors.filter(a => a.image === image).map(a => {
    const density = measured(a.log_density, a.error), item = document.createElement("div");
    item.className = "card";
    const name = a.blur ? "blur " + a.blur + " pixels" : "image " + a.image;
    item.append(picture(a.picture), ...spans([name, density.replace(" nats/dim", ""), a.png_bytes + " bytes"]));
    return item;
  }));
}
function table(s, pairs) {
  const density = pairs.map(([i, j]) => s.log_density[i][j] ?? NaN);
  const error = pairs.map(([i, j]) => s.error[i][j] ?? NaN);
  return {
    bytes: pairs.map(([i, j]) => s.png_bytes[i][j]), density,
    low: density.map((d, k) => d - error[k]), high: density.map((d, k) => d + error[k]),
    seed: pairs.map(([, j]) => s.seeds[j]), setting: pairs.map(([i]) => s.settings[i]),
    place: pairs.map(([i]) => i),
  };
}
function anchorTable(found) {
  const density = found.map(a => a.log_density ?? NaN);
  return {
    bytes: found.map(a => a.png_bytes), density, seed: found.map(a => a.image),
    low: found.map((a, k) => density[k] - (a.error ?? NaN)),
    high: found.map((a, k) => density[k] + (a.error ?? NaN)),
    setting: found.map(a => a.blur ? "real image, blur " + a.blur + " pixels" : "real image"),
  };
}
function put(plot, name, data) { drawn[plot].get_model_by_name(name).data = data; }
function drawAll() {
  const s = sweep(), all = table(s, s.settings.flatMap((_, i) => s.seeds.map((_, j) => [i, j])));
  put("sizes", "all", all);
  put("settings", "all", all);
  put("sizes", "real", anchorTable(shown().anchors.filter(a => !a.blur)));
  put("sizes", "blurred", anchorTable(shown().anchors.filter(a => a.blur)));
  const axis = drawn.settings.roots()[0].below[0];
  axis.axis_label = s.control;
  axis.ticker.ticks = s.settings.map((_, i) => i);
  axis.major_label_overrides = new Map(s.settings.map((name, i) => [i, bare(name)]));
  put("spectra", "reference", {frequency: s.frequencies, power: mean(s.spectra[s.reference])});
  fillPath();
  draw();
  drawPath();
}
function drawPlots(s, i, j) {
  const path = table(s, s.settings.map((_, k) => [k, j])), here = table(s, s.seeds.map((_, k) => [i, k]));
  put("sizes", "shown", here);
  put("sizes", "path", path);
  put("sizes", "one", table(s, [[i, j]]));
  put("settings", "path", path);
  drawn.settings.get_model_by_name("where").location = i;
  put("spectra", "shown", {frequency: s.frequencies, power: mean(s.spectra[i])});
  put("spectra", "one", {frequency: s.frequencies, power: s.spectra[i][j]});
  const density = measured(s.log_density[i][j], s.error[i][j]), seed = "seed " + s.seeds[j];
  const range = s.settings.map((name, k) => name + ": " + number(s.log_density[k][j])).join("; ");
  $("sizes").setAttribute("aria-label", "Log-density against PNG size; " + seed + " at " + s.settings[i]
    + ": " + density + ", " + s.png_bytes[i][j] + " bytes. All values stand under the pictures.");
  $("settings").setAttribute("aria-label", "Log-density of " + seed + " at every setting: " + range);
  $("spectra").setAttribute("aria-label", "Radial power spectra of " + seed + ", of the samples shown and of "
    + s.settings[s.reference]);
}

async function start() {
  for (const [name, item] of Object.entries(plots)) {
    const views = await Bokeh.embed.embed_item(item, name);
    drawn[name] = views.roots[0].model.document;
  }
  fill($("dataset"), unique(Object.keys(models).map(name => name.split("/")[0])));
  $("dataset").onchange = $("model").onchange = chooseModel;
  $("experiment").onchange = chooseExperiment;
  $("slider").oninput = event => chooseSetting(event.target.value);
  player($("play"), $("slider"), STEP_MS);
  $("record").textContent = JSON.stringify(record, null, 1);
  startPath();
  startPlane();
  const show = () => { recall(); drawAll(); drawPlane(); };
  addEventListener("hashchange", show);
  show();
  document.body.dataset.ready = "true";
}
addEventListener("DOMContentLoaded", start);
