// The map: thousands of points on a canvas. props.value = {key, count, points, codes, palette, names, scale, tips,
// stars, selected}; points: float32 x, y in turn, codes: one byte per point into palette, both base64.
// names (one per colour) makes a legend to click, scale ({label, low, high}) a colour ramp.
const canvas = element.querySelector('canvas');
const pen = canvas.getContext('2d');
const tip = element.querySelector('.map-tip');
const legend = element.querySelector('.map-legend');
const said = element.querySelector('.map-said');
const MARGIN = 18, REACH = 10, CLICK = 4;  // CSS pixels
const STAR = '#e11d48';

let map = null;               // the value, with points and codes decoded
let hidden = new Set();       // names switched off
let view = { scale: 1, x: 0, y: 0 };
let moved = false;            // the visitor has chosen a view: a new frame of the same map keeps it
let selected = -1, hovered = -1;
let waiting = false;

function bytes(text) {
  const raw = atob(text), found = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
  return found;
}

function load() {
  const value = props.value;
  const before = map;
  map = null;
  if (value && value.count) {
    map = { ...value, points: new Float32Array(bytes(value.points).buffer), codes: bytes(value.codes) };
    map.order = shuffled(map.count);
    const same = before && before.key === map.key;
    if (!same) moved = false;
    if (Number.isInteger(map.selected)) selected = map.selected;
    else if (!same || selected >= map.count) selected = -1;
  }
  hovered = -1;
  element.querySelector('.map-empty').style.display = map ? 'none' : 'flex';
  canvas.setAttribute('aria-label', map
    ? `map of ${map.count} photos: arrow keys go from photo to photo, plus and minus zoom, 0 shows all`
    : 'no map yet');
  buildLegend();
  tell();
  if (!moved) fit();
  draw();
}

// The order of painting: by chance but the same each time, so that no set lies on top of all others.
function shuffled(count) {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  let state = 1;
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = state % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

function shown(i) { return !map.names || !hidden.has(map.names[map.codes[i]]); }

// Legend ------------------------------------------------------------------------------------------------------
function buildLegend() {
  legend.replaceChildren();
  if (!map) return;
  if (map.names) {
    const counts = new Array(map.names.length).fill(0);
    for (let i = 0; i < map.count; i++) counts[map.codes[i]]++;
    map.names.forEach((name, code) => { if (counts[code]) legend.append(toggle(name, map.palette[code], counts[code])); });
  }
  if (map.scale) legend.append(ramp(map.scale));
}

function toggle(name, colour, count) {
  const button = document.createElement('button');
  button.type = 'button';
  const dot = document.createElement('i');
  dot.style.background = colour;
  const number = document.createElement('small');
  number.textContent = count;
  button.append(dot, name, number);  // text nodes: names may hold what a visitor typed
  button.setAttribute('aria-pressed', String(!hidden.has(name)));
  button.dataset.name = name;
  button.onclick = () => {
    if (hidden.has(name)) hidden.delete(name); else hidden.add(name);
    button.setAttribute('aria-pressed', String(!hidden.has(name)));
    hover(-1);
    draw();
  };
  return button;
}

function ramp(scale) {
  const node = document.createElement('span');
  node.className = 'map-scale';
  const bar = document.createElement('span');
  bar.className = 'map-ramp';
  bar.style.background = `linear-gradient(to right, ${map.palette.slice(0, scale.steps).join(',')})`;
  node.append(`${scale.label} ${scale.low.toFixed(2)}`, bar, scale.high.toFixed(2));
  return node;
}

// View --------------------------------------------------------------------------------------------------------
const screenX = (x) => view.scale * x + view.x;
const screenY = (y) => -view.scale * y + view.y;

function fit() {
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!map || !width) return;
  let left = Infinity, right = -Infinity, low = Infinity, high = -Infinity;
  const take = (x, y) => {
    left = Math.min(left, x); right = Math.max(right, x); low = Math.min(low, y); high = Math.max(high, y);
  };
  for (let i = 0; i < map.count; i++) take(map.points[2 * i], map.points[2 * i + 1]);
  for (const star of map.stars || []) take(star.x, star.y);
  const scale = Math.min((width - 2 * MARGIN) / (right - left || 1), (height - 2 * MARGIN) / (high - low || 1));
  view = { scale, x: width / 2 - scale * (left + right) / 2, y: height / 2 + scale * (low + high) / 2 };
  moved = false;
}

