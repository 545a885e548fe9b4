// A mixture of Gaussians in the plane, its exact score, and the reverse SDE with both trackers,
// as in cartoonists.paths.scores, .density.ancestral and .paths.processes.
"use strict";

const MIXTURE = {
  weights: [0.5, 0.3, 0.2],
  means: [[-1.1, 0.2], [0.8, 0.9], [0.6, -0.9]],
  variances: [[0.02, 0.4], [0.3, 0.02], [0.04, 0.04]],
};

// log p_λ(x), the score, and the diagonal of the Hessian of log p_λ
function mixtureAt(x, logsnr) {
  const alpha = VP.alpha(logsnr), sigma2 = VP.sigma2(logsnr), {weights, means, variances} = MIXTURE;
  const scores = [], precisions = [], joint = [];
  for (let k = 0; k < weights.length; k++) {
    let log = Math.log(weights[k]);
    scores.push([]);
    precisions.push([]);
    for (let i = 0; i < 2; i++) {
      const variance = alpha ** 2 * variances[k][i] + sigma2, away = x[i] - alpha * means[k][i];
      scores[k].push(-away / variance);
      precisions[k].push(1 / variance);
      log -= 0.5 * (away * away / variance + Math.log(2 * Math.PI * variance));
    }
    joint.push(log);
  }
  const most = Math.max(...joint);
  const logDensity = most + Math.log(joint.reduce((sum, log) => sum + Math.exp(log - most), 0));
  const score = [0, 0], curvature = [0, 0];
  joint.forEach((log, k) => {
    const share = Math.exp(log - logDensity);
    for (let i = 0; i < 2; i++) {
      score[i] += share * scores[k][i];
      curvature[i] += share * (scores[k][i] ** 2 - precisions[k][i]);
    }
  });
  return {logDensity, score, diagonal: curvature.map((c, i) => c - score[i] ** 2)};
}

function drawMixture(stream, logsnr) {
  const alpha = VP.alpha(logsnr), sigma2 = VP.sigma2(logsnr), u = stream.uniform();
  let k = 0, passed = MIXTURE.weights[0];
  while (u >= passed && k < MIXTURE.weights.length - 1) passed += MIXTURE.weights[++k];
  return [0, 1].map(i => alpha * MIXTURE.means[k][i]
    + Math.sqrt(alpha ** 2 * MIXTURE.variances[k][i] + sigma2) * stream.normal());
}

const dot = (a, b) => a[0] * b[0] + a[1] * b[1];

// A step of each tracker from x at λ to μ: the new x, the change of log p, and what tells its error:
// the chain's own change over two steps at once from an earlier evaluation, or, of Euler–Maruyama,
// the path ratio over the same step.
const TRACKERS = {
  "ancestral": (x, logsnr, cleaner, stream) => {
    const at = ancestralLook(x, logsnr), {mean, variance} = ancestralMoments(at, cleaner);
    const next = mean.map((value, i) => value + Math.sqrt(variance[i]) * stream.normal());
    const change = before => ancestralRatio(before, next, cleaner);
    return {next, change: change(at), at, joined: change};
  },
  "euler-maruyama": (x, logsnr, cleaner, stream) => {
    const {score} = mixtureAt(x, logsnr), step = cleaner - logsnr, g2 = VP.sigma2(logsnr);
    const drift = x.map((value, i) => 0.5 * g2 * value + g2 * score[i]);
    const rate = -g2 - 0.5 * g2 * dot(x, score) - 0.5 * g2 * dot(score, score) + dot(score, drift);
    const jump = x.map(() => Math.sqrt(g2 * step) * stream.normal());
    const next = x.map((value, i) => value + step * drift[i] + jump[i]);
    return {next, change: step * rate + dot(score, jump),
            ratio: ancestralRatio(ancestralLook(x, logsnr), next, cleaner)};
  },
};
function ancestralLook(x, logsnr) {
  const {score, diagonal} = mixtureAt(x, logsnr), sigma2 = VP.sigma2(logsnr);
  return {x, logsnr, clean: x.map((value, i) => (value + sigma2 * score[i]) / VP.alpha(logsnr)),
          variance: diagonal.map(d => Math.max(0, 1 + sigma2 * d) * Math.exp(-logsnr))};
}
// One sample a seed: its end, tracked and exact log-density, and the error of the first.
function trackMixture(method, seed, steps) {
  const stream = new Stream(seed, "path"), step = (VP.high - VP.low) / steps;
  let x = drawMixture(new Stream(seed, "prior"), VP.low);
  let tracked = mixtureAt(x, VP.low).logDensity, other = tracked, open = null;
  for (let k = 0; k < steps; k++) {
    const moved = TRACKERS[method](x, VP.low + k * step, VP.low + (k + 1) * step, stream);
    tracked += moved.change;
    if (moved.ratio !== undefined) other += moved.ratio;
    else if (open) {
      other += moved.joined(open.at);
      open = null;
    } else open = moved;
    x = moved.next;
  }
  if (open) other += open.change;
  return {x, tracked, exact: mixtureAt(x, VP.high).logDensity, error: Math.abs(tracked - other)};
}
