// What a person decides of the selected cells, or of a group.

export class Decisions {
  constructor(gallery, selection, editor) {
    Object.assign(this, { gallery, selection, editor });
  }

  decide(choice) {
    const ids = this.selection.selected();
    if (!ids.length) return;
    const following = this.selection.following(ids);
    this.editor.decide(ids, choice);
    this.selection.choose(following);
  }

  // The model's word becomes the person's, for the selected cells. Of several, a cell that may be a blast is left out.
  confirm() {
    const reading = this.gallery.reading(this.editor.review), ids = this.selection.selected();
    if (!ids.length) return;
    const following = this.selection.following(ids);
    this.decideBy(ids, cell => (ids.length === 1 || reading.isConfirmable(cell)) && reading.label(cell));
    this.selection.choose(following);
  }

  // The same for all cells of a group that are shown, unlike those of an answer that is just being stored; the focus moves on to the
  // next group that can be confirmed.
  confirmGroup(name) {
    const reading = this.gallery.reading(this.editor.review);
    const group = reading.groups(this.gallery.order).find(each => each.name === name);
    const open = group?.cells.filter(cell => reading.isConfirmable(cell) && this.gallery.cells.get(cell.id)?.hidden === false).map(cell => cell.id) ?? [];
    this.decideBy(open, cell => reading.guess(cell));
    const headings = this.gallery.headings(), at = headings.findIndex(each => each.dataset.heading === name);
    const order = [...headings.slice(at + 1), ...headings.slice(0, at + 1)];
    order.find(each => !this.gallery.sections.get(each.dataset.heading).confirm.hidden)?.focus();
  }

  // What `choose` says of each of these cells, if anything.
  decideBy(ids, choose) {
    const cells = this.editor.review.cells.filter(cell => ids.includes(cell.id) && choose(cell));
    this.editor.decideEach(new Map(cells.map(cell => [cell.id, choose(cell)])));
  }
}
