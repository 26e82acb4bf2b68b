// props.value = {title, pictures: [{title, src}], missing, rows: [[name, text]], neighbours: [{index, title, note, src}]}
const card = element.querySelector('.card');
const empty = element.querySelector('.card-empty');

function node(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;  // never innerHTML: names may hold what a visitor typed
  return made;
}

function picture(source, words) {
  const image = node('img');
  image.src = source;
  image.alt = words;
  return image;
}

function figures(value) {
  const box = node('div', 'card-pictures');
  for (const one of value.pictures) {
    const figure = node('figure');
    figure.append(picture(one.src, `${one.title}: ${value.title}`), node('figcaption', '', one.title));
    box.append(figure);
  }
  return box;
}

function record(value) {
  const list = node('dl');
  for (const [name, text] of value.rows) list.append(node('dt', '', name), node('dd', '', text));
  return list;
}

function neighbour(one) {
  const button = node('button');
  button.type = 'button';
  button.title = one.note;
  button.append(one.src ? picture(one.src, one.title) : node('span', 'blank'));
  button.append(node('b', '', one.title), node('small', '', one.note));
  button.onclick = () => trigger('select', { index: one.index, star: false });
  return button;
}

function build() {
  const value = props.value;
  if (!value || !value.rows) { card.replaceChildren(empty); return; }
  const top = node('div', 'card-top');
  const facts = node('div', 'card-facts');
  facts.append(node('h3', '', value.title), record(value));
  if (value.pictures.length) top.append(figures(value));
  top.append(facts);
  const near = node('div', 'card-neighbours');
  value.neighbours.forEach((one) => near.append(neighbour(one)));
  card.replaceChildren(top);
  if (value.missing) card.append(node('p', 'card-empty', value.missing));
  card.append(node('h4', '', 'Nearest neighbours, by embedding'), near);
}

watch('value', build);
build();
