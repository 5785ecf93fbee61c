// Solves the proof of work: in workers where there are any, else between the page's other tasks.
// For captcha services it only sends the form once the widget reports success.
(() => {
  "use strict";

  const K = new Int32Array(64), H = new Int32Array(8);
  for (let n = 2, count = 0; count < 64; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) { prime = false; break; }
    if (!prime) continue;
    if (count < 8) H[count] = (Math.sqrt(n) % 1) * 4294967296 | 0;
    K[count++] = (Math.cbrt(n) % 1) * 4294967296 | 0;
  }

  const W = new Int32Array(64);

  // One block of SHA-256: `state` becomes the state after the block at `at`.
  function compress(state, block, at) {
    for (let i = 0; i < 16; i++, at += 4) {
      W[i] = block[at] << 24 | block[at + 1] << 16 | block[at + 2] << 8 | block[at + 3];
    }
    for (let i = 16; i < 64; i++) {
      const x = W[i - 15], y = W[i - 2];
      W[i] = (W[i - 16] + ((x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3) + W[i - 7] +
        ((y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10)) | 0;
    }
    let a = state[0], b = state[1], c = state[2], d = state[3];
    let e = state[4], f = state[5], g = state[6], h = state[7];
    for (let i = 0; i < 64; i++) {
      const t1 = (h + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) +
        (e & f ^ ~e & g) + K[i] + W[i]) | 0;
      const t2 = (((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) +
        (a & b ^ a & c ^ b & c)) | 0;
      h = g; g = f; f = e; e = (d + t1) | 0; d = c; c = b; b = a; a = (t1 + t2) | 0;
    }
    state[0] = state[0] + a | 0; state[1] = state[1] + b | 0; state[2] = state[2] + c | 0; state[3] = state[3] + d | 0;
    state[4] = state[4] + e | 0; state[5] = state[5] + f | 0; state[6] = state[6] + g | 0; state[7] = state[7] + h | 0;
  }

  // Tries numbers from `from` in steps of `step`; returns a solver of a given number of tries.
  function solver(prefix, difficulty, from, step) {
    const state = new Int32Array(8), block = new Uint8Array(192);
    const base = H.slice();
    let offset = 0;
    for (let i = 0; i < prefix.length; i++) {
      block[offset++] = prefix.charCodeAt(i);
      // The prefix is the same for all numbers, and so is the state after its whole blocks.
      if (offset === 64) { compress(base, block, 0); offset = 0; }
    }
    const whole = prefix.length - offset;
    let number = from;
    return (tries) => {
      for (; tries > 0; tries--, number += step) {
        const digits = String(number);
        let end = offset;
        for (let i = 0; i < digits.length; i++) block[end++] = digits.charCodeAt(i);
        const bits = (whole + end) * 8, length = end < 56 ? 64 : 128;
        block[end++] = 128;
        block.fill(0, end, length);
        block[length - 4] = bits >>> 24; block[length - 3] = bits >>> 16;
        block[length - 2] = bits >>> 8; block[length - 1] = bits;
        state.set(base);
        for (let at = 0; at < length; at += 64) compress(state, block, at);
        if (Math.clz32(state[0]) >= difficulty) return digits;
      }
      return null;
    };
  }

  if (typeof document === "undefined") {
    onmessage = ({ data }) => {
      const run = solver(data.prefix, data.difficulty, data.from, data.step);
      for (;;) {
        const solution = run(16384);
        postMessage({ tries: 16384, solution });
        if (solution !== null) return;
      }
    };
    return;
  }

  const form = document.getElementById("captcha");
  const script = document.currentScript;
  if (!form) return;
  let sent = false;
  const send = () => { if (!sent) { sent = true; form.submit(); } };

  const widget = form.querySelector(".widget");
  if (widget) {
    widget.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    if (widget.clientWidth < 303) widget.dataset.size = "compact";
    window.palisadeSolved = send;
    return;
  }

  form.hidden = false;
  const state = document.getElementById("state");
  const bar = form.querySelector("progress");
  const fail = (text) => { bar.hidden = true; state.textContent = text; };
  // Without cookies each solution would lead back here.
  if (!navigator.cookieEnabled) return fail(state.dataset.cookies);

  const difficulty = Number(form.dataset.difficulty);
  const prefix = form.elements.token.value + ":";
  let tries = 0;
  const report = (count, solution) => {
    tries += count;
    // How likely it is that a solution was found by now.
    bar.value = 100 * (1 - Math.exp(-tries / 2 ** difficulty));
    if (solution === null || sent) return;
    workers.forEach((worker) => worker.terminate());
    bar.value = 100;
    state.textContent = state.dataset.done;
    form.elements.solution.value = solution;
    send();
  };
  const solveHere = () => {
    const run = solver(prefix, difficulty, 0, 1);
    const turn = () => { const solution = run(4096); report(4096, solution); if (!sent) setTimeout(turn); };
    turn();
  };

  const workers = [];
  state.textContent = state.dataset.running;
  // One core is left for the page.
  const count = Math.max(1, Math.min(4, (navigator.hardwareConcurrency || 2) - 1));
  let broken = false;
  const fallBack = () => {
    if (broken || sent) return;
    broken = true;
    workers.forEach((worker) => worker.terminate());
    solveHere();
  };
  try {
    for (let i = 0; i < count; i++) {
      const worker = new Worker(script.src);
      worker.onmessage = ({ data }) => report(data.tries, data.solution);
      worker.onerror = fallBack;
      worker.postMessage({ prefix, difficulty, from: i, step: count });
      workers.push(worker);
    }
  } catch {
    fallBack();
  }
})();
