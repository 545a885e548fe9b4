// The page: controls, the picture as it appears with its log-density, and a drawing to score.
"use strict";

const $ = id => document.getElementById(id);
let network = null;

const perDim = value => (value / network.dimensions).toFixed(3) + " nats/dim";
const pause = () => new Promise(done => setTimeout(done));  // so that the browser can draw

function paint(canvas, pixels) {
  const [, height, width] = network.card.shape, pen = canvas.getContext("2d");
  const image = pen.createImageData(width, height);
  pixels.forEach((grey, i) => image.data.set([grey, grey, grey, 255], 4 * i));
  pen.putImageData(image, 0, 0);
}
function plot(points) {
  const canvas = $("growth"), pen = canvas.getContext("2d"), {width, height} = canvas;
  const values = points.map(([, d]) => d / network.dimensions), low = Math.min(-1.6, ...values), high = Math.max(3, ...values);
  const x = logsnr => 40 + (logsnr - VP.low) / (VP.high - VP.low) * (width - 50);
  const y = value => height - 30 - (value - low) / (high - low) * (height - 40);
  pen.clearRect(0, 0, width, height);
  pen.strokeStyle = "#949494";
  pen.strokeRect(40, 10, width - 50, height - 40);
  pen.fillStyle = "#222";
  pen.font = "12px system-ui, sans-serif";
  for (const tick of [-10, -5, 0, 5, 10]) pen.fillText(tick, x(tick) - 8, height - 14);
  for (let tick = Math.ceil(low); tick <= high; tick++) pen.fillText(tick, 18, y(tick) + 4);
  pen.fillText("λ", width / 2, height - 2);
  pen.strokeStyle = "#d55e00";
  pen.lineWidth = 2;
  pen.beginPath();
  points.forEach(([logsnr], i) => pen.lineTo(x(logsnr), y(values[i])));
  pen.stroke();
}

function settings() {
  return {seed: Number($("seed").value), steps: Number($("steps").value),
          switchAt: Number($("switch").value), strength: Number($("strength").value)};
}
function code({seed, steps, switchAt, strength}) {
  const same = `n=1, steps=${steps}, seed=${seed}, divergence="difference"`;
  const lines = [`model = load_model("${network.card.name}")`];
  if ($("method").value === "switch") {
    lines.unshift("from cartoonists import load_model, sample_high_density",
                  "from cartoonists.experiments.tables import read_table");
    lines.push(`run = sample_high_density(model, switch_logsnr=${switchAt}, posterior=read_table("stein.npz"), ${same})`);
  } else {
    lines.unshift("from cartoonists import load_model, sample_guided");
    lines.push(`run = sample_guided(model, strength=${strength}, ${same})`);
  }
  return [...lines, "print(run.log_density / model.dimensions)"].join("\n");
}
function busy(now) {
  for (const id of ["draw", "score", "real", "clear"]) $(id).disabled = now;
  document.body.dataset.busy = now;
}
function show() {
  const guided = $("method").value === "strength";
  $("switchlabel").hidden = guided;
  $("strengthlabel").hidden = !guided;
  $("switchat").textContent = settings().switchAt;
  $("strengthat").textContent = settings().strength;
  $("code").textContent = code(settings());
}
async function draw() {
  if (!$("seed").checkValidity() || $("seed").value === "") return void $("seed").reportValidity();
  busy(true);
  const points = [], started = performance.now();
  const report = async (logsnr, clean, logDensity) => {
    points.push([logsnr, logDensity]);
    paint($("picture"), network.pixels(clean));
    plot(points);
    $("at").textContent = "λ = " + logsnr.toFixed(1);
    $("density").textContent = "log p = " + perDim(logDensity);
    await pause();
  };
  const make = $("method").value === "switch" ? sampleHighDensity : sampleGuided;
  const run = await make(network, settings(), report);
  const seconds = (performance.now() - started) / 1000;
  $("said").textContent = `Seed ${settings().seed}: log p = ${perDim(run.logDensity)}, tracked; ${seconds.toFixed(1)} s.`;
  busy(false);
  return {...run, pixels: [...run.pixels], x: null, seconds};
}

// --- a drawing ---

let drawing = null;  // grey levels
function brush(event) {
  if (!event.buttons && event.type !== "pointerdown") return;
  const [, height, width] = network.card.shape, box = $("drawing").getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width * width - 0.5, y = (event.clientY - box.top) / box.height * height - 0.5;
  for (let i = 0; i < drawing.length; i++) {
    const away = Math.hypot(i % width - x, Math.floor(i / width) - y);
    drawing[i] = Math.max(drawing[i], 230 * Math.min(1, Math.max(0, 1.9 - away)));
  }
  paint($("drawing"), drawing);
}
function put(pixels) { drawing = Uint8ClampedArray.from(pixels); paint($("drawing"), drawing); }
async function score() {
  busy(true);
  $("scored").textContent = "…";
  await pause();
  const found = await scorePixels(network, drawing, {seed: 0, steps: network.card.score_steps}, pause);
  $("scored").textContent = "log p = " + perDim(found) + " by the PF-ODE, with the noise of λ = 10; real pictures of clothes: "
    + network.card.real_log_density.map(value => value.toFixed(2)).join(" to ") + " nats/dim.";
  busy(false);
  return found;
}

async function start() {
  if (location.protocol === "file:")
    throw new Error("a page from a file may not load its network; serve the folder: python -m http.server");
  ort.env.wasm.wasmPaths = new URL(".", location.href).href;
  ort.env.wasm.numThreads = 1;
  const card = await (await fetch("card.json")).json();
  network = new Network(await ort.InferenceSession.create("network.onnx"), card);
  $("parameters").textContent = card.parameters.toLocaleString("en");
  for (const canvas of [$("picture"), $("drawing")]) [canvas.height, canvas.width] = card.shape.slice(1);
  put(new Uint8ClampedArray(network.dimensions));
  for (const id of ["method", "seed", "steps", "switch", "strength"]) $(id).oninput = show;
  $("draw").onclick = draw;
  $("score").onclick = score;
  $("clear").onclick = () => put(new Uint8ClampedArray(network.dimensions));
  $("real").onclick = () => put(card.real);
  $("drawing").onpointerdown = $("drawing").onpointermove = brush;
  show();
  await draw();
  document.body.dataset.ready = "true";
}
addEventListener("DOMContentLoaded", () => start().catch(error => {
  $("said").textContent = "This page cannot run here: " + error.message;
}));