function zoom(factor, x, y) {
  view = { scale: view.scale * factor, x: x - factor * (x - view.x), y: y - factor * (y - view.y) };
  moved = true;
  draw();
}

// Drawing -----------------------------------------------------------------------------------------------------
// The dots are blended into a pixel buffer of our own: 10,000 of them take a few milliseconds, 10,000 arcs or
// stamped pictures several times as long.
function dotMask(radius) {
  const half = Math.ceil(radius), side = 2 * half + 1, cover = new Float32Array(side * side);
  for (let k = 0; k < cover.length; k++) {
    const distance = Math.hypot(k % side - half, Math.floor(k / side) - half);
    cover[k] = 0.8 * Math.min(1, Math.max(0, radius + 0.5 - distance));  // soft at the edge
  }
  return { half, side, cover };
}

const triple = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

function ground() {
  const parts = (getComputedStyle(canvas).backgroundColor.match(/[\d.]+/g) || []).map(Number);
  return parts.length >= 3 && parts[3] !== 0 ? parts : [255, 255, 255];
}

function paintDots(radius, ratio) {
  const width = canvas.width, height = canvas.height;
  const picture = pen.createImageData(width, height), data = picture.data;
  const [red, green, blue] = ground();
  new Uint32Array(data.buffer).fill((255 << 24) | (blue << 16) | (green << 8) | red);
  const { half, side, cover } = dotMask(radius * ratio);
  const inks = map.palette.map(triple);
  const off = map.palette.map((_, code) => map.names && hidden.has(map.names[code]));
  const scale = view.scale * ratio, shiftX = view.x * ratio, shiftY = view.y * ratio;
  for (const i of map.order) {
    const code = map.codes[i];
    if (off[code]) continue;
    const left = Math.round(scale * map.points[2 * i] + shiftX) - half;
    const top = Math.round(shiftY - scale * map.points[2 * i + 1]) - half;
    if (left < 0 || top < 0 || left + side > width || top + side > height) continue;
    const [r, g, b] = inks[code];
    for (let row = 0, k = 0; row < side; row++) {
      for (let at = 4 * ((top + row) * width + left), end = at + 4 * side; at < end; at += 4, k++) {
        const share = cover[k];
        if (share === 0) continue;
        data[at] += share * (r - data[at]);
        data[at + 1] += share * (g - data[at + 1]);
        data[at + 2] += share * (b - data[at + 2]);
      }
    }
  }
  pen.putImageData(picture, 0, 0);
}

function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; paint(); });
}

function paint() {
  const width = canvas.clientWidth, height = canvas.clientHeight, ratio = devicePixelRatio || 1;
  if (!width) return;  // born in a hidden tab: the ResizeObserver calls again
  const begun = performance.now();
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (!map) return;
  const radius = map.count > 3000 ? 2.5 : map.count > 500 ? 3.5 : 5;
  paintDots(radius, ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const ink = getComputedStyle(canvas).color;
  for (const star of map.stars || []) paintStar(screenX(star.x), screenY(star.y), ink);
  ring(hovered, radius + 3, 1.5, ink);
  ring(selected, radius + 5, 2.5, ink);
  canvas.dataset.milliseconds = (performance.now() - begun).toFixed(1);
}

function ring(i, radius, thickness, ink) {
  if (i < 0 || i >= map.count || !shown(i)) return;
  pen.strokeStyle = ink;
  pen.lineWidth = thickness;
  pen.beginPath(); pen.arc(screenX(map.points[2 * i]), screenY(map.points[2 * i + 1]), radius, 0, 7); pen.stroke();
}

function paintStar(x, y, ink) {
  pen.beginPath();
  for (let k = 0; k < 10; k++) {
    const angle = Math.PI * (k / 5 - 0.5), reach = k % 2 ? 4.5 : 11;
    pen.lineTo(x + reach * Math.cos(angle), y + reach * Math.sin(angle));
  }
  pen.closePath();
  pen.fillStyle = STAR; pen.fill();
  pen.strokeStyle = ink; pen.lineWidth = 1; pen.stroke();
}

// Pointing ----------------------------------------------------------------------------------------------------
function place(event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left - canvas.clientLeft, event.clientY - box.top - canvas.clientTop];
}

