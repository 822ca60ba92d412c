// Which cells are selected, and how a person moves among them.

import { pictureOf } from './review.js';

export class Selection {
  // `enlarged` gives the id of the field that stands in place of the gallery, or null; `onChange` shows what is selected.
  constructor(gallery, editor, enlarged, onChange) {
    Object.assign(this, { gallery, editor, enlarged, onChange, anchor: null });
  }

  // The ids of the selected cells.
  selected() {
    return [...this.gallery.selected];
  }

  // The cell that is shown large.
  current() {
    return this.editor.review?.cells.find(each => each.id === this.gallery.current);
  }

  // The ids among which a person moves: of the cells of a large field by their numbers, otherwise of the gallery.
  ids() {
    const picture = this.enlarged();
    if (!picture) return this.gallery.visible();
    const cells = this.editor.review.cells.filter(cell => cell.place && pictureOf(cell) === picture);
    return cells.sort((a, b) => a.place.number - b.place.number).map(cell => cell.id);
  }

  choose(id, focus = true, extend = false) {
    if (!this.gallery.cells.has(id)) return;
    const ids = this.ids();
    if (extend && ids.includes(this.anchor ?? this.gallery.current)) {
      this.anchor ??= this.gallery.current;
      const [from, to] = [ids.indexOf(this.anchor), ids.indexOf(id)].sort((a, b) => a - b);
      this.gallery.select(ids.slice(from, to + 1), id, focus);
    } else {
      this.anchor = null;
      this.gallery.select([id], id, focus);
    }
    this.onChange();
  }

  // Without the focus: a cell, or the first of the gallery.
  show(id = this.gallery.visible()[0]) {
    this.choose(id, false);
  }

  // The same where no cell is selected.
  ensure(id) {
    if (!this.gallery.current) this.show(id);
  }

  click(event) {
    const id = event.target.closest('[data-cell]')?.dataset.cell;
    if (!id) return;
    if (event.ctrlKey || event.metaKey) {
      const ids = new Set(this.gallery.selected);
      ids[ids.has(id) && ids.size > 1 ? 'delete' : 'add'](id);
      this.gallery.select(ids, ids.has(id) ? id : [...ids].at(-1)); // what is shown large is what a key decides
      this.onChange();
    } else this.choose(id, true, event.shiftKey);
  }

  move(to, extend) {
    this.choose(this.gallery.neighbour(to, this.enlarged() ? this.ids() : null), true, extend);
  }

  // All cells of the group that the current one is in, as far as they are seen.
  selectGroup() {
    const seen = new Set(this.ids()), group = this.gallery.cells.get(this.gallery.current)?.parentElement.children ?? [];
    this.gallery.select([...group].map(each => each.dataset.cell).filter(id => seen.has(id)), this.gallery.current);
    this.onChange();
  }

  // What a filter or a folded group hides is selected no more: no key decides a cell that nobody sees.
  narrow() {
    const seen = new Set(this.ids()), kept = this.selected().filter(id => seen.has(id)), { current } = this.gallery;
    this.gallery.select(kept, kept.includes(current) ? current : kept.at(-1) ?? null, false);
    this.onChange();
  }

  // The cell to move on to: the next that is not decided, or at the end the one that is selected.
  following(ids) {
    const visible = this.ids(), decided = this.gallery.reading(this.editor.review).decisions;
    const last = Math.max(...ids.map(id => visible.indexOf(id)));
    return visible.slice(last + 1).find(id => !decided.has(id)) ?? this.gallery.current;
  }

  toHeading(by) {
    const headings = this.gallery.headings();
    const here = document.activeElement.closest('[data-heading]') ?? document.activeElement.closest('.group')?.querySelector('[data-heading]');
    headings[(headings.indexOf(here) + by + headings.length) % headings.length]?.focus();
  }
}
