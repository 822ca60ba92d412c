// What the browser shows of a review. Elements are made once and moved; a step touches the cells that it is about, so that no
// answer of the server ever redraws the gallery.

import { REJECTED, Reading, WITHOUT_GUESS, called, groupPlace, isOfField } from './review.js';

const percent = share => `${(100 * share).toFixed(1)} %`;

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value === true ? '' : value);
  }
  made.append(...children.filter(child => child !== null));
  return made;
}

export class Gallery {
  // `root` holds one section a group. `settings` has the words and the classes; `on` what a person can do with the mouse.
  constructor(root, settings, on) {
    this.root = root;
    this.settings = settings;
    this.texts = settings.texts;
    this.on = on;
    this.cells = new Map();
    this.sections = new Map();
    this.folded = new Set();
    this.selected = new Set();
    this.current = null;
    this.filter = () => true;
    this.learn({});
  }

  // The classes that a review's models describe, and those that the page knows. A model's word on a class of its own stands.
  learn({ classes = [], second_classes = [] }) {
    const { settings } = this;
    const colours = new Map(settings.classes.map(each => [each.label, each.colour]));
    const own = [...second_classes, ...classes].map(({ name, english, spanish, white, cell_type: type }) => ({
      label: name, name: { en: english, es: spanish }[settings.language], white, type, colour: colours.get(type) ?? settings.choices[0].colour,
    }));
    this.classes = new Map([...settings.classes, ...own].map(each => [each.label, each]));
    this.order = [...this.classes.keys()];
    this.colours = new Map([...this.classes.values()].map(each => [each.label, each.colour]));
  }

  // Cells that are none any more.
  remove(ids) {
    for (const id of ids) {
      this.cells.get(id)?.remove();
      this.cells.delete(id);
      this.selected.delete(id);
      if (this.current === id) this.current = null;
    }
  }

  clear() {
    this.root.replaceChildren();
    this.cells.clear();
    this.sections.clear();
    this.selected.clear();
    this.current = null;
    this.filter = () => true; // another one may name cells of the batch before
  }

  name(label) {
    return this.classes.get(label)?.name ?? this.texts.choice?.[label] ?? label;
  }

  // What derives from a review, whose subtypes are of the types that are known here.
  reading(review) {
    return new Reading(review, label => this.classes.get(label)?.type ?? label);
  }

  groupName(group) {
    if (WITHOUT_GUESS.includes(group)) return this.texts.status_long[group];
    const [status, label] = group.includes('/') ? group.split('/') : ['', group];
    const word = { unfamiliar: this.texts.status.unfamiliar, disagree: this.texts.disagree }[status];
    return word ? `${word}: ${this.name(label)}` : this.name(label);
  }

  // Bring every cell of a review to its group and its place there.
  show(reading) {
    for (const { name, cells } of reading.groups(this.order)) {
      const { list } = this.section(name);
      let before = list.firstElementChild;
      for (const cell of cells) {
        const button = this.cells.get(cell.id) ?? this.addCell(cell);
        this.describe(button, cell, reading);
        if (before === button) before = before.nextElementSibling;
        else list.insertBefore(button, before);
      }
    }
    this.settle([...this.sections.keys()], reading);
  }

  // The same after a step, for the cells that it is about: the others stay untouched.
  update(cells, reading) {
    const touched = new Set();
    for (const cell of cells) {
      const button = this.cells.get(cell.id), name = reading.group(cell);
      touched.add(button.closest('.group').dataset.group).add(name);
      this.describe(button, cell, reading);
      const { list } = this.section(name);
      const after = [...list.children].find(each => each !== button && each.doubt > button.doubt);
      list.insertBefore(button, after ?? null);
    }
    this.settle([...touched], reading);
  }

  // The headings of these groups; a group without a cell goes.
  settle(names, reading) {
    const total = reading.review.cells.length;
    for (const name of names) {
      const { root, list, title, count, confirm } = this.sections.get(name);
      const buttons = [...list.children];
      if (!buttons.length) { root.remove(); this.sections.delete(name); continue; }
      title.textContent = this.groupName(name);
      confirm.setAttribute('aria-label', `${this.texts.confirm_all}: ${title.textContent}`);
      count.textContent = `${buttons.length} · ${Math.round(100 * buttons.length / total)} %`;
      root.hidden = buttons.every(button => button.hidden);
      confirm.hidden = REJECTED.includes(name) || !buttons.some(button => button.isConfirmable && !button.hidden);
    }
  }

  section(name) {
    return this.sections.get(name) ?? this.addSection(name);
  }