function near(x, y) {
  let best = -1, least = REACH * REACH;
  if (!map) return best;
  for (let i = 0; i < map.count; i++) {
    const across = screenX(map.points[2 * i]) - x, down = screenY(map.points[2 * i + 1]) - y;
    const distance = across * across + down * down;
    if (distance <= least && shown(i)) { least = distance; best = i; }
  }
  return best;
}

function starAt(x, y) {
  const close = (star) => Math.hypot(screenX(star.x) - x, screenY(star.y) - y) <= REACH + 2;
  return map && map.stars ? map.stars.findLastIndex(close) : -1;
}

function nameOf(i) {
  const parts = [map.tips ? map.tips[i] : `photo ${i + 1}`];
  if (map.names) parts.push(map.names[map.codes[i]]);
  return parts;
}

function hover(i, x = 0, y = 0, text = '') {
  if (i !== hovered) { hovered = i; draw(); }
  const words = i >= 0 ? nameOf(i).join('\n') : text;
  tip.style.display = words ? 'block' : 'none';
  tip.textContent = words;
  if (!words) return;
  const left = Math.min(x + 14, canvas.clientWidth - tip.offsetWidth - 4);
  const top = y + 18 + tip.offsetHeight > canvas.clientHeight ? y - tip.offsetHeight - 8 : y + 14;
  tip.style.transform = `translate(${Math.max(0, left)}px, ${Math.max(0, top)}px)`;
}

function tell() {
  said.textContent = map && selected >= 0 && selected < map.count ? nameOf(selected).join(', ') : '';
}

function select(i) {
  selected = i;
  tell();
  draw();
  if (i >= 0) trigger('select', { index: i, star: false });
}

let grip = null;
const fingers = new Map();  // where each pointer is that is down
const hold = (x, y, dragging) => { grip = { x, y, view: { ...view }, dragging }; };

// The place under the finger that rests stays there; when both move, each takes its turn.
function pinch(id, x, y) {
  const before = fingers.get(id);
  const [restX, restY] = [...fingers].find(([other]) => other !== id)[1];
  const distance = (fromX, fromY) => Math.max(1, Math.hypot(fromX - restX, fromY - restY));
  zoom(distance(x, y) / distance(...before), restX, restY);
}

function lift(event) {
  fingers.delete(event.pointerId);
  const [left] = fingers.values();
  if (left) hold(...left, true); else grip = null;
}

canvas.onpointerdown = (event) => {
  const [x, y] = place(event);
  fingers.set(event.pointerId, [x, y]);
  hold(x, y, fingers.size > 1);
  canvas.setPointerCapture(event.pointerId);
};
canvas.onpointermove = (event) => {
  const [x, y] = place(event);
  if (fingers.size === 2 && fingers.has(event.pointerId)) {
    if (map) pinch(event.pointerId, x, y);
    fingers.set(event.pointerId, [x, y]);
    return;
  }
  if (fingers.has(event.pointerId)) fingers.set(event.pointerId, [x, y]);
  if (grip) {
    if (Math.hypot(x - grip.x, y - grip.y) > CLICK) grip.dragging = true;
    if (!grip.dragging) return;
    view = { ...grip.view, x: grip.view.x + x - grip.x, y: grip.view.y + y - grip.y };
    moved = true;
    hover(-1);
    draw();
    return;
  }
  const star = starAt(x, y);
  if (star >= 0) hover(-1, x, y, map.stars[star].label); else hover(near(x, y), x, y);
};
canvas.onpointerup = (event) => {
  const clicked = grip && !grip.dragging;
  lift(event);
  if (!clicked || !map) return;
  const [x, y] = place(event);
  const star = starAt(x, y);
  if (star >= 0) { trigger('select', { index: star, star: true }); return; }
  const i = near(x, y);
  if (i >= 0) select(i);
};
canvas.onpointercancel = lift;
canvas.onpointerleave = () => { hover(-1); };
canvas.ondblclick = () => { fit(); draw(); };
canvas.addEventListener('wheel', (event) => {
  if (!map) return;
  event.preventDefault();
  const pixels = event.deltaMode === 1 ? 16 * event.deltaY : event.deltaY;
  zoom(Math.exp(-0.0015 * pixels), ...place(event));
}, { passive: false });

