// Dragging the selected cells to another group or onto a choice, by mouse or after a long touch.

const FAR = 8; // pixels, from which on a press is a drag
const LONG = 400; // milliseconds, after which a touch is one
const EDGE = 40, STEP = 12; // pixels: near an edge the groups beyond it come, so fast

// How far to scroll what is seen from `top` to `bottom`, with the pointer at `y`.
export function scrolled(y, { top, bottom }) {
  return y < top + EDGE ? -STEP : y > bottom - EDGE ? STEP : 0;
}

// The choice that a place stands for: a button's, or a group's, whose name may begin with a status.
export function choiceOf({ choice, group }) {
  return choice ?? group.split('/').at(-1);
}

export class Dragging {
  // `on`: start(id) of the cell under the pointer, drop(choice).
  constructor(root, on) {
    Object.assign(this, { root, on, gallery: root.querySelector('#gallery'), from: null, timer: 0, isUnderWay: false });
    const listen = (name, handler, options) => this.gallery.addEventListener(name, handler, options);
    listen('pointerdown', event => this.press(event));
    listen('pointermove', event => this.move(event));
    listen('touchmove', event => { if (this.isUnderWay) event.preventDefault(); }, { passive: false });
    listen('pointerup', event => this.release(event));
    listen('pointercancel', () => this.end());
  }

  press(event) {
    const id = event.target.closest('[data-cell]')?.dataset.cell;
    if (!id || event.button) return;
    this.from = { id, group: event.target.closest('[data-group]'), x: event.clientX, y: event.clientY };
    if (event.pointerType === 'touch') this.timer = setTimeout(() => this.from && this.start(id, event), LONG);
  }

  start(id, event) {
    this.on.start(id);
    this.isUnderWay = true;
    this.root.classList.add('dragging');
    event.target.setPointerCapture?.(event.pointerId);
  }

  move(event) {
    if (!this.from) return;
    if (event.pointerType === 'mouse' && !event.buttons) { this.end(); return; } // released outside the gallery
    const isFar = Math.hypot(event.clientX - this.from.x, event.clientY - this.from.y) > FAR;
    if (isFar && !this.isUnderWay) { if (event.pointerType === 'touch') this.end(); else this.start(this.from.id, event); }
    if (this.isUnderWay) this.scroll(event);
    const over = this.isUnderWay ? this.place(event) : null;
    for (const each of this.root.querySelectorAll('[data-group], [data-choice]')) each.classList.toggle('over', each === over);
  }

  scroll(event) {
    const scroller = [this.gallery, this.root.querySelector('.review')].find(each => each.scrollHeight > each.clientHeight);
    if (scroller) scroller.scrollTop += scrolled(event.clientY, scroller.getBoundingClientRect());
  }

  place(event) {
    return document.elementFromPoint(event.clientX, event.clientY)?.closest('[data-group], [data-choice]');
  }

  release(event) {
    const over = this.isUnderWay ? this.place(event) : null;
    if (over && over !== this.from.group) this.on.drop(choiceOf(over.dataset));
    this.end();
  }

  end() {
    clearTimeout(this.timer);
    this.from = null;
    this.root.classList.remove('dragging');
    for (const each of this.root.querySelectorAll('.over')) each.classList.remove('over');
    setTimeout(() => { this.isUnderWay = false; }); // after the click that follows
  }
}