  addSection(name) {
    const title = element('span', { class: 'title' });
    const count = element('span', { class: 'count' });
    const heading = element('h3', {}, element('button', {
      class: 'fold', type: 'button', 'aria-expanded': 'true', onclick: () => this.fold(name), 'data-heading': name, title: this.texts.heading_keys,
    }, element('i', { class: 'swatch', style: `background:${this.colours.get(name.split('/').at(-1)) ?? '#888'}` }), title, count));
    const confirm = element('button', {
      class: 'confirm', type: 'button', onclick: () => this.on.confirmGroup(name), onkeydown: event => { if (event.repeat && event.key === 'Enter') event.preventDefault(); }, // held, it confirms one group
    }, this.texts.confirm_all);
    const list = element('div', { class: 'cells', role: 'group' });
    const root = element('section', { class: 'group', 'data-group': name }, element('header', {}, heading, confirm), list);
    this.sections.set(name, { root, list, title, count, heading, confirm });
    const place = each => groupPlace(each, this.order);
    const after = [...this.root.children].find(each => place(each.dataset.group) > place(name));
    this.root.insertBefore(root, after ?? null);
    return this.sections.get(name);
  }

  addCell(cell) {
    const picture = cell.picture
      ? element('img', { src: `data:image/jpeg;base64,${cell.picture}`, alt: '', loading: 'lazy', decoding: 'async', draggable: 'false' })
      : element('span', { class: 'blank' }, '?');
    const button = element('button', { type: 'button', class: 'cell', 'data-cell': cell.id, tabindex: '-1', 'aria-pressed': 'false' }, picture, element('i', { class: 'mark' }));
    this.cells.set(cell.id, button);
    return button;
  }

  describe(button, cell, reading) {
    const decision = reading.decision(cell), status = reading.status(cell), label = reading.label(cell) ?? status;
    button.doubt = reading.doubt(cell);
    button.isConfirmable = reading.isConfirmable(cell);
    button.toggleAttribute('data-blast', reading.isSuspected(cell));
    button.dataset.label = label;
    button.dataset.decision = decision;
    button.dataset.status = decision ? 'decided' : status;
    button.style.setProperty('--colour', this.colours.get(label) ?? '#888');
    const words = [called(cell)];
    if (decision) words.push(`${this.texts.by_person}: ${this.name(decision)}`);
    if (cell.probabilities) words.push(`${this.name(reading.guess(cell))} ${percent(Math.max(...cell.probabilities))}`);
    words.push(status === 'disagree' ? this.texts.disagree : this.texts.status[status]);
    if (reading.isSuspected(cell)) words.push(this.texts.may_be_blast);
    button.title = words.join('\n');
    button.setAttribute('aria-label', words.join(', '));
    button.hidden = !this.filter(cell, reading);
  }

  unfold(name) {
    if (this.folded.has(name)) this.fold(name);
  }

  fold(name) {
    this.folded[this.folded.has(name) ? 'delete' : 'add'](name);
    const { root, heading } = this.sections.get(name);
    root.classList.toggle('folded', this.folded.has(name));
    heading.firstElementChild.setAttribute('aria-expanded', String(!this.folded.has(name)));
    this.on.folded();
  }

  // The ids that are shown, in reading order.
  visible() {
    return [...this.root.querySelectorAll('.group:not([hidden]):not(.folded) .cell:not([hidden])')].map(button => button.dataset.cell);
  }

  select(ids, current, focus = true) {
    for (const id of this.selected) this.cells.get(id)?.setAttribute('aria-pressed', 'false');
    this.selected = new Set(ids);
    for (const id of this.selected) this.cells.get(id)?.setAttribute('aria-pressed', 'true');
    this.cells.get(this.current)?.setAttribute('tabindex', '-1');
    this.current = current;
    const button = this.cells.get(current);
    if (!button) return;
    button.setAttribute('tabindex', '0');
    if (focus) button.focus({ preventScroll: true });
    button.scrollIntoView({ block: 'nearest' });
  }

  // The id that a key leads to from the current cell, in the gallery or in a list of ids.
  neighbour(to, list = null) {
    const ids = list ?? this.visible(), at = ids.indexOf(this.current);
    if (to === 'first' || at < 0) return ids[0];
    if (to === 'last') return ids.at(-1);
    if (to === 'next' || (list && to === 'below')) return ids[Math.min(at + 1, ids.length - 1)];
    if (to === 'previous' || (list && to === 'above')) return ids[Math.max(at - 1, 0)];
    return this.vertical(ids, at, to === 'below' ? 1 : -1) ?? this.current;
  }

  vertical(ids, at, direction) {
    const here = this.cells.get(this.current).getBoundingClientRect();
    let best = null, distance = Infinity, row = null;
    for (let index = at + direction; ids[index]; index += direction) {
      const box = this.cells.get(ids[index]).getBoundingClientRect();
      if (Math.abs(box.top - here.top) < 2) continue;
      row ??= box.top;
      if (Math.abs(box.top - row) > 2) break;
      if (Math.abs(box.left - here.left) < distance) { best = ids[index]; distance = Math.abs(box.left - here.left); }
    }
    return best;
  }

  headings() {
    return [...this.root.querySelectorAll('.group:not([hidden]) [data-heading]')];
  }
}

// The selected cell, large: what the model says, as bars, and what a person can say.
export class Detail {
  constructor(root, settings, gallery, on) {
    Object.assign(this, { root, settings, gallery, on, texts: settings.texts, shown: [] });
  }

