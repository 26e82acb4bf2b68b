// props.value = {width, height, patch: [x, y, size], panes: [{title, badges, note, image}]}; x, y and size are
// shares of the picture. One pan and zoom for all panes: scale, and the picture's share at the top left corner.
const frame = element.querySelector('.frame');
const holder = element.querySelector('.panes');
const MOST = 32;
let scale = 1, left = 0, top_ = 0, patch = [0.5, 0.5, 0.125];
let views = [];
const fingers = new Map();
let pinch = 0, moved = false;

function block(className, text) {
  const node = document.createElement('div');
  node.className = className;
  node.textContent = text;  // never innerHTML: titles may hold the name of a visitor's file
  return node;
}

function clamp(value, low, high) { return Math.min(high, Math.max(low, value)); }

// The patch is twice as wide as high on the screen; shares of a picture that is not square differ.
function patchSize() {
  const value = props.value;
  const width = patch[2], height = Math.min(1, width * value.width / value.height / 2);
  return [width, height];
}

function apply() {
  scale = clamp(scale, 1, MOST);
  left = clamp(left, 0, 1 - 1 / scale);
  top_ = clamp(top_, 0, 1 - 1 / scale);
  frame.classList.toggle('zoomed', scale > 1);
  element.querySelector('.level').textContent = `${scale < 10 ? +scale.toFixed(1) : Math.round(scale)}×`;
  element.querySelectorAll('[data-patch]').forEach((button) =>
    button.classList.toggle('chosen', Number(button.dataset.patch) === patch[2]));
  if (!props.value) return;
  const [width, height] = patchSize();
  for (const view of views) {
    view.image.style.transform = `scale(${scale}) translate(${-100 * left}%, ${-100 * top_}%)`;
    view.image.style.imageRendering = scale * view.node.clientWidth > 3 * props.value.width ? 'pixelated' : 'auto';
    view.box.style.left = `${100 * scale * (patch[0] - width / 2 - left)}%`;
    view.box.style.top = `${100 * scale * (patch[1] - height / 2 - top_)}%`;
    view.box.style.width = `${100 * scale * width}%`;
    view.box.style.height = `${100 * scale * height}%`;
  }
}

function drawPatches() {
  if (!props.value) return;
  const [width, height] = patchSize();
  for (const { image, canvas } of views) {
    if (!image.naturalWidth) continue;
    const across = Math.max(1, Math.round(width * image.naturalWidth));
    const down = Math.max(1, Math.round(height * image.naturalHeight));
    canvas.width = across;
    canvas.height = down;
    const x = clamp(Math.round((patch[0] - width / 2) * image.naturalWidth), 0, image.naturalWidth - across);
    const y = clamp(Math.round((patch[1] - height / 2) * image.naturalHeight), 0, image.naturalHeight - down);
    canvas.getContext('2d').drawImage(image, x, y, across, down, 0, 0, across, down);
  }
}

function setPatch(x, y, size) {
  patch = [x, y, size];
  const [width, height] = patchSize();
  patch = [clamp(x, width / 2, 1 - width / 2), clamp(y, height / 2, 1 - height / 2), size];
  apply();
  drawPatches();
  trigger('select', { x: patch[0], y: patch[1], size: patch[2] });
}

// Zoom by a factor so that the point (x, y), shares of the view, stays where it is.
function zoomAt(x, y, factor) {
  const next = clamp(scale * factor, 1, MOST);
  left += x / scale - x / next;
  top_ += y / scale - y / next;
  scale = next;
  apply();
}

