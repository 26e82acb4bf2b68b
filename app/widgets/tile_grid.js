// props.value = {columns, column_heads, row_heads, tiles: [{title, note, degradation, mu, sigma, image}]}
const grid = element.querySelector('.tiles');

function block(className, text) {
  const node = document.createElement('div');
  node.className = className;
  node.textContent = text;  // never innerHTML: titles may hold what a visitor typed
  return node;
}

function tileNode(tile, index) {
  const node = document.createElement('button');
  node.type = 'button';
  node.className = 'tile';
  node.disabled = !tile.image;
  if (tile.image) {
    const picture = document.createElement('img');
    picture.src = tile.image.url;
    picture.alt = `${tile.title || tile.degradation}: mu ${tile.mu}, sigma ${tile.sigma}`;
    node.append(picture);
  } else {
    node.append(block('blank', ''));
  }
  const text = block('text', '');
  text.append(block('title', tile.title), block('note', tile.note));
  node.append(text);
  node.onclick = () =>
    trigger('select', { index, degradation: tile.degradation, mu: tile.mu, sigma: tile.sigma });
  return node;
}

function build() {
  const value = props.value;
  grid.replaceChildren();
  if (!value || !value.tiles) return;
  const rows = value.row_heads.length > 0;
  // With headings the grid is a table that scrolls inside its box; without, tiles wrap as the width allows.
  grid.classList.toggle('dense', rows);
  grid.style.gridTemplateColumns = rows
    ? `max-content repeat(${value.columns}, minmax(88px, 1fr))`
    : 'repeat(auto-fit, minmax(150px, 1fr))';
  if (rows) {
    grid.append(block('head', ''));
    value.column_heads.forEach((head) => grid.append(block('head', head)));
  }
  value.tiles.forEach((tile, index) => {
    if (rows && index % value.columns === 0) grid.append(block('head row', value.row_heads[index / value.columns]));
    grid.append(tileNode(tile, index));
  });
}

watch('value', build);
build();
