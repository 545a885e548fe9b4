// The bundled network in the browser, and what the library does with it: the ancestral chain, the
// HD-ODE, density guidance and the PF-ODE, tracked, with the library's random numbers.
"use strict";

const DIFFERENCE = 3e-3;  // of a difference for H v, in σ (cartoonists.paths.divergence.STEP)
const product = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

class Network {
  constructor(session, card) {
    Object.assign(this, {session, card, dimensions: card.shape.reduce((a, b) => a * b)});
  }
  async scores(points, logsnr) {  // at several points, one evaluation each
    const n = points.length, x = new Float32Array(n * this.dimensions);
    points.forEach((point, i) => x.set(point, i * this.dimensions));
    const found = await this.session.run({
      x: new ort.Tensor("float32", x, [n, ...this.card.shape]),
      logsnr: new ort.Tensor("float32", new Float32Array(n).fill(logsnr), [n]),
    });
    const sigma = Math.sqrt(VP.sigma2(logsnr)), eps = found.eps.data;
    return points.map((_, i) => Float64Array.from(
      eps.subarray(i * this.dimensions, (i + 1) * this.dimensions), value => -value / sigma));
  }
  denoised(x, score, logsnr) {
    const sigma2 = VP.sigma2(logsnr), alpha = VP.alpha(logsnr);
    return x.map((value, i) => (value + sigma2 * score[i]) / alpha);
  }
  pixels(clean) {
    return Uint8ClampedArray.from(clean, value =>
      Math.min(255, Math.max(0, Math.floor((value * this.card.std + this.card.mean) * 256))));
  }
  priorLogProb(x) { return -0.5 * (product(x, x) + this.dimensions * Math.log(2 * Math.PI)); }
}

// The variance of x_0 given x from the table (cartoonists.density.posterior.PosteriorTable).
function posteriorVariance(table, clean, logsnr) {
  let right = table.logsnr.findIndex(value => value >= logsnr);
  right = Math.min(Math.max(right < 0 ? table.logsnr.length : right, 1), table.logsnr.length - 1);
  const low = table.logsnr[right - 1], share = (logsnr - low) / (table.logsnr[right] - low);
  const between = rows => rows[right - 1].map((value, i) => value + share * (rows[right][i] - value));
  const [least, most] = table.level_range, gains = between(table.log_gain).map(Math.exp), bins = gains.length;
  const bin = value => Math.min(bins - 1, Math.max(0, Math.floor((value - least) * bins / (most - least))));
  return between(table.logit_ratio)
    .map((logit, i) => sigmoid(logit) * Math.exp(-logsnr) * gains[bin(clean[i])]);
}

// The ancestral chain along a grid; `report` is told of every evaluation.
async function ancestralChain(network, x, grid, seed, report) {
  const noise = new Stream(seed, "path");
  let logDensity = network.priorLogProb(x);
  for (let k = 0; k + 1 < grid.length; k++) {
    const logsnr = grid[k], [score] = await network.scores([x], logsnr);
    const clean = network.denoised(x, score, logsnr);
    await report(logsnr, clean, logDensity);
    const at = {x, logsnr, clean, variance: posteriorVariance(network.card.table, clean, logsnr)};
    const {mean, variance} = ancestralMoments(at, grid[k + 1]);
    const next = x.map((_, i) => mean[i] + Math.sqrt(variance[i]) * noise.normal());
    logDensity += ancestralRatio(at, next, grid[k + 1]);
    x = next;
  }
  return {x, logDensity};
}

