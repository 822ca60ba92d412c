// A field with the boxes of its cells: an SVG over its picture, to look at, to zoom, and to draw the box of a missed cell on.

import { REJECTED, called, isOfField, pictureOf } from './review.js';
import { element } from './view.js';

const STEP = 1.4; // of a button's or a wheel's zoom
const MOST = 16; // times that the field may be enlarged
const NEAR = 5; // pixels of the screen, up to which a press is a click
const SVG = 'http://www.w3.org/2000/svg';

// --- what is seen of a field: {x, y, width, height} in its own pixels ---

export function whole({ width, height }) {
  return { x: 0, y: 0, width, height };
}

// Enlarged `by` times about a point, which stays where it is; never smaller than the whole field, nor beyond its edges.
export function zoomed(view, by, point, field) {
  const scale = Math.min(Math.max(view.width / by, field.width / MOST), field.width) / view.width;
  const at = (from, to) => to - (to - from) * scale;
  return within({ x: at(view.x, point.x), y: at(view.y, point.y), width: view.width * scale, height: view.height * scale }, field);
}

export function moved(view, dx, dy, field) {
  return within({ ...view, x: view.x + dx, y: view.y + dy }, field);
}

function within(view, field) {
  const clip = (value, most) => Math.min(Math.max(value, 0), Math.max(most, 0));
  return { ...view, x: clip(view.x, field.width - view.width), y: clip(view.y, field.height - view.height) };
}

// The same, moved so that the middle of a box is seen.
export function showing(view, [x0, y0, x1, y1], field) {
  const x = (x0 + x1) / 2, y = (y0 + y1) / 2;
  const isSeen = x >= view.x && x <= view.x + view.width && y >= view.y && y <= view.y + view.height;
  return isSeen ? view : within({ ...view, x: x - view.width / 2, y: y - view.height / 2 }, field);
}

// The box [x0, y0, x1, y1] between two points, whole pixels within the field.
export function boxOf(from, to, field) {
  const sides = (a, b, most) => [Math.min(a, b), Math.max(a, b)].map(value => Math.round(Math.min(Math.max(value, 0), most)));
  const [x0, x1] = sides(from.x, to.x, field.width), [y0, y1] = sides(from.y, to.y, field.height);
  return [x0, y0, x1, y1];
}

