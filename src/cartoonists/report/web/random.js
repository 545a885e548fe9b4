// NumPy's Philox4x64-10 (Salmon et al., 2011) and its normal deviates by the ziggurat method
// (Marsaglia & Tsang, 2000): a seed gives here the numbers that it gives in the library.
"use strict";

const U64 = (1n << 64n) - 1n;
const PHILOX = {factors: [0xD2E7470EE14C6C93n, 0xCA5A826395121157n],
                steps: [0x9E3779B97F4A7C15n, 0xBB67AE8584CAA73Bn], rounds: 10};
const TAIL = 3.6541528853610087963519472518;  // where the ziggurat ends
const AREA = 0.004928673233974658;  // of each of its 256 layers

const ZIGGURAT = (() => {
  const width = new Float64Array(256), inside = new Float64Array(256), height = new Float64Array(256);
  const unit = 2 ** 52, density = x => Math.exp(-0.5 * x * x);
  let x = TAIL;
  const base = AREA / density(x);
  width[0] = base / unit;
  inside[0] = Math.floor(x / base * unit);
  height[0] = 1;
  width[255] = x / unit;
  height[255] = density(x);
  for (let i = 254; i > 0; i--) {
    const inner = Math.sqrt(-2 * Math.log(AREA / x + density(x)));
    inside[i + 1] = Math.floor(inner / x * unit);
    x = inner;
    width[i] = x / unit;
    height[i] = density(x);
  }
  return {width, inside, height};
})();

function crc32(text) {
  let crc = -1;
  for (const byte of new TextEncoder().encode(text)) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (crc & 1 ? 0xEDB88320 : 0);
  }
  return (crc ^ -1) >>> 0;
}

// One stream of a seed and a purpose, as `cartoonists.paths.streams.Streams` has them.
class Stream {
  constructor(seed, purpose) {
    this.key = [BigInt(seed), BigInt(crc32(purpose))];
    this.counter = 0n;
    this.block = [];
  }
  next64() {
    if (!this.block.length) this.block = this.#philox(++this.counter).reverse();
    return this.block.pop();
  }
  #philox(counter) {
    let [a, b, c, d] = [counter & U64, counter >> 64n, 0n, 0n];
    let [k, l] = this.key;
    for (let round = 0; round < PHILOX.rounds; round++) {
      const first = PHILOX.factors[0] * a, second = PHILOX.factors[1] * c;
      [a, b, c, d] = [(second >> 64n) ^ b ^ k, second & U64, (first >> 64n) ^ d ^ l, first & U64];
      k = (k + PHILOX.steps[0]) & U64;
      l = (l + PHILOX.steps[1]) & U64;
    }
    return [a, b, c, d];
  }
  uniform() { return Number(this.next64() >> 11n) / 2 ** 53; }
  sign() { return this.uniform() < 0.5 ? -1 : 1; }
  normal() {
    for (;;) {
      const bits = this.next64(), layer = Number(bits & 0xffn);
      const place = Number((bits >> 9n) & 0xfffffffffffffn);
      const x = (bits >> 8n) & 1n ? -place * ZIGGURAT.width[layer] : place * ZIGGURAT.width[layer];
      if (place < ZIGGURAT.inside[layer]) return x;
      if (layer === 0) return this.#tail((BigInt(place) >> 8n) & 1n);
      const low = ZIGGURAT.height[layer], high = ZIGGURAT.height[layer - 1];
      if ((high - low) * this.uniform() + low < Math.exp(-0.5 * x * x)) return x;
    }
  }
  #tail(negative) {
    for (;;) {
      const x = -Math.log1p(-this.uniform()) / TAIL, y = -Math.log1p(-this.uniform());
      if (2 * y > x * x) return negative ? -(TAIL + x) : TAIL + x;
    }
  }
  normals(n) { return Float64Array.from({length: n}, () => this.normal()); }
  signs(n) { return Float64Array.from({length: n}, () => this.sign()); }
}
