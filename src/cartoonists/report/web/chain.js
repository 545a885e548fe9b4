// The variance-preserving schedule and the ancestral kernel of cartoonists.density.ancestral, of an
// evaluation {x, logsnr, clean: x̂_0, variance: of x_0 given x}, in any number of dimensions.
"use strict";

const sigmoid = x => 1 / (1 + Math.exp(-x));
const VP = {  // the variance-preserving schedule: α² = sigmoid(λ), σ² = sigmoid(-λ), f = σ²/2
  low: -10, high: 10,
  alpha: logsnr => Math.sqrt(sigmoid(logsnr)),
  sigma2: logsnr => sigmoid(-logsnr),
};
function transition(noisier, cleaner) {
  return {ratio: VP.alpha(noisier) / VP.alpha(cleaner),
          variance: -VP.sigma2(noisier) * Math.expm1(noisier - cleaner)};
}
function ancestralMoments(at, cleaner) {
  const {ratio, variance} = transition(at.logsnr, cleaner), before = VP.sigma2(at.logsnr);
  const shrink = VP.sigma2(cleaner) / before, gain = VP.alpha(cleaner) * variance / before;
  return {mean: at.x.map((value, i) => ratio * shrink * value + gain * at.clean[i]),
          variance: at.variance.map(c => variance * shrink + gain ** 2 * c)};
}
function ancestralRatio(at, next, cleaner) {  // log p(x_μ|x_λ) - log q(x_λ|x_μ)
  const {mean, variance} = ancestralMoments(at, cleaner), forward = transition(at.logsnr, cleaner);
  const normal = (away, v) => -0.5 * (away * away / v + Math.log(v));
  return at.x.reduce((sum, value, i) => sum + normal(next[i] - mean[i], variance[i])
    - normal(value - forward.ratio * next[i], forward.variance), 0);
}