function place(event, node) {
  const box = node.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function listen(node) {
  node.addEventListener('wheel', (event) => {
    event.preventDefault();
    zoomAt(...place(event, node), Math.exp(-event.deltaY * 0.002));
  }, { passive: false });
  node.onpointerdown = (event) => {
    node.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (fingers.size === 1) moved = false;
    pinch = 0;
  };
  node.onpointermove = (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const dx = event.clientX - last[0], dy = event.clientY - last[1];
    if (fingers.size === 1 && !moved && dx * dx + dy * dy < 16) return;
    moved = true;
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (fingers.size === 2) {
      const [first, second] = [...fingers.values()];
      const distance = Math.hypot(first[0] - second[0], first[1] - second[1]);
      const middle = { clientX: (first[0] + second[0]) / 2, clientY: (first[1] + second[1]) / 2 };
      if (pinch) zoomAt(...place(middle, node), distance / pinch);
      pinch = distance;
    } else {
      left -= dx / node.clientWidth / scale;
      top_ -= dy / node.clientHeight / scale;
      apply();
    }
  };
  node.onpointerup = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    if (!moved && !fingers.size) {
      const [x, y] = place(event, node);
      setPatch(left + x / scale, top_ + y / scale, patch[2]);
    }
  };
  node.onpointercancel = (event) => { fingers.delete(event.pointerId); };
  node.ondblclick = reset;
  node.onkeydown = (event) => {
    const step = 0.1 / scale;
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (move) { left += move[0] * step; top_ += move[1] * step; apply(); }
    else if (event.key === '+' || event.key === '=') zoomAt(0.5, 0.5, 1.5);
    else if (event.key === '-') zoomAt(0.5, 0.5, 1 / 1.5);
    else if (event.key === '0') reset();
    else if (event.key === 'Enter') setPatch(left + 0.5 / scale, top_ + 0.5 / scale, patch[2]);
    else return;
    event.preventDefault();
  };
}

function reset() { scale = 1; left = top_ = 0; apply(); }

function paneNode(pane, value) {
  const node = block('pane', ''), view = block('view', '');
  view.style.aspectRatio = `${value.width} / ${value.height}`;
  node.append(view);
  if (pane.image) {
    const image = document.createElement('img'), box = block('box', ''), canvas = document.createElement('canvas');
    view.tabIndex = 0;
    view.setAttribute('role', 'img');
    view.setAttribute('aria-label', `${pane.title}: plus and minus zoom, arrow keys move, Enter marks the patch`);
    canvas.className = 'patch';
    image.alt = '';
    image.draggable = false;
    image.onload = drawPatches;
    image.src = pane.image.url;
    view.append(image, box);
    node.append(canvas);
    views.push({ node: view, image, box, canvas });
    listen(view);
  } else {
    view.append(block('wait', pane.note || 'waiting'));
  }
  const text = block('text', ''), badges = block('badges', '');
  for (const badge of pane.badges) {
    const chip = document.createElement('span');
    chip.textContent = badge;
    badges.append(chip);
  }
  text.append(block('title', pane.title), badges, block('note', pane.image ? pane.note : ''));
  node.append(text);
  return node;
}

let shown = '';
function build() {
  const value = props.value;
  views = [];
  fingers.clear();
  holder.replaceChildren();
  frame.hidden = !value || !value.panes.length;
  element.querySelector('.empty').hidden = !frame.hidden;
  if (frame.hidden) return;
  // Another photo starts unzoomed; one more result of the same photo leaves the view alone.
  const photo = `${value.photo}|${value.width}|${value.height}`;
  if (photo !== shown) { shown = photo; scale = 1; left = top_ = 0; }
  patch = value.patch.slice();
  value.panes.forEach((pane) => holder.append(paneNode(pane, value)));
  apply();
  drawPatches();
}

element.querySelectorAll('[data-zoom]').forEach((button) => {
  button.onclick = () => {
    if (button.dataset.zoom === 'reset') reset();
    else zoomAt(0.5, 0.5, button.dataset.zoom === 'in' ? 1.5 : 1 / 1.5);
  };
});
element.querySelectorAll('[data-patch]').forEach((button) => {
  button.onclick = () => setPatch(patch[0], patch[1], Number(button.dataset.patch));
});
frame.__view = () => ({ scale, left, top: top_, patch });  // what a test reads
new ResizeObserver(apply).observe(holder);
watch('value', build);
build();
