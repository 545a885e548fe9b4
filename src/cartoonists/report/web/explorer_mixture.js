// The mixture in the plane: its samples on its density, and tracked against exact log-density.
"use strict";

const SAMPLES = 200, REACH = 2.4;  // the part of the plane that is shown, on either side of 0
const COLOURS = {ink: "#222", grey: "#949494", sample: "#d55e00"};

const planeSteps = () => 2 ** Number($("steps").value);
function planeState() {
  return {tracker: $("method").value, steps: planeSteps(), draw: $("draw").value};
}
function recallPlane(take, problems) {
  take("tracker", Object.keys(TRACKERS), name => { $("method").value = name; });
  take("steps", [3, 4, 5, 6, 7, 8, 9].map(k => String(2 ** k)), n => { $("steps").value = Math.log2(n); });
  const seed = new URLSearchParams(location.hash.slice(1)).get("draw");
  if (seed === null) return;
  if (/^\d{1,9}$/.test(seed)) $("draw").value = seed;
  else problems.push("draw: " + seed + " found, allowed: a whole number of up to nine digits");
}
function startPlane() {
  fill($("method"), Object.keys(TRACKERS));
  const again = () => { drawPlane(); remember(); };
  $("method").onchange = $("steps").oninput = again;
  $("draw").onchange = () => { if ($("draw").checkValidity() && $("draw").value !== "") again(); };
  $("another").onclick = () => { $("draw").value = (Number($("draw").value) + SAMPLES) % 1e9; again(); };
  addEventListener("resize", drawPlane);
}

function summary(runs) {
  const n = runs.length, off = runs.map(r => r.tracked - r.exact), middle = off.reduce((a, b) => a + b, 0) / n;
  const spread = Math.sqrt(off.reduce((sum, o) => sum + (o - middle) ** 2, 0) / (n - 1));
  return {mean: middle, error: 1.96 * spread / Math.sqrt(n), spread};
}
function drawPlane() {
  const steps = planeSteps(), method = $("method").value, first = Number($("draw").value);
  const runs = Array.from({length: SAMPLES}, (_, i) => trackMixture(method, first + i, steps));
  const {mean: middle, error, spread} = summary(runs);
  $("stepsat").textContent = steps;
  $("steps").setAttribute("aria-valuetext", steps + " steps");
  $("compared").textContent = SAMPLES + " samples in " + steps + " steps: tracked minus exact "
    + number(middle, 3) + " ± " + number(error, 3) + " nats in the mean (95%), standard deviation "
    + number(spread, 3) + " nats.";
  $("agreement").setAttribute("aria-label", "Tracked against exact log-density. " + $("compared").textContent);
  $("planecode").textContent = planeCode(method, steps, first);
  drawScene(runs);
  drawAgreement(runs);
}
function planeCode(method, steps, first) {
  const {weights, means, variances} = MIXTURE, list = JSON.stringify;
  return "from cartoonists import VP, GaussianMixture, track_reverse_sde\n"
    + "mixture = GaussianMixture(" + list(weights) + ", " + list(means) + ", " + list(variances) + ", VP())\n"
    + "run = track_reverse_sde(mixture, n=" + SAMPLES + ", steps=" + steps + ', method="' + method
    + '", seed=' + first + "); print((run.log_density - mixture.log_prob(run.x)).mean())";
}

// A canvas of sharp lines, and the map from values to its pixels; returns the area of the data.
function canvas(id, x, y, xLabel, yLabel) {
  const element = $(id), width = element.clientWidth || 320, height = element.clientHeight || 240;
  const ratio = devicePixelRatio || 1, pen = element.getContext("2d");
  element.width = width * ratio;
  element.height = height * ratio;
  pen.scale(ratio, ratio);
  pen.clearRect(0, 0, width, height);
  const left = 48, right = width - 10, top = 10, bottom = height - 40;
  const to = {x: v => left + (v - x[0]) / (x[1] - x[0]) * (right - left),
              y: v => bottom - (v - y[0]) / (y[1] - y[0]) * (bottom - top)};
  const axes = () => {
    pen.strokeStyle = pen.fillStyle = COLOURS.ink;
    pen.lineWidth = 1;
    pen.strokeRect(left, top, right - left, bottom - top);
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "center";
    for (const tick of ticks(x)) pen.fillText(tick, to.x(tick), bottom + 16);
    pen.fillText(xLabel, (left + right) / 2, bottom + 34);
    pen.textAlign = "right";
    for (const tick of ticks(y)) pen.fillText(tick, left - 4, to.y(tick) + 4);
    pen.save();
    pen.translate(12, (top + bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText(yLabel, 0, 0);
    pen.restore();
  };
  return {pen, to, axes, left, right, top, bottom};
}
function ticks([low, high]) {
  const step = [0.5, 1, 2, 5, 10, 20, 50, 100].find(s => (high - low) / s <= 6) ?? (high - low) / 4;
  const first = Math.ceil(low / step);
  return Array.from({length: Math.floor(high / step) - first + 1}, (_, i) => (first + i) * step);
}
function dot2(pen, x, y, radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
}
function drawScene(runs) {
  const area = canvas("scene", [-REACH, REACH], [-0.75 * REACH, 0.75 * REACH], "x₁", "x₂"), {pen, to} = area;
  const cell = 5;
  for (let px = area.left; px < area.right; px += cell) {
    for (let py = area.top; py < area.bottom; py += cell) {
      const x = -REACH + 2 * REACH * (px - area.left) / (area.right - area.left);
      const y = 0.75 * REACH * (1 - 2 * (py - area.top) / (area.bottom - area.top));
      const shade = Math.min(1, Math.max(0, (mixtureAt([x, y], VP.high).logDensity + 6) / 7));
      pen.fillStyle = "rgba(1, 115, 178, " + 0.6 * shade + ")";
      pen.fillRect(px, py, Math.min(cell, area.right - px), Math.min(cell, area.bottom - py));
    }
  }
  pen.fillStyle = COLOURS.sample;
  for (const {x} of runs) if (Math.abs(x[0]) < REACH && Math.abs(x[1]) < 0.75 * REACH) dot2(pen, to.x(x[0]), to.y(x[1]), 2);
  area.axes();
}
function drawAgreement(runs) {
  const around = values => [Math.min(...values) - 0.3, Math.max(...values) + 0.3];
  const x = around(runs.map(r => r.exact));
  const y = around(runs.flatMap(r => [r.exact, r.tracked - r.error, r.tracked + r.error]));
  const area = canvas("agreement", x, y, "exact log p [nats]", "tracked [nats]"), {pen, to} = area;
  pen.strokeStyle = COLOURS.grey;
  pen.beginPath();  // where both agree
  pen.moveTo(to.x(x[0]), to.y(x[0]));
  pen.lineTo(to.x(x[1]), to.y(x[1]));
  pen.stroke();
  pen.strokeStyle = pen.fillStyle = COLOURS.sample;
  pen.globalAlpha = 0.6;
  for (const {exact, tracked, error} of runs) {
    pen.beginPath();
    pen.moveTo(to.x(exact), to.y(tracked - error));
    pen.lineTo(to.x(exact), to.y(tracked + error));
    pen.stroke();
    dot2(pen, to.x(exact), to.y(tracked), 2.5);
  }
  pen.globalAlpha = 1;
  area.axes();
}
