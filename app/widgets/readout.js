// props.value = {rows: [{name, asked, obtained, top}]}; obtained is the filled bar, asked the red mark.
const body = element.querySelector('tbody');

function cell(text, className) {
  const node = document.createElement('td');
  node.textContent = text;
  if (className) node.className = className;
  return node;
}

function bar(row) {
  const holder = cell('', 'bar-cell');
  const track = document.createElement('div'), fill = document.createElement('div'), mark = document.createElement('div');
  track.className = 'bar'; fill.className = 'fill'; mark.className = 'asked-mark';
  fill.style.width = `${Math.min(100, 100 * row.obtained / row.top)}%`;
  mark.style.left = `calc(${Math.min(100, 100 * row.asked / row.top)}% - 1px)`;
  track.append(fill, mark);
  holder.append(track);
  return holder;
}

function build() {
  body.replaceChildren();
  for (const row of (props.value && props.value.rows) || []) {
    const line = document.createElement('tr');
    const difference = row.obtained - row.asked;
    line.append(
      cell(row.name), cell(row.asked.toFixed(3)), cell(row.obtained.toFixed(3), 'obtained'),
      cell(`${difference < 0 ? '−' : '+'}${Math.abs(difference).toFixed(3)}`, 'difference'), bar(row),
    );
    body.append(line);
  }
}

watch('value', build);
build();
