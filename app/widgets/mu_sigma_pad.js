// The pad: a canvas over (mu, sigma). props.value = [mu, sigma]; props.heat = {width, height, data} with one
// byte per cell, base64, top row = largest sigma; props.ranges = [mu low, mu high, sigma low, sigma high].
const canvas = element.querySelector('canvas');
const pen = canvas.getContext('2d');
const MARK = '#e11d48';
let background = null;
let dragging = false;

function readBackground() {
  const heat = props.heat;
  if (!heat) return null;
  const bytes = atob(heat.data);
  const cells = document.createElement('canvas');
  cells.width = heat.width;
  cells.height = heat.height;
  const cellPen = cells.getContext('2d');
  const pixels = cellPen.createImageData(heat.width, heat.height);
  for (let i = 0; i < bytes.length; i++) {
    // Colour stays, opacity carries the count: the same picture works on a light and on a dark page.
    pixels.data.set([13, 148, 136, bytes.charCodeAt(i)], 4 * i);
  }
  cellPen.putImageData(pixels, 0, 0);
  return cells;
}

function toScreen(mu, sigma) {
  const [muLow, muHigh, sigmaLow, sigmaHigh] = props.ranges;
  return [
    (mu - muLow) / (muHigh - muLow) * canvas.clientWidth,
    (1 - (sigma - sigmaLow) / (sigmaHigh - sigmaLow)) * canvas.clientHeight,
  ];
}

function drawGrid(width, height) {
  const [muLow, muHigh, sigmaLow, sigmaHigh] = props.ranges;
  pen.strokeStyle = 'rgb(128 128 128 / 22%)';
  pen.lineWidth = 1;
  pen.beginPath();
  for (let mu = muLow + 0.1; mu < muHigh - 1e-6; mu += 0.1) {
    const x = Math.round(toScreen(mu, 0)[0]) + 0.5;
    pen.moveTo(x, 0); pen.lineTo(x, height);
  }
  for (let sigma = sigmaLow + 0.1; sigma < sigmaHigh - 1e-6; sigma += 0.1) {
    const y = Math.round(toScreen(0, sigma)[1]) + 0.5;
    pen.moveTo(0, y); pen.lineTo(width, y);
  }
  pen.stroke();
}

function drawMarks(width, height) {
  const [mu, sigma] = props.value || [0, 0];
  const [x, y] = toScreen(mu, sigma);
  pen.strokeStyle = MARK;
  pen.globalAlpha = 0.45;
  pen.beginPath(); pen.moveTo(x, 0); pen.lineTo(x, height); pen.moveTo(0, y); pen.lineTo(width, y); pen.stroke();
  pen.globalAlpha = 1;
  if (props.obtained) {
    const [obtainedX, obtainedY] = toScreen(props.obtained[0], props.obtained[1]);
    pen.lineWidth = 2;
    pen.beginPath(); pen.arc(obtainedX, obtainedY, 8, 0, 7); pen.stroke();
  }
  pen.fillStyle = MARK;
  pen.beginPath(); pen.arc(x, y, 4.5, 0, 7); pen.fill();
}

function draw() {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;  // born in a hidden tab: the ResizeObserver calls again
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.imageSmoothingEnabled = false;
  if (background) pen.drawImage(background, 0, 0, width, height);
  drawGrid(width, height);
  drawMarks(width, height);
  const [mu, sigma] = props.value || [0, 0];
  const [muLow, muHigh, sigmaLow, sigmaHigh] = props.ranges;
  canvas.setAttribute('aria-valuemin', muLow);
  canvas.setAttribute('aria-valuemax', muHigh);
  canvas.setAttribute('aria-valuenow', mu);
  canvas.setAttribute('aria-valuetext', `strength ${mu.toFixed(3)}, unevenness ${sigma.toFixed(3)}`);
  element.querySelector('.pad-low').textContent = muLow;
  element.querySelector('.pad-high').textContent = muHigh;
  element.querySelector('.pad-title').textContent = `unevenness (sigma) ↑ to ${sigmaHigh}`;
}

function setValue(mu, sigma, eventName) {
  const [muLow, muHigh, sigmaLow, sigmaHigh] = props.ranges;
  const snap = (value, low, high) =>
    +Math.min(high, Math.max(low, Math.round(value / props.step) * props.step)).toFixed(6);
  props.value = [snap(mu, muLow, muHigh), snap(sigma, sigmaLow, sigmaHigh)];
  draw();
  trigger(eventName);
}

function setFromPointer(event, eventName) {
  const box = canvas.getBoundingClientRect();
  const [muLow, muHigh, sigmaLow, sigmaHigh] = props.ranges;
  const across = (event.clientX - box.left) / box.width, down = (event.clientY - box.top) / box.height;
  setValue(muLow + across * (muHigh - muLow), sigmaHigh - down * (sigmaHigh - sigmaLow), eventName);
}

canvas.onpointerdown = (event) => {
  dragging = true;
  canvas.setPointerCapture(event.pointerId);
  setFromPointer(event, 'input');
};
canvas.onpointermove = (event) => { if (dragging) setFromPointer(event, 'input'); };
canvas.onpointerup = (event) => {
  if (!dragging) return;
  dragging = false;
  setFromPointer(event, 'release');
};
canvas.onpointercancel = () => { dragging = false; };
canvas.onkeydown = (event) => {
  const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (!move) return;
  event.preventDefault();
  const [mu, sigma] = props.value || [0, 0];
  const step = props.key_step * (event.shiftKey ? 10 : 1);
  setValue(mu + move[0] * step, sigma + move[1] * step, 'input');
  trigger('release');
};
canvas.__pt = toScreen;  // where a test has to click
new ResizeObserver(draw).observe(canvas);
watch('heat', () => { background = readBackground(); draw(); });
watch(['value', 'obtained'], draw);
background = readBackground();
draw();