  // Nothing is made anew while all of it is as it was: a click under way must find its button again.
  show(cell, reading, count, choices) {
    if (!cell) { this.forget(); this.root.replaceChildren(); return; }
    const status = reading.status(cell), decision = reading.decision(cell);
    const shown = [cell, status, decision, reading.isSuspected(cell), count, this.on.canTake(cell), choices.join(), reading.review.labels.join()];
    if (shown.every((each, index) => each === this.shown[index])) return;
    this.shown = shown;
    const picture = cell.picture
      ? element('img', { class: 'large', alt: called(cell), src: `data:image/jpeg;base64,${cell.picture}` })
      : element('p', { class: 'blank' }, this.texts.no_picture);
    this.root.replaceChildren(
      picture,
      this.file(cell, count),
      this.status(cell, status, decision, reading.isSuspected(cell)),
      this.bars(cell, reading),
      this.choices(choices, decision),
    );
  }

  // The name, and a button by which its picture is taken in the other way, which needs the picture's file.
  file(cell, count) {
    if (count > 1) return element('p', { class: 'file' }, this.texts.many_selected.replace('{count}', count));
    const canTake = this.on.canTake(cell), words = isOfField(cell) ? this.texts.take_as_cell : this.texts.take_as_field;
    return element('p', { class: 'file' }, element('span', {}, called(cell)), cell.status === 'error' ? null : element('button', {
      type: 'button', id: 'take_as', disabled: !canTake, title: canTake ? null : this.texts.file_gone, onclick: () => this.on.takeAs(cell),
    }, words));
  }

  status(cell, status, decision, isSuspected) {
    const words = decision ? `${this.texts.by_person}: ${this.gallery.name(decision)}`
      : isSuspected ? this.texts.may_be_blast
        : status === 'disagree' ? this.texts.disagree : this.texts.status_long[status];
    const said = !decision && cell.message && cell.message.code !== 'blast';
    return element('p', { class: 'status', 'data-status': decision ? 'decided' : status },
      words, said ? element('small', {}, ` ${cell.message.text}`) : null);
  }

  bars(cell, reading) {
    if (!cell.probabilities) return element('span');
    const { labels } = reading.review;
    const ranked = labels.map((label, index) => [label, cell.probabilities[index]]).sort((a, b) => b[1] - a[1]).slice(0, 4);
    return element('div', { class: 'bars' }, ...ranked.map(([label, p]) => element('div', {},
      element('span', {}, this.gallery.name(label)),
      element('i', { style: `width:${100 * p}%;background:${this.gallery.colours.get(label) ?? '#888'}` }),
      element('b', {}, percent(p)))));
  }

  choices(choices, decision) {
    return element('div', { class: 'choices', id: 'give', role: 'group', 'aria-label': this.texts.give }, ...choices.map((choice, index) => element('button', {
      type: 'button', 'data-choice': choice, 'aria-pressed': String(choice === decision), onclick: () => this.on.decide(choice),
      style: `--colour:${this.gallery.colours.get(choice) ?? '#888'}`,
    }, element('kbd', {}, index < 10 ? String((index + 1) % 10) : ''), this.gallery.name(choice))));
  }

  // The next show() makes all of it anew.
  forget() {
    this.shown = [];
  }

  // A saliency map, if its cell is still the one that is shown; a cell of another batch may have the same id.
  showSaliency(cell, picture, note) {
    if (this.shown[0] !== cell) return;
    const large = this.root.querySelector('.large');
    large.src = `data:image/jpeg;base64,${picture}`;
    this.root.querySelector('.note')?.remove();
    large.after(element('p', { class: 'note' }, note));
  }
}

// The differential as bars with their 95 % intervals and the typical ranges behind them.
export function chart(root, found, texts) {
  const most = Math.max(10, ...found.rows.map(row => Math.max(row.high, row.typical?.[1] ?? 0)));
  const at = value => `${100 * value / most}%`;
  root.replaceChildren(...found.rows.map(row => element('div', {
    class: `row ${row.mark}`, title: `${row.name}: ${row.count}, ${row.percent} % (${row.low.toFixed(1)} – ${row.high.toFixed(1)})${row.typical ? `, ${texts.typical} ${row.typical[0]} – ${row.typical[1]}` : ''}`,
  },
  element('span', { class: 'name' }, row.name),
  element('span', { class: 'track' },
    row.typical ? element('i', { class: 'typical', style: `left:${at(row.typical[0])};width:${at(row.typical[1] - row.typical[0])}` }) : null,
    element('i', { class: 'bar', style: `width:${at(row.percent)};background:${row.colour}` }),
    found.white ? element('i', { class: 'interval', style: `left:${at(row.low)};width:${at(row.high - row.low)}` }) : null),
  element('b', {}, found.white ? `${row.percent} %` : '–'),
  element('small', {}, `${row.count}${row.mark ? ` ${texts[`mark_${row.mark}`]}` : ''}`))));
}