function svg(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export class Field {
  // `on` is what a person can do: select(id), add(picture, box), which says whether the cell of the box came, enlarge().
  constructor(root, texts, gallery, on) {
    Object.assign(this, { root, texts, gallery, on, picture: null, isAdding: false, pointers: new Map(), sent: [] });
    const button = (id, words, label, does) => element('button', { type: 'button', id, 'aria-label': label, onclick: does }, words);
    this.adding = button('field_add', texts.field_add, null, () => this.setAdding(!this.isAdding));
    this.enlarge = button('field_large', texts.field_larger, null, () => on.enlarge());
    this.note = element('p', { class: 'note', role: 'status', hidden: true }, texts.field_adding);
    this.image = svg('image', {});
    this.boxes = svg('g', {});
    this.pending = svg('g', {});
    this.draft = svg('rect', { class: 'draft', width: 0, height: 0 });
    this.svg = svg('svg', { role: 'img', 'aria-label': texts.field });
    this.svg.append(this.image, this.boxes, this.pending, this.draft);
    root.append(element('p', { class: 'buttons' }, this.adding,
      button('zoom_out', '−', texts.zoom_out, () => this.zoom(1 / STEP)), button('zoom_in', '+', texts.zoom_in, () => this.zoom(STEP)), this.enlarge,
    ), this.note, this.svg);
    this.listen();
  }

  // The field that a cell is in, or nothing.
  show(cell, reading) {
    const picture = cell && isOfField(cell) ? pictureOf(cell) : null, field = reading.review.fields[picture];
    this.root.hidden = !field;
    if (picture !== this.picture) this.setAdding(false);
    if (!field) { this.picture = null; return; }
    if (picture !== this.picture || field !== this.field) {
      Object.assign(this, { picture, field, view: whole(field) });
      for (const [key, value] of Object.entries({ href: `data:image/jpeg;base64,${field.picture}`, width: field.width, height: field.height })) this.image.setAttribute(key, value);
      this.svg.style.aspectRatio = `${field.width} / ${field.height}`;
    }
    const cells = reading.review.cells.filter(each => each.place && pictureOf(each) === picture);
    this.boxes.replaceChildren(...cells.map(each => this.box(each, each.id === cell.id, reading)));
    if (cell.place && cell.id !== this.shown) this.view = showing(this.view, cell.place.box, field);
    this.shown = cell.id;
    this.showSent();
    this.look();
  }

  box(cell, isSelected, reading) {
    const label = reading.label(cell), [x0, y0, x1, y1] = cell.place.box, isRejected = REJECTED.includes(label);
    const box = svg('rect', {
      x: x0, y: y0, width: x1 - x0, height: y1 - y0, 'data-box': cell.id, class: [isSelected && 'selected', isRejected && 'rejected'].filter(Boolean).join(' '),
      stroke: isRejected ? '#6b6b6b' : this.gallery.colours.get(label) ?? '#888888',
    });
    const title = svg('title', {});
    title.textContent = `${called(cell)}: ${this.gallery.name(label)}`;
    box.append(title);
    return box;
  }

  look() {
    const { x, y, width, height } = this.view;
    this.svg.setAttribute('viewBox', `${x} ${y} ${width} ${height}`);
  }

  zoom(by, point = { x: this.view.x + this.view.width / 2, y: this.view.y + this.view.height / 2 }) {
    this.view = zoomed(this.view, by, point, this.field);
    this.look();
  }

  setAdding(isAdding) {
    this.isAdding = isAdding;
    this.adding.setAttribute('aria-pressed', String(isAdding));
    this.note.hidden = !isAdding;
    this.svg.classList.toggle('adding', isAdding);
    this.from = null;
    this.draw();
  }

  // The box that is being drawn.
  draw(to = this.from) {
    const [x0, y0, x1, y1] = this.from ? boxOf(this.from, to, this.field) : [0, 0, 0, 0];
    for (const [key, value] of Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0 })) this.draft.setAttribute(key, value);
  }

  // A drawn box stays in sight until its cell comes. One that failed stays until the next is drawn.
  async send(picture, [x0, y0, x1, y1]) {
    const rect = svg('rect', { class: 'draft', x: x0, y: y0, width: x1 - x0, height: y1 - y0 }), one = { picture, rect, isFailed: false };
    this.sent = [...this.sent.filter(({ isFailed }) => !isFailed), one];
    this.showSent();
    if (await this.on.add(picture, [x0, y0, x1, y1])) this.sent = this.sent.filter(each => each !== one);
    else one.isFailed = true;
    this.showSent();
  }

  showSent() {
    this.pending.replaceChildren(...this.sent.filter(({ picture }) => picture === this.picture).map(({ rect }) => rect));
  }

  // Another batch has none of the boxes that are under way.
  clear() {
    this.sent = [];
  }

  // A place on the screen in pixels of the field.
  at({ x, y }) {
    return new DOMPoint(x, y).matrixTransform(this.svg.getScreenCTM().inverse());
  }

  listen() {
    const on = (name, handler, options) => this.svg.addEventListener(name, handler, options);
    on('wheel', event => { event.preventDefault(); this.zoom(event.deltaY < 0 ? STEP : 1 / STEP, this.at(event)); }, { passive: false });
    on('dblclick', () => { if (!this.isAdding) { this.view = whole(this.field); this.look(); } });
    on('pointerdown', event => this.press(event));
    on('pointermove', event => this.move(event));
    on('pointerup', event => this.release(event));
    on('pointercancel', event => { this.pointers.delete(event.pointerId); this.from = null; this.draw(); });
  }

  press(event) {
    if (event.button) return;
    this.svg.setPointerCapture(event.pointerId);
    const place = { x: event.clientX, y: event.clientY };
    this.pointers.set(event.pointerId, { ...place, start: place, box: event.target.dataset?.box });
    this.from = this.isAdding && this.pointers.size === 1 ? this.at(place) : null; // two fingers zoom
    this.draw();
  }

  move(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) return;
    const place = { x: event.clientX, y: event.clientY };
    if (this.from) this.draw(this.at(place));
    else if (this.pointers.size === 2) this.pinch(pointer, place, event.pointerId);
    else if (!this.isAdding) {
      const before = this.at(pointer), now = this.at(place);
      this.view = moved(this.view, before.x - now.x, before.y - now.y, this.field);
      this.look();
    }
    Object.assign(pointer, place);
    pointer.isFar ||= Math.hypot(place.x - pointer.start.x, place.y - pointer.start.y) > NEAR;
  }

  pinch(pointer, place, id) {
    const [, other] = [...this.pointers].find(([each]) => each !== id);
    const apart = each => Math.max(Math.hypot(each.x - other.x, each.y - other.y), 1);
    other.isFar = true;
    this.zoom(apart(place) / apart(pointer), this.at({ x: (place.x + other.x) / 2, y: (place.y + other.y) / 2 }));
  }

  release(event) {
    const pointer = this.pointers.get(event.pointerId), { from, field, picture } = this;
    this.pointers.delete(event.pointerId);
    if (!pointer) return;
    if (from && pointer.isFar) {
      const box = boxOf(from, this.at({ x: event.clientX, y: event.clientY }), field);
      if (box[0] < box[2] && box[1] < box[3]) this.send(picture, box);
    } else if (!this.isAdding && !pointer.isFar && pointer.box) this.on.select(pointer.box);
    this.from = null;
    this.draw();
  }
}
