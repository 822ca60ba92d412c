// The review that is open, and every change of it: shown at once, then stored. No DOM.

import {
  baseOf, create, drawnCell, isDecidedAlike, isLearntLast, isNamedAlike, lastDrawn, nextSteps, pictureOf, redone, undone, unlearnt, withAnswer, withCells, withSteps, withoutCells,
} from './review.js';
import { Said } from './server.js';

export class Editor {
  // `keeping` stores what changes; `view` shows it: phase(name), clear(comment), comment(words), draw(), redraw(steps), remove(ids);
  // choose(id) moves to a cell, show(id) does without the focus, of no id to the first, and ensure(id) where no cell is selected.
  constructor(keeping, view, { limits, texts }) {
    Object.assign(this, { keeping, view, limits, texts });
    this.review = null;
    this.phase = 'restoring'; // then `empty`, `classifying` or `review`
    this.redoable = [];
    this.sources = new Map(); // id of a picture -> {name, file, entry: its place in a ZIP}, as long as this page is open
    this.model = null; // {batch, file} of the model that names the cells of a batch in place of the one that classified them
    this.unstored = ''; // the batch for which the store refused the answers of another model
  }

  // --- which review is open ---

  enter(phase) {
    this.phase = phase;
    this.view.phase(phase);
  }

  // A batch that is stored with its first cells.
  begin() {
    this.review = create(crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, new Date().toISOString());
    this.sources.clear();
    this.reset('', null);
    this.enter('classifying');
  }

  // A whole review, with the file of the model that names its cells.
  open(review, file = null) {
    if (this.review?.batch !== review.batch) this.sources.clear(); // cells of two batches may have the same ids
    this.review = review;
    this.reset(review.batch, file);
    this.enter('review');
    this.view.show();
  }

  close() {
    this.review = null;
    this.reset('', null);
    this.enter('empty');
  }

  // Nothing is left of the batch before; a reload shows `batch`.
  reset(batch, file) {
    this.redoable = [];
    this.model = file && { batch, file };
    this.unstored = '';
    this.keeping.remember(batch);
    this.view.clear(this.review?.comment ?? '');
  }

  // Another tab changed this batch: its comment, steps and cells are read again. What is here alone stays.
  async refresh({ batch, gone = [] }) {
    if (batch !== this.review?.batch) return;
    this.review = withoutCells(this.review, gone);
    this.forget(gone);
    await this.keeping.read(batch, (head, cells, fields, file) => {
      if (batch !== this.review?.batch) return;
      const { steps, comment } = head, isSame = !cells.length && !gone.length && isDecidedAlike(steps, this.review.steps);
      const all = { ...this.review.fields, ...fields };
      if (this.unstored === batch || isNamedAlike(head, this.review)) this.review = withCells({ ...this.review, fields: all, steps, comment }, cells);
      else { // a model that learnt names them by now, or does no more
        this.review = withCells({ ...head, cells, fields: all }, this.review.cells);
        this.model = file && { batch, file };
      }
      this.view.comment(comment);
      if (!isSame) {
        this.redoable = []; // as after a decision here, which redo would overwrite
        this.view.draw();
      }
      this.view.ensure();
    });
  }

  // The file of a picture that is not in a ZIP.
  fileOf(picture) {
    const { file, entry } = this.sources.get(picture) ?? {};
    return entry === undefined ? file : undefined;
  }

  // --- cells ---