// dx = (f x + w g² s) dλ by Heun's method, with (★) of cartoonists.paths.processes; `weight` gives w.
async function heunPath(network, x, logDensity, grid, seed, weight, report) {
  const probes = new Stream(seed, "probes");
  const slope = async (y, logsnr) => {
    const g2 = VP.sigma2(logsnr), f = 0.5 * g2, h = DIFFERENCE * Math.sqrt(g2);
    const probe = probes.signs(y.length), moved = y.map((value, i) => value + h * probe[i]);
    const [score, there] = await network.scores([y, moved], logsnr);
    const laplacian = product(probe, there.map((value, i) => (value - score[i]) / h));
    const w = weight(score, logsnr), drift = y.map((value, i) => f * value + w * g2 * score[i]);
    const rate = -f * y.length - f * product(y, score) - 0.5 * g2 * product(score, score)
      + product(score, drift) - 0.5 * g2 * laplacian;
    return {drift, rate, score};
  };
  for (let k = 0; k + 1 < grid.length; k++) {
    const step = grid[k + 1] - grid[k], first = await slope(x, grid[k]);
    await report(grid[k], network.denoised(x, first.score, grid[k]), logDensity);
    const second = await slope(x.map((value, i) => value + step * first.drift[i]), grid[k + 1]);
    x = x.map((value, i) => value + step * 0.5 * (first.drift[i] + second.drift[i]));
    logDensity += step * 0.5 * (first.rate + second.rate);
  }
  return {x, logDensity};
}

function uniformGrid(start, stop, steps) {
  return Array.from({length: steps + 1}, (_, k) => k === steps ? stop : start + (stop - start) * k / steps);
}

// As `sample_high_density(model, n=1, steps, switch_logsnr, seed, divergence="difference")`.
async function sampleHighDensity(network, {seed, steps, switchAt}, report) {
  const share = (switchAt - VP.low) / (VP.high - VP.low);
  const before = Math.min(Math.max(Math.round(steps * share), 1), Math.max(steps - 1, 1));
  let at = {x: new Stream(seed, "prior").normals(network.dimensions)};
  at.logDensity = network.priorLogProb(at.x);
  if (switchAt > VP.low) at = await ancestralChain(network, at.x, uniformGrid(VP.low, switchAt, before), seed, report);
  if (switchAt < VP.high) {
    const grid = uniformGrid(switchAt, VP.high, Math.max(steps - before, 1));
    at = await heunPath(network, at.x, at.logDensity, grid, seed, () => 1, report);
  }
  return finished(network, at, report);
}

// As `sample_guided(model, n=1, steps, strength, seed, divergence="difference")`.
async function sampleGuided(network, {seed, steps, strength}, report) {
  const latent = new Stream(seed, "prior").normals(network.dimensions);
  const scale = network.card.median_norm / Math.sqrt(product(latent, latent));
  const x = latent.map(value => value * scale), asked = Math.sqrt(2 * network.dimensions) * strength;
  const weight = (score, logsnr) => {
    const excess = asked / (VP.sigma2(logsnr) * product(score, score));
    return 0.5 * (1 + Math.min(1, Math.max(-1, excess)));
  };
  const grid = uniformGrid(VP.low, VP.high, steps);
  return finished(network, await heunPath(network, x, network.priorLogProb(x), grid, seed, weight, report), report);
}

async function finished(network, {x, logDensity}, report) {  // denoised once more
  const [score] = await network.scores([x], VP.high), clean = network.denoised(x, score, VP.high);
  await report(VP.high, clean, logDensity);
  return {x, logDensity, pixels: network.pixels(clean)};
}

// Grey levels with the noise of λ = 10 (cartoonists.experiments.blur.noised_image), and their
// log-density by the PF-ODE, `ode_log_density(model, x, steps, divergence="difference")`.
async function scorePixels(network, pixels, {seed, steps}, report) {
  const {mean, std} = network.card, alpha = VP.alpha(VP.high), sigma = Math.sqrt(VP.sigma2(VP.high));
  const between = new Stream(seed, "dequantisation"), noise = new Stream(seed, "final noise");
  const clean = Float64Array.from(pixels, grey => ((grey + between.uniform()) / 256 - mean) / std);
  const x = clean.map(value => alpha * value + sigma * noise.normal());
  const grid = uniformGrid(VP.high, VP.low, steps);
  const end = await heunPath(network, x, 0, grid, seed, () => 0.5, report);
  return network.priorLogProb(end.x) - end.logDensity;
}