// Keys and buttons --------------------------------------------------------------------------------------------
// The nearest photo that lies more ahead than aside of the selected one.
function ahead(across, up) {
  const from = selected;
  let best = -1, least = Infinity;
  for (let i = 0; i < map.count; i++) {
    if (i === from || !shown(i)) continue;
    const dx = map.points[2 * i] - map.points[2 * from], dy = map.points[2 * i + 1] - map.points[2 * from + 1];
    const along = dx * across + dy * up, aside = Math.abs(dx * up) + Math.abs(dy * across);
    const distance = along + 2 * aside;
    if (along > 0 && aside <= along && distance < least) { least = distance; best = i; }
  }
  return best;
}

function step(across, up) {
  if (selected < 0 || selected >= map.count || !shown(selected)) {
    const middle = near(canvas.clientWidth / 2, canvas.clientHeight / 2);
    let first = 0;
    while (first < map.count && !shown(first)) first++;
    if (middle >= 0 || first < map.count) select(middle >= 0 ? middle : first);
    return;
  }
  const next = ahead(across, up);
  if (next < 0) return;
  const x = screenX(map.points[2 * next]), y = screenY(map.points[2 * next + 1]);
  if (x < 0 || y < 0 || x > canvas.clientWidth || y > canvas.clientHeight) {  // follow it out of sight
    view.x += canvas.clientWidth / 2 - x;
    view.y += canvas.clientHeight / 2 - y;
    moved = true;
  }
  select(next);
}

const KEYS = {
  ArrowLeft: () => step(-1, 0),
  ArrowRight: () => step(1, 0),
  ArrowUp: () => step(0, 1),
  ArrowDown: () => step(0, -1),
  '+': () => zoom(1.25, canvas.clientWidth / 2, canvas.clientHeight / 2),
  '=': () => zoom(1.25, canvas.clientWidth / 2, canvas.clientHeight / 2),
  '-': () => zoom(0.8, canvas.clientWidth / 2, canvas.clientHeight / 2),
  0: () => { fit(); draw(); },
  Escape: () => { selected = -1; tell(); draw(); },
};
canvas.onkeydown = (event) => {
  const act = KEYS[event.key];
  if (!map || !act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
};
element.querySelector('.map-buttons').onclick = (event) => {
  const button = event.target.closest('button');
  if (!button || !map) return;
  ({ in: KEYS['+'], out: KEYS['-'], all: KEYS[0] })[button.dataset.zoom]();
};

// Where a test has to click, in CSS pixels from the canvas's padding edge; and which points are visible.
canvas.__pt = (i) => [screenX(map.points[2 * i]), screenY(map.points[2 * i + 1])];
canvas.__star = (k) => [screenX(map.stars[k].x), screenY(map.stars[k].y)];
canvas.__state = () => ({ selected, hovered, scale: view.scale, count: map ? map.count : 0 });

let known = 0;
new ResizeObserver(() => {
  if (canvas.clientWidth !== known && !moved) fit();
  known = canvas.clientWidth;
  draw();
}).observe(canvas);
watch('value', load);
load();
