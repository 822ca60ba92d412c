// Of the gallery: a click or an arrow key selects a cell; after it was drawn again, the focus is where it was.
const buttons = () => [...element.querySelectorAll('[data-cell]')];
let focused = false;

function select(button) {
  if (!button) return;
  buttons().forEach(one => one.setAttribute('aria-pressed', one === button));
  button.focus();
  trigger('select', { index: Number(button.dataset.cell) });
}

element.addEventListener('click', event => select(event.target.closest('[data-cell]')));
element.addEventListener('focusin', () => { focused = true; });
element.addEventListener('focusout', event => { if (event.relatedTarget) focused = false; });
element.addEventListener('keydown', event => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const all = buttons();
  select(all[all.indexOf(document.activeElement) + step]);
});
watch('value', () => { if (focused) element.querySelector('[aria-pressed="true"]')?.focus(); });
