// One seed along λ: x̂_0 with log p_λ growing under it.
"use strict";

const FRAME_MS = 180;

const path = () => shown().path;
const pathRow = () => path() ? path().seeds.indexOf(chosen.seed) : -1;
let frame = null;  // an index into path().logsnr; the last one where none is chosen

function pathState() { return path() && frame !== null ? {logsnr: path().logsnr[frame]} : {}; }
function recallPath(take) {
  frame = null;
  if (path()) take("logsnr", path().logsnr.map(String), value => { frame = path().logsnr.map(String).indexOf(value); });
}
function startPath() {
  $("logsnr").oninput = event => { frame = Number(event.target.value); drawPath(); remember(); };
  player($("playpath"), $("logsnr"), FRAME_MS);
}
function fillPath() {  // of another model
  if (!path()) return;
  $("logsnr").max = path().logsnr.length - 1;
  if (frame !== null) frame = Math.min(frame, path().logsnr.length - 1);
}
function pathTable(row, places) {
  const {logsnr, log_density, error} = path(), density = places.map(k => log_density[row][k] ?? NaN);
  return {
    logsnr: places.map(k => logsnr[k]), density,
    low: density.map((d, k) => d - (error[row][places[k]] ?? NaN)),
    high: density.map((d, k) => d + (error[row][places[k]] ?? NaN)),
  };
}
function drawPath() {
  const row = pathRow();
  $("growing").hidden = row < 0;
  if (row < 0) return;
  const {logsnr, log_density, error, images, seeds} = path(), k = frame ?? logsnr.length - 1;
  const text = measured(log_density[row][k], error[row][k]);
  $("logsnr").value = k;
  $("logsnr").setAttribute("aria-valuetext", "λ = " + logsnr[k] + ": " + text);
  $("frameat").textContent = logsnr[k].toFixed(2);
  $("frame").src = images[row][k];
  $("frame").alt = "x̂_0 of seed " + seeds[row] + " at λ = " + logsnr[k];
  $("grown").textContent = "log p = " + text;
  const places = logsnr.map((_, i) => i);
  put("lambdas", "others", {logsnr: seeds.map(() => logsnr),
                            density: log_density.map(values => values.map(v => v ?? NaN))});
  put("lambdas", "path", pathTable(row, places));
  put("lambdas", "one", pathTable(row, [k]));
  drawn.lambdas.get_model_by_name("where").location = logsnr[k];
  $("lambdas").setAttribute("aria-label", "Tracked log-density of seed " + seeds[row] + " along λ: "
    + number(log_density[row][0]) + " nats/dim at λ = " + logsnr[0] + ", "
    + number(log_density[row].at(-1)) + " at λ = " + logsnr.at(-1));
}
