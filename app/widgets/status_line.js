// props.value = {text, share}; share null means that nothing runs.
const line = element.querySelector('.line');

function show() {
  const { text = '', share = null } = props.value || {};
  element.querySelector('.text').textContent = text;
  line.classList.toggle('running', share !== null);
  element.querySelector('.fill').style.width = share === null ? '0' : `${Math.round(share * 100)}%`;
}

watch('value', show);
show();