  // Further cells of the batch, in place of those in `gone`. An answer about another batch adds nothing. Raises Said.
  async add(answer, gone = []) {
    if (answer.batch !== this.review?.batch) return;
    const { second_model, cells } = this.review, model = baseOf(this.review);
    if (cells.length && (answer.model !== model || answer.second_model !== second_model)) { // the server has another version by now
      throw new Said(this.texts.errors.other_model.replace('{model}', model).replace('{found}', answer.model));
    }
    if (cells.length - gone.length + answer.cells.length > this.limits.cells) throw new Said(this.texts.errors.batch_full.replace('{most}', this.limits.cells));
    const kept = withoutCells(this.review, gone), head = withAnswer(kept, answer), added = head.cells.slice(kept.cells.length);
    this.review = head;
    this.keeping.remember(head.batch);
    this.forget(gone);
    const isUnstored = this.unstored === head.batch, file = this.model?.file ?? null;
    const change = async store => {
      if (isUnstored) await store.saveAnswers(head, file); // or the store would name a model that its cells are not of
      await store.addCells(head.batch, added, gone, head);
      await store.addFields(head.batch, answer.fields);
    };
    const isStored = await (cells.length ? this.keeping.keepIn(head.batch, change, gone) : this.keeping.keepFirst(head.batch, change));
    if (isStored && isUnstored) this.unstored = '';
    this.view.draw();
    this.view.ensure(added[0]?.id);
  }

  // The cells in a box that a person drew, or that a file of boxes holds: `time` is that of the file. Raises Said.
  addDrawn(answer, time) {
    this.redoable = [];
    return this.add({ ...answer, cells: answer.cells.map(cell => drawnCell(this.review, cell, time)) });
  }

  // Cells that are none any more leave the gallery, and steps about them cannot come back.
  forget(ids) {
    if (!ids.length) return;
    this.view.remove(ids);
    this.redoable = [];
  }

  // Cells have other answers now, of the model in a file: shown, then stored.
  async rename(head, file) {
    this.review = head;
    if (this.model?.file !== file) this.model = file && { batch: head.batch, file };
    this.view.draw();
    const isStored = await this.keeping.keepIn(head.batch, store => store.saveAnswers(head, file));
    if (this.review?.batch === head.batch) this.unstored = isStored ? '' : head.batch;
  }

  // --- decisions ---

  decide(ids, decision) {
    this.apply(nextSteps(this.review, ids, decision, new Date().toISOString()));
  }

  // One step with a decision of its own for each cell: id -> decision.
  decideEach(decided) {
    const steps = nextSteps(this.review, [...decided.keys()], '', new Date().toISOString());
    this.apply(steps.map(step => ({ ...step, decision: decided.get(step.cell) })));
  }

  apply(steps) {
    if (!steps.length) return;
    this.redoable = [];
    this.review = withSteps(this.review, steps);
    this.keeping.keepSteps(this.review.batch, steps, []);
    this.view.redraw(steps);
  }

  note(comment) {
    this.review = { ...this.review, comment };
    this.keeping.keepEntry({ batch: this.review.batch, added: [], removed: [], comment });
  }

  // What a person did last goes: a key press, drawn cells, or what was learnt.
  undo() {
    if (isLearntLast(this.review)) return this.rename(unlearnt(this.review), null);
    const [review, back] = undone(this.review), { cells, steps } = back, gone = cells.map(cell => cell.id);
    if (!cells.length && !steps.length) return;
    this.review = review;
    this.redoable.push(back);
    if (steps.length) return this.moved([], steps);
    this.view.remove(gone);
    this.keeping.keepIn(review.batch, store => store.addCells(review.batch, [], gone), gone);
    this.view.draw();
    this.view.show(review.cells.find(cell => pictureOf(cell) === pictureOf(cells[0]))?.id);
  }

  async redo() {
    const back = this.redoable.pop();
    if (!back) return;
    const review = this.review = redone(this.review, back), ids = new Set(back.cells.map(cell => cell.id));
    if (back.steps.length) return this.moved(back.steps, []);
    const cells = review.cells.filter(cell => ids.has(cell.id));
    await this.keeping.keepIn(review.batch, store => store.addCells(review.batch, cells));
    this.view.draw();
    this.view.show(cells[0].id);
  }

  // Steps came or went, the first of which is shown.
  moved(added, removed) {
    const steps = [...added, ...removed];
    this.keeping.keepSteps(this.review.batch, added, removed);
    this.view.redraw(steps);
    this.view.choose(steps[0].cell);
  }

  // Whether there is something to undo, and to redo.
  canUndo() {
    return this.review.steps.length > 0 || lastDrawn(this.review).length > 0 || Boolean(this.review.before);
  }

  canRedo() {
    return this.redoable.length > 0;
  }
}
